"""TF Serving's ModelService: GetModelStatus."""

from __future__ import annotations

import grpc
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.request_error import answered_through
from serving.served_models import ServedModels


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Answers for served models; the service's other calls are answered with UNIMPLEMENTED."""

    def __init__(self, models: ServedModels):
        self._models = models

    def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """One AVAILABLE status for every loaded version that `model_spec` names."""
        response = get_model_status_pb2.GetModelStatusResponse()
        with answered_through(context):
            for model in self._models.matching(request.model_spec):
                status = response.model_version_status.add()
                status.version = model.version
                status.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
                status.status.error_code = error_codes_pb2.OK
        return response
