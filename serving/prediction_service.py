"""TF Serving's PredictionService: Predict and GetModelMetadata."""

from __future__ import annotations

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.request_error import answered_through, invalid
from serving.served_models import ServedModels
from transform.prediction import SERVING_DEFAULT

SIGNATURE_DEF = "signature_def"
"""The only metadata field that TF Serving knows."""


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers for served models; the service's other calls are answered with UNIMPLEMENTED."""

    def __init__(self, models: ServedModels):
        self._models = models

    def Predict(  # noqa: N802
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Run the signature that `model_spec` names."""
        response = predict_pb2.PredictResponse()
        with answered_through(context):
            spec = request.model_spec
            model = self._models.find(spec)
            outputs = model.predict(spec.signature_name, request.inputs, request.output_filter)
            for alias, tensor in outputs.items():
                response.outputs[alias].CopyFrom(tensor)
            response.model_spec.name = self._models.name
            response.model_spec.version.value = model.version
            response.model_spec.signature_name = spec.signature_name or SERVING_DEFAULT
        return response

    def GetModelMetadata(  # noqa: N802
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version, packed under `signature_def`."""
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with answered_through(context):
            if set(request.metadata_field) != {SIGNATURE_DEF}:
                fields = list(request.metadata_field)
                raise invalid(f"metadata_field must be [{SIGNATURE_DEF!r}], got {fields}")
            model = self._models.find(request.model_spec)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in model.signature_defs.items():
                signatures.signature_def[name].CopyFrom(signature)
            response.metadata[SIGNATURE_DEF].Pack(signatures)
            response.model_spec.name = self._models.name
            response.model_spec.version.value = model.version
        return response
