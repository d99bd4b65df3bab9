"""TF Serving's PredictionService: Predict, Classify, Regress and GetModelMetadata."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeAlias

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.call_limits import CallLimits
from serving.example_requests import classify, regress
from serving.loaded_model import LoadedModel
from serving.pending_bytes import PendingBytes
from serving.request_error import answered_through, invalid
from serving.served_models import ServedModels
from serving.server_metrics import GRPC, ServerMetrics
from transform.prediction import SERVING_DEFAULT

_Request: TypeAlias = (
    predict_pb2.PredictRequest
    | classification_pb2.ClassificationRequest
    | regression_pb2.RegressionRequest
)
_Response: TypeAlias = (
    predict_pb2.PredictResponse
    | classification_pb2.ClassificationResponse
    | regression_pb2.RegressionResponse
)

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

    def __init__(self, models: ServedModels, metrics: ServerMetrics, pending: PendingBytes):
        self._models = models
        self._metrics = metrics
        self._pending = pending

    def Predict(  # noqa: N802
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Run the signature that `model_spec` names."""
        response = predict_pb2.PredictResponse()
        with self._asked("Predict", request, response, context) as (model, limits):
            outputs = model.predict(
                request.model_spec.signature_name, request.inputs, request.output_filter, limits
            )
            for alias, tensor in outputs.items():
                response.outputs[alias].CopyFrom(tensor)
        return response

    def Classify(  # noqa: N802
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Run a signature whose method is classification on tf.Examples."""
        response = classification_pb2.ClassificationResponse()
        with self._asked("Classify", request, response, context) as (model, limits):
            response.result.CopyFrom(classify(model, request, limits))
        return response

    def Regress(  # noqa: N802
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Run a signature whose method is regression on tf.Examples."""
        response = regression_pb2.RegressionResponse()
        with self._asked("Regress", request, response, context) as (model, limits):
            response.result.CopyFrom(regress(model, request, limits))
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

    @contextlib.contextmanager
    def _asked(
        self, method: str, request: _Request, response: _Response, context: grpc.ServicerContext
    ) -> Iterator[tuple[LoadedModel, CallLimits]]:
        """The version that a request asks, which the response names when the block has ended."""
        with answered_through(context), self._metrics.measured(method, GRPC):
            limits = CallLimits.of_grpc(context)
            asked, answering = request.model_spec, response.model_spec
            with self._pending.claim(request.ByteSize()), self._models.lease(asked) as model:
                yield model, limits
                answering.name = self._models.name
                answering.version.value = model.version
                answering.signature_name = asked.signature_name or SERVING_DEFAULT
