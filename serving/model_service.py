"""TF Serving's ModelService: GetModelStatus."""

from __future__ import annotations

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.request_error import answered_through
from serving.served_models import ServedModels
from serving.server_metrics import GRPC, ServerMetrics


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Answers for the served model; the service's other calls are answered with UNIMPLEMENTED."""

    def __init__(self, models: ServedModels, metrics: ServerMetrics):
        self._models = models
        self._metrics = metrics

    def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The state of the version that `model_spec` names, or of all that are known."""
        response = get_model_status_pb2.GetModelStatusResponse()
        with answered_through(context), self._metrics.measured("GetModelStatus", GRPC):
            response.model_version_status.extend(self._models.statuses(request.model_spec))
        return response
