"""TF Serving's REST API: what each path and method answers, without the HTTP around it."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    input_pb2,
    model_pb2,
    regression_pb2,
)

from serving.call_limits import CallLimits
from serving.example_requests import classify, regress
from serving.json_tensors import read_bytes, read_json, read_request, write_response
from serving.prediction_service import model_metadata
from serving.prometheus_text import CONTENT_TYPE
from serving.request_error import RequestError, invalid
from serving.served_models import ServedModels
from serving.server_metrics import REST, ServerMetrics
from serving.server_options import REST_TIMEOUT_SECONDS

METRICS_PATH = "/monitoring/prometheus/metrics"

_JSON = "application/json"
_HIGHEST_VERSION = 2**63 - 1

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_ASK = re.compile(rf"{_MODEL}:(?P<method>classify|regress|predict)", re.IGNORECASE)
_METADATA = re.compile(rf"{_MODEL}/metadata", re.IGNORECASE)
_STATUS = re.compile(_MODEL, re.IGNORECASE)

_HTTP_STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Response:
    """An HTTP response: status, body and what the body is."""

    status: int
    body: bytes
    content_type: str = _JSON


def error_response(status: int, message: str) -> Response:
    """TF Serving's form of an error."""
    return Response(status, json.dumps({"error": message}).encode())


def takes_body(path: str) -> bool:
    """Whether requests to a path have a body; any other path is answered without one."""
    return _ASK.fullmatch(path) is not None


class RestApi:
    """Answers requests for the served model; any number of threads may ask at once."""

    def __init__(
        self,
        models: ServedModels,
        metrics: ServerMetrics,
        timeout_seconds: float = REST_TIMEOUT_SECONDS,
    ):
        """Say who answers, and how many seconds an answer may take."""
        self._models = models
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds

    def answer(self, http_method: str, path: str, body: bytes) -> Response:
        """Answer one request; every failure becomes a response, too.

        Args:
          http_method: GET or POST.
          path: decoded, without a query.
          body: of a POST.
        """
        if http_method == "GET" and path == METRICS_PATH:
            return Response(200, self._metrics.text().encode(), CONTENT_TYPE)
        try:
            return Response(200, json.dumps(self._content(http_method, path, body)).encode())
        except RequestError as error:
            return error_response(_HTTP_STATUS.get(error.code, 500), error.message)
        # Whatever goes wrong, the caller gets an answer and the connection goes on.
        except Exception:
            _log.exception("%s %s failed", http_method, path)
            return error_response(500, "the server failed; see its log")

    def _content(self, http_method: str, path: str, body: bytes) -> Any:
        if http_method == "POST" and (found := _ASK.fullmatch(path)):
            spec = _spec(found)
            limits = CallLimits.of_seconds(self._timeout_seconds)
            method = found["method"].capitalize()
            with self._metrics.measured(method, REST):
                ask = {"Predict": self._predict, "Classify": self._classify}
                return ask.get(method, self._regress)(spec, body, limits)
        if http_method == "GET" and (found := _METADATA.fullmatch(path)):
            with (
                self._metrics.measured("GetModelMetadata", REST),
                self._models.lease(_spec(found)) as model,
            ):
                return _plain(model_metadata(self._models.name, model))
        if http_method == "GET" and (found := _STATUS.fullmatch(path)):
            with self._metrics.measured("GetModelStatus", REST):
                statuses = self._models.statuses(_spec(found))
                return _plain(
                    get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)
                )
        raise invalid(f"Malformed request: {http_method} {path}")

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes, limits: CallLimits) -> Any:
        with self._models.lease(spec) as model:
            request = read_request(body, lambda name: model.signature_def(name).inputs)
            outputs = model.compute(request.signature_name, request.inputs, limits)
            return write_response(outputs, request.in_rows)

    def _classify(self, spec: model_pb2.ModelSpec, body: bytes, limits: CallLimits) -> Any:
        with self._models.lease(spec) as model:
            request = classification_pb2.ClassificationRequest(model_spec=spec)
            _read_examples(body, request.model_spec, request.input)
            result = classify(model, request, limits)
        return {
            "results": [
                [[one.label, one.score] for one in classifications.classes]
                for classifications in result.classifications
            ]
        }

    def _regress(self, spec: model_pb2.ModelSpec, body: bytes, limits: CallLimits) -> Any:
        with self._models.lease(spec) as model:
            request = regression_pb2.RegressionRequest(model_spec=spec)
            _read_examples(body, request.model_spec, request.input)
            result = regress(model, request, limits)
        return {"results": [regression.value for regression in result.regressions]}


def _spec(found: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=found["name"])
    if found["version"] is not None:
        if len(found["version"]) > 19 or int(found["version"]) > _HIGHEST_VERSION:
            raise invalid(f"Failed to convert version: {found['version']} to numeric.")
        spec.version.value = int(found["version"])
    if found["label"] is not None:
        spec.version_label = found["label"]
    return spec


def _plain(message: Message) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _read_examples(body: bytes, spec: model_pb2.ModelSpec, read: input_pb2.Input) -> None:
    """Read the body of a classification or regression into its message."""
    content = read_json(body)
    signature_name = content.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise invalid("signature_name must be a string")
    spec.signature_name = signature_name
    examples = content.get("examples")
    if not isinstance(examples, list) or not examples:
        raise invalid("'examples' must be a list with at least one entry")
    if "context" in content:
        listed = read.example_list_with_context
        listed.context.CopyFrom(_example(content["context"]))
        listed.examples.extend(_example(one) for one in examples)
    else:
        read.example_list.examples.extend(_example(one) for one in examples)


def _example(value: Any) -> example_pb2.Example:
    """An example out of an object of features, each a number, a text, bytes or a list of such."""
    example = example_pb2.Example()
    if not isinstance(value, dict):
        raise invalid("every example must be an object of features")
    for name, given in value.items():
        feature = example.features.feature[name]
        values = given if isinstance(given, list) else [given]
        kinds = {type(one) for one in values}
        if kinds <= {int, bool}:
            _extend(name, feature.int64_list, values)
        elif kinds <= {int, float}:
            _extend(name, feature.float_list, values)
        elif kinds <= {str, dict}:
            _extend(name, feature.bytes_list, [read_bytes(name, one) for one in values])
        else:
            raise invalid(f"feature {name!r} mixes kinds, or has values that no feature has")
    return example


def _extend(name: str, values: Any, given: list[Any]) -> None:
    try:
        values.value.extend(given)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"feature {name!r}: {error}") from error
