"""TF Serving's PredictionService: Predict, Classify, Regress and GetModelMetadata."""

from __future__ import annotations

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.call_limits import CallLimits
from serving.example_requests import classify, regress
from serving.loaded_model import LoadedModel
from serving.request_error import answered_through, invalid
from serving.served_models import ServedModels
from serving.server_metrics import GRPC, ServerMetrics
from transform.prediction import SERVING_DEFAULT

SIGNATURE_DEF = "signature_def"
"""The only metadata field that TF Serving knows."""


def model_metadata(
    name: str, model: LoadedModel
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a version, packed under `signature_def`."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for signature_name, signature in model.signature_defs.items():
        signatures.signature_def[signature_name].CopyFrom(signature)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    response.model_spec.name = name
    response.model_spec.version.value = model.version
    return response


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers for the served model; MultiInference is answered with UNIMPLEMENTED."""

    def __init__(self, models: ServedModels, metrics: ServerMetrics):
        self._models = models
        self._metrics = metrics

    def Predict(  # noqa: N802
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Run the signature that `model_spec` names."""
        response = predict_pb2.PredictResponse()
        with answered_through(context), self._metrics.measured("Predict", GRPC):
            limits = CallLimits.of_grpc(context)
            spec = request.model_spec
            with self._models.lease(spec) as model:
                outputs = model.predict(
                    spec.signature_name, request.inputs, request.output_filter, limits
                )
                for alias, tensor in outputs.items():
                    response.outputs[alias].CopyFrom(tensor)
                self._name(response.model_spec, model, spec)
        return response

    def Classify(  # noqa: N802
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Run a signature whose method is classification on tf.Examples."""
        response = classification_pb2.ClassificationResponse()
        with answered_through(context), self._metrics.measured("Classify", GRPC):
            limits = CallLimits.of_grpc(context)
            with self._models.lease(request.model_spec) as model:
                response.result.CopyFrom(classify(model, request, limits))
                self._name(response.model_spec, model, request.model_spec)
        return response

    def Regress(  # noqa: N802
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Run a signature whose method is regression on tf.Examples."""
        response = regression_pb2.RegressionResponse()
        with answered_through(context), self._metrics.measured("Regress", GRPC):
            limits = CallLimits.of_grpc(context)
            with self._models.lease(request.model_spec) as model:
                response.result.CopyFrom(regress(model, request, limits))
                self._name(response.model_spec, model, request.model_spec)
        return response

    def GetModelMetadata(  # noqa: N802
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version, packed under `signature_def`."""
        with answered_through(context), self._metrics.measured("GetModelMetadata", GRPC):
            if set(request.metadata_field) != {SIGNATURE_DEF}:
                fields = list(request.metadata_field)
                raise invalid(f"metadata_field must be [{SIGNATURE_DEF!r}], got {fields}")
            with self._models.lease(request.model_spec) as model:
                response = model_metadata(self._models.name, model)
        return response

    def _name(
        self, named: model_pb2.ModelSpec, model: LoadedModel, asked: model_pb2.ModelSpec
    ) -> None:
        named.name = self._models.name
        named.version.value = model.version
        named.signature_name = asked.signature_name or SERVING_DEFAULT
