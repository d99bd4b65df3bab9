"""The gRPC client: asks TF Serving, or the embedded server, for predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.message_size import MAX_MESSAGE_BYTES, size_options
from serving.slice_payload import SlicePayload, read_payload
from transform.errors import CtnetError
from transform.prediction import (
    DECISION,
    EXAMPLES,
    IMAGE_BYTES,
    MODEL_NAME,
    PREDICT_IMAGE,
    PROBABILITY,
    SERVING_DEFAULT,
    THRESHOLD,
)
from transform.reading import UnusableSliceError

TIMEOUT = 60.0
"""Seconds that one request may take; the first one on a fresh server is the slowest."""

BATCH_SIZE = 16
"""Slices a request."""

_INPUT_OF = {SERVING_DEFAULT: EXAMPLES, PREDICT_IMAGE: IMAGE_BYTES}

# What a request holds besides its slices: names, and some bytes around each slice.
_ENVELOPE_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the model says about one slice.

    Attributes:
      probability: calibrated probability of COVID-19, 0 to 1.
      decision: 1 where the probability reaches the operating point, else 0.
      threshold: the operating point.
    """

    probability: float
    decision: int
    threshold: float


@dataclasses.dataclass(frozen=True)
class FileResult:
    """What became of one file: a prediction, or one line that says why there is none."""

    path: Path
    prediction: Prediction | None
    error: str | None = None


class RefusedRequestError(CtnetError):
    """The server refused the values of a request; sending them again would not help.

    Attributes:
      reason: the server's own words.
    """

    def __init__(self, address: str, reason: str):
        super().__init__(f"the server at {address} refused the request: {reason}")
        self.reason = reason


class Client:
    """Asks one model on one server; use it as a context manager or call `close`.

    Every method that asks raises CtnetError, in one line, where the server cannot be reached, does
    not serve the model, or takes longer than the timeout.

    Example:
      with Client("127.0.0.1:8500") as client:
          for result in client.predict_files(paths):
              show(result)
    """

    def __init__(
        self,
        address: str,
        *,
        model_name: str = MODEL_NAME,
        timeout: float = TIMEOUT,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        """Say whom to ask; nothing is connected before the first request.

        Args:
          address: host:port of the server's gRPC port.
          model_name: the model to ask for.
          timeout: seconds that one request may take.
          max_message_bytes: the largest request and response, in bytes.
        """
        self._address = address
        self._model_name = model_name
        self._timeout = timeout
        self._max_payload = max_message_bytes - _ENVELOPE_BYTES
        self._channel = grpc.insecure_channel(address, options=size_options(max_message_bytes))
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def predict_examples(self, examples: Sequence[tf.train.Example]) -> list[Prediction]:
        """Predict CT examples in one request, one prediction each in the same order.

        Raises:
          RefusedRequestError: the server cannot use one of them, or all are too large together.
          CtnetError: the server cannot answer.
        """
        return self._predict(SERVING_DEFAULT, [example.SerializeToString() for example in examples])

    def predict_pictures(self, pictures: Sequence[bytes]) -> list[Prediction]:
        """Predict encoded PNG or JPEG pictures in one request, one prediction each in order.

        Raises:
          RefusedRequestError: the server cannot use one of them, or all are too large together.
          CtnetError: the server cannot answer.
        """
        return self._predict(PREDICT_IMAGE, pictures)

    def predict_file(self, path: Path) -> FileResult:
        """Predict one PNG, JPEG or DICOM CT file; a file that cannot be used gives its error.

        Raises:
          CtnetError: the server cannot answer.
        """
        return next(self.predict_files([path], batch_size=1))

    def predict_files(
        self, paths: Iterable[Path], batch_size: int = BATCH_SIZE
    ) -> Iterator[FileResult]:
        """Predict PNG, JPEG and DICOM CT files, one result each in the order of the paths.

        A file that cannot be read, or that the server refuses, gives a result with its error, and
        the others are predicted. No more files are held in memory than one request takes.

        Args:
          paths: files; folders are not opened.
          batch_size: the most files a request.

        Raises:
          ValueError: the batch size is not positive.
          CtnetError: the server cannot answer.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        return self._results(paths, batch_size)

    def _results(self, paths: Iterable[Path], batch_size: int) -> Iterator[FileResult]:
        batch: list[tuple[Path, SlicePayload | str]] = []
        batch_bytes = 0
        for path in paths:
            try:
                payload: SlicePayload | str = read_payload(path, self._max_payload)
            except UnusableSliceError as error:
                payload = _one_line(error.detail)
            size = len(payload.value) if isinstance(payload, SlicePayload) else 0
            if batch and (len(batch) == batch_size or batch_bytes + size > self._max_payload):
                yield from self._answer(batch)
                batch, batch_bytes = [], 0
            batch.append((path, payload))
            batch_bytes += size
        yield from self._answer(batch)

    def _answer(self, batch: Sequence[tuple[Path, SlicePayload | str]]) -> Iterator[FileResult]:
        results = {
            at: FileResult(path, None, error=payload)
            for at, (path, payload) in enumerate(batch)
            if isinstance(payload, str)
        }
        for signature in _INPUT_OF:
            asked = {
                at: payload.value
                for at, (_, payload) in enumerate(batch)
                if isinstance(payload, SlicePayload) and payload.signature == signature
            }
            answers = self._predict_or_refuse(signature, list(asked.values()))
            for at, answer in zip(asked, answers, strict=True):
                path = batch[at][0]
                if isinstance(answer, Prediction):
                    results[at] = FileResult(path, answer)
                else:
                    error = f"{path} was refused by the server at {self._address}: {answer.reason}"
                    results[at] = FileResult(path, None, error=error)
        return (results[at] for at in range(len(batch)))

    def _predict_or_refuse(
        self, signature: str, values: Sequence[bytes]
    ) -> list[Prediction | RefusedRequestError]:
        """Predict all values together, or each alone where the server refuses them together."""
        try:
            return list(self._predict(signature, values))
        except RefusedRequestError as error:
            if len(values) == 1:
                return [error]
        return [
            answer for value in values for answer in self._predict_or_refuse(signature, [value])
        ]

    def _predict(self, signature: str, values: Sequence[bytes]) -> list[Prediction]:
        if not values:
            return []
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = signature
        tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=values)
        tensor.tensor_shape.dim.add(size=len(values))
        request.inputs[_INPUT_OF[signature]].CopyFrom(tensor)
        try:
            response = self._stub.Predict(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._explained(error) from error
        names = (PROBABILITY, DECISION, THRESHOLD)
        columns = [
            tf.make_ndarray(response.outputs[name]).ravel().tolist()
            for name in names
            if name in response.outputs
        ]
        if [len(column) for column in columns] != [len(values)] * len(names):
            raise CtnetError(
                f"model {self._model_name!r} at {self._address} did not give {', '.join(names)} for"
                f" each of {len(values)} slices: it is not a ctnet model; ask for another"
            )
        return [
            Prediction(float(probability), int(decision), float(threshold))
            for probability, decision, threshold in zip(*columns, strict=True)
        ]

    def _explained(self, error: grpc.RpcError) -> CtnetError:
        code, details = error.code(), _one_line(error.details() or "no reason given")
        match code:
            # A message over somebody's size limit ends as RESOURCE_EXHAUSTED.
            case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.RESOURCE_EXHAUSTED:
                return RefusedRequestError(self._address, details)
            case grpc.StatusCode.UNAVAILABLE:
                return CtnetError(
                    f"no server answers at {self._address}: start one there (ctnet serve MODEL_DIR)"
                    " or give the address of one"
                )
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return CtnetError(
                    f"the server at {self._address} did not answer within {self._timeout:g} s:"
                    " allow more time or send fewer slices at once"
                )
            case grpc.StatusCode.NOT_FOUND:
                return CtnetError(
                    f"the server at {self._address} does not serve model {self._model_name!r}"
                    f" ({details}): ask for a model that it serves"
                )
        return CtnetError(
            f"the server at {self._address} failed ({code.name}: {details}): see its log, and"
            " whether this is the gRPC port of a ctnet model"
        )


def _one_line(text: str) -> str:
    return " ".join(text.split())
