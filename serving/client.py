"""The gRPC client: asks TF Serving, or the embedded server, for predictions."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client_address import check_address
from serving.client_tls import Tls
from serving.input_slices import InputSlice, UnusableInput, find_input_slices
from serving.message_size import MAX_MESSAGE_BYTES, size_options
from serving.retry import RETRIES, retry_options
from serving.slice_payload import PayloadReader, SlicePayload
from serving.slice_result import ExplainedSlice, Explanation, Prediction, SliceResult
from transform.errors import CtnetError
from transform.prediction import (
    DECISION,
    EXAMPLES,
    EXPLAIN,
    EXPLAIN_IMAGE,
    HEATMAP,
    IMAGE_BYTES,
    MODEL_NAME,
    PREDICT_IMAGE,
    PROBABILITY,
    SERVING_DEFAULT,
    THRESHOLD,
)
from transform.reading import MachineFaultError, SlicePick, UnusableSliceError

TIMEOUT = 60.0
"""Seconds that one request may take, its retries included; the first one on a fresh server is the
slowest."""

BATCH_SIZE = 16
"""Slices a request."""

ALL_SLICES = SlicePick("all")

_INPUT_OF = {
    SERVING_DEFAULT: EXAMPLES,
    PREDICT_IMAGE: IMAGE_BYTES,
    EXPLAIN: EXAMPLES,
    EXPLAIN_IMAGE: IMAGE_BYTES,
}
_EXPLAINS = {SERVING_DEFAULT: EXPLAIN, PREDICT_IMAGE: EXPLAIN_IMAGE}

# What a request holds besides its slices: names, and some bytes around each slice.
_ENVELOPE_BYTES = 64 * 1024

# The only metadata that TF Serving gives.
_SIGNATURE_DEF = "signature_def"

_HIGHEST_VERSION = 2**63 - 1

# How gRPC says that a message is over a size limit: in C++ (and Python) and Go, and in Java.
_TOO_LARGE = ("larger than max", "exceeds maximum size")

# How it says so of this side's own limit.
_TOO_LARGE_HERE = ("CLIENT: Sent message larger", "CLIENT: Received message larger")

# How it says that the other side speaks HTTP/1, or TLS where none was asked for.
_NO_GRPC = ("Expected SETTINGS frame", "Failed parsing HTTP/2")

_Answer = tuple[Prediction, np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A slice with what is sent for it, or the line that says why nothing is."""

    of: InputSlice | UnusableInput
    payload: SlicePayload | str

    @property
    def size(self) -> int:
        return len(self.payload.value) if isinstance(self.payload, SlicePayload) else 0


class RefusedRequestError(CtnetError):
    """The server refused the values of a request; sending them again would not help.

    Attributes:
      reason: the server's own words.
    """

    def __init__(self, address: str, reason: str):
        """Say who refused.

        Args:
          address: of the server.
          reason: its words.
        """
        super().__init__(f"the server at {address} refused the request: {reason}")
        self.reason = reason


class _TooLargeForClientError(RefusedRequestError):
    """This client's own limit, and no server, refused a request or its answer."""

    def __init__(self, address: str, reason: str):
        super().__init__(address, reason)
        self.args = (
            f"a request to {address}, or its answer, is larger than max_message_bytes of this "
            f"client ({reason}): send fewer slices at once, or raise max_message_bytes",
        )


class Client:
    """Asks one model on one server; use it as a context manager or call `close`.

    Every method that asks raises CtnetError, in one line, where the server cannot be reached, does
    not serve the model, or takes longer than the timeout.

    Example:
      with Client("127.0.0.1:8500") as client:
          for result in client.predict_files(["scans"]):
              print(result.name, result.prediction, result.error)
    """

    def __init__(
        self,
        address: str,
        *,
        model_name: str = MODEL_NAME,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float = TIMEOUT,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        tls: Tls | None = None,
        retries: int = RETRIES,
    ):
        """Say whom to ask; nothing is connected before the first request.

        Args:
          address: host:port of the server's gRPC port.
          model_name: the model to ask for.
          version: the number of the version to ask; None leaves it to the server.
          version_label: the version to ask by the label that the server's configuration gives it.
          timeout: seconds that one request may take, its retries included.
          max_message_bytes: the largest request and response, in bytes.
          tls: how to encrypt the connection; None for no encryption.
          retries: how often a request is repeated that was answered with UNAVAILABLE, 0 to 4.

        Raises:
          ConfigError: the address is not host:port, or the files of `tls` cannot be used.
          ValueError: the timeout, the size, the retries or the version are out of range, or a
            version is given by number and by label, or as another type than a number.
        """
        check_address(address)
        if not (math.isfinite(timeout) and timeout > 0):
            raise ValueError(f"timeout must be positive seconds, got {timeout}")
        if max_message_bytes <= _ENVELOPE_BYTES:
            raise ValueError(
                f"max_message_bytes must be above {_ENVELOPE_BYTES}, got {max_message_bytes}"
            )
        if version is not None and version_label is not None:
            raise ValueError(
                f"version {version} and version_label {version_label!r} are given; give one"
            )
        # What comes from a configuration or a command line may be text, or True.
        if version is not None and (
            isinstance(version, bool)
            or not isinstance(version, int)
            or not 0 <= version <= _HIGHEST_VERSION
        ):
            raise ValueError(
                f"version must be a whole number from 0 to {_HIGHEST_VERSION}, got {version!r}"
            )
        self._address = address
        self._spec = model_pb2.ModelSpec(name=model_name)
        self._asked = f"model {model_name!r}"
        if version is not None:
            self._spec.version.value = version
            self._asked += f" version {version}"
        # An empty label is one that no server has, not none.
        if version_label is not None:
            self._spec.version_label = version_label
            self._asked += f" version label {version_label!r}"
        self._timeout = timeout
        self._retries = retries
        self._max_payload = max_message_bytes - _ENVELOPE_BYTES
        options = [*size_options(max_message_bytes), *retry_options(retries, max_message_bytes)]
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            self._channel = grpc.secure_channel(address, tls.credentials(), options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._signatures: Mapping[str, meta_graph_pb2.SignatureDef] | None = None

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

    def explain_examples(self, examples: Sequence[tf.train.Example]) -> list[Explanation]:
        """Predict and explain CT examples in one request, in the same order.

        Raises:
          RefusedRequestError: the server cannot use one of them, or all are too large together.
          CtnetError: the model cannot explain, or the server cannot answer.
        """
        return self._explain(EXPLAIN, [example.SerializeToString() for example in examples])

    def explain_pictures(self, pictures: Sequence[bytes]) -> list[Explanation]:
        """Predict and explain encoded PNG or JPEG pictures in one request, in the same order.

        Raises:
          RefusedRequestError: the server cannot use one of them, or all are too large together.
          CtnetError: the model cannot explain, or the server cannot answer.
        """
        return self._explain(EXPLAIN_IMAGE, pictures)

    def predict_file(self, path: str | os.PathLike[str]) -> SliceResult:
        """Predict a file of one slice; a file that cannot be used gives its error.

        Raises:
          CtnetError: the server cannot answer.
        """
        path = Path(path)
        first, *more = itertools.islice(self.predict_files([path], batch_size=1), 2)
        if not more:
            return first
        error = f"{path} holds several slices; predict_files gives the result of each"
        return SliceResult(path, path, None, error)

    def predict_files(
        self,
        paths: Iterable[str | os.PathLike[str]],
        batch_size: int = BATCH_SIZE,
        *,
        slices: SlicePick = ALL_SLICES,
        found: Callable[[int], None] | None = None,
        warned: Callable[[str], None] | None = None,
    ) -> Iterator[SliceResult]:
        """Predict the slices of files, folders and volumes, in the order of the paths.

        PNG, JPEG, DICOM CT and NIfTI are told apart by their bytes. A folder is one series or one
        volume, and so is each folder in it (`input_slices.find_input_slices`). DICOM and NIfTI are
        asked about in their true Hounsfield units.

        What cannot be read, or is refused by the server, gives a result with its error, and the
        others are predicted. No more slices are held in memory than one request takes.

        Args:
          paths: files and folders.
          batch_size: the most slices a request.
          slices: which slices of a volume or series are asked about.
          found: told how many slices a file or folder has, before their results come.
          warned: told in one line which text files of a folder were passed over; None to log it.

        Raises:
          TypeError: one path is given in the place of several.
          ValueError: the batch size is not positive.
          CtnetError: the server cannot answer.
        """
        inputs = _inputs(paths, slices, found, warned)
        asked = self._checked(inputs, batch_size, explain=False)
        return (one.result for one in asked)

    def explain_files(
        self,
        paths: Iterable[str | os.PathLike[str]],
        batch_size: int = BATCH_SIZE,
        *,
        slices: SlicePick = ALL_SLICES,
        found: Callable[[int], None] | None = None,
        warned: Callable[[str], None] | None = None,
    ) -> Iterator[ExplainedSlice]:
        """Predict and explain slices; arguments, results and errors are as of `predict_files`.

        Raises:
          TypeError: one path is given in the place of several.
          ValueError: the batch size is not positive.
          CtnetError: the model cannot explain, or the server cannot answer.
        """
        inputs = _inputs(paths, slices, found, warned)
        return self._checked(inputs, batch_size, explain=True)

    def signatures(self) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        """What the model can be asked, by name; the server is asked once for it.

        Raises:
          CtnetError: the server cannot answer, or does not know the version label.
        """
        if self._signatures is None:
            self._signatures = self._served_signatures()
        return self._signatures

    def _checked(
        self, inputs: Iterator[InputSlice | UnusableInput], batch_size: int, *, explain: bool
    ) -> Iterator[ExplainedSlice]:
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        return self._results(inputs, batch_size, explain)

    def _results(
        self, inputs: Iterable[InputSlice | UnusableInput], batch_size: int, explain: bool
    ) -> Iterator[ExplainedSlice]:
        batch: list[_Asked] = []
        batch_bytes = 0
        with PayloadReader(self._max_payload, with_grey=explain) as reader:
            for one in inputs:
                asked = _Asked(one, _payload_or_error(reader, one))
                full = len(batch) == batch_size or batch_bytes + asked.size > self._max_payload
                if batch and full:
                    yield from self._answer(batch, explain)
                    batch, batch_bytes = [], 0
                batch.append(asked)
                batch_bytes += asked.size
            yield from self._answer(batch, explain)

    def _answer(self, batch: Sequence[_Asked], explain: bool) -> Iterator[ExplainedSlice]:
        results = {
            at: ExplainedSlice(_result(asked.of, None, error=asked.payload))
            for at, asked in enumerate(batch)
            if isinstance(asked.payload, str)
        }
        for signature in (SERVING_DEFAULT, PREDICT_IMAGE):
            sent = {
                at: asked.payload
                for at, asked in enumerate(batch)
                if isinstance(asked.payload, SlicePayload) and asked.payload.signature == signature
            }
            answers = self._ask_or_refuse(
                _EXPLAINS[signature] if explain else signature,
                [payload.value for payload in sent.values()],
            )
            for (at, payload), answer in zip(sent.items(), answers, strict=True):
                results[at] = self._explained_slice(batch[at].of, payload, answer)
        return (results[at] for at in range(len(batch)))

    def _explained_slice(
        self,
        of: InputSlice | UnusableInput,
        payload: SlicePayload,
        answer: _Answer | RefusedRequestError,
    ) -> ExplainedSlice:
        result = _result(of, payload)
        if isinstance(answer, RefusedRequestError):
            error = f"{result.name} was refused by the server at {self._address}: {answer.reason}"
            return ExplainedSlice(dataclasses.replace(result, error=error))
        prediction, heatmap = answer
        return ExplainedSlice(
            dataclasses.replace(result, prediction=prediction), heatmap, payload.grey
        )

    def _ask_or_refuse(
        self, signature: str, values: Sequence[bytes]
    ) -> list[_Answer | RefusedRequestError]:
        """Ask about all values together, or each alone where the server refuses them together."""
        try:
            return list(self._ask(signature, values))
        except RefusedRequestError as error:
            if len(values) == 1:
                return [error]
        return [answer for value in values for answer in self._ask_or_refuse(signature, [value])]

    def _predict(self, signature: str, values: Sequence[bytes]) -> list[Prediction]:
        return [prediction for prediction, _ in self._ask(signature, values)]

    def _explain(self, signature: str, values: Sequence[bytes]) -> list[Explanation]:
        return [
            Explanation(prediction, heatmap)
            for prediction, heatmap in self._ask(signature, values)
            if heatmap is not None
        ]

    def _ask(self, signature: str, values: Sequence[bytes]) -> list[_Answer]:
        """One answer a value, with its heat map where the signature is one that explains."""
        if not values:
            return []
        explains = signature in _EXPLAINS.values()
        # A server's refusal may mean a slice; these say first what it does not have.
        if explains:
            self._require(signature)
        elif self._spec.HasField("version_label"):
            self.signatures()
        request = predict_pb2.PredictRequest(model_spec=self._spec)
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
            tf.make_ndarray(response.outputs[name]).ravel()
            for name in names
            if name in response.outputs
        ]
        if [(len(column), column.dtype.kind) for column in columns] != [
            (len(values), kind) for kind in ("f", "i", "f")
        ]:
            raise CtnetError(
                f"{self._asked} at {self._address} did not give {', '.join(names)} for"
                f" each of {len(values)} slices: it is not a ctnet model; ask for another"
            )
        heatmaps: Sequence[np.ndarray | None] = [None] * len(values)
        if explains:
            heatmaps = self._heatmaps(response, len(values))
        return [
            (Prediction(probability, decision, threshold), heatmap)
            for probability, decision, threshold, heatmap in zip(
                *(column.tolist() for column in columns), heatmaps, strict=True
            )
        ]

    def _heatmaps(self, response: predict_pb2.PredictResponse, count: int) -> list[np.ndarray]:
        """The heat maps of a response, each float32 [s, s] in [0, 1]."""
        maps = tf.make_ndarray(response.outputs[HEATMAP]) if HEATMAP in response.outputs else None
        if (
            maps is None
            or (maps.ndim, maps.dtype.kind) != (3, "f")
            or maps.shape != (count, maps.shape[1], maps.shape[1])
            or not ((maps >= 0) & (maps <= 1)).all()
        ):
            raise CtnetError(
                f"{self._asked} at {self._address} did not give a {HEATMAP} with"
                f" values from 0 to 1 for each of {count} slices: it is not a ctnet model; ask for"
                " another"
            )
        return list(maps.astype(np.float32))

    def _require(self, signature: str) -> None:
        """See whether the model has a signature that explains.

        Raises:
          CtnetError: it has not.
        """
        if signature not in self.signatures():
            raise CtnetError(
                f"{self._asked} at {self._address} cannot explain (it has no signature"
                f" {signature!r}): serve a newer export, or predict without explaining"
            )

    def _served_signatures(self) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=[_SIGNATURE_DEF]
        )
        signatures = get_model_metadata_pb2.SignatureDefMap()
        try:
            response = self._stub.GetModelMetadata(request, timeout=self._timeout)
            response.metadata[_SIGNATURE_DEF].Unpack(signatures)
        except grpc.RpcError as error:
            refused = self._explained(error)
            if isinstance(refused, RefusedRequestError) and self._spec.HasField("version_label"):
                raise CtnetError(
                    f"the server at {self._address} does not serve {self._asked}"
                    f" ({refused.reason}): ask for a label of its configuration, or for a version"
                    " by number"
                ) from error
            raise refused from error
        except DecodeError as error:
            raise CtnetError(
                f"the server at {self._address} did not say which signatures {self._asked}"
                " has; see whether this is the gRPC port of TF Serving"
            ) from error
        return dict(signatures.signature_def)

    def _explained(self, error: grpc.RpcError) -> CtnetError:
        code, details = error.code(), _words_of_server(error.details() or "no reason given")
        match code:
            case grpc.StatusCode.INVALID_ARGUMENT:
                return RefusedRequestError(self._address, details)
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                # So end messages over somebody's size limit, which smaller ones may keep; and
                # requests to a server with too much to do, which more of them do not help.
                if any(words in details for words in _TOO_LARGE_HERE):
                    return _TooLargeForClientError(self._address, details)
                if any(words in details for words in _TOO_LARGE):
                    return RefusedRequestError(self._address, details)
                return CtnetError(
                    f"the server at {self._address} has too many requests ({details}): ask again "
                    "later"
                )
            case grpc.StatusCode.UNAVAILABLE:
                return self._unavailable(details)
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return CtnetError(
                    f"the server at {self._address} did not answer within {self._timeout:g} s:"
                    " allow more time or send fewer slices at once"
                )
            case grpc.StatusCode.NOT_FOUND:
                return CtnetError(
                    f"the server at {self._address} does not serve {self._asked}"
                    f" ({details}): ask for a model that it serves"
                )
        return CtnetError(
            f"the server at {self._address} failed ({code.name}: {details}): see its log, and"
            " whether this is the gRPC port of a ctnet model"
        )

    def _unavailable(self, details: str) -> CtnetError:
        tries = f" in {1 + self._retries} attempts" if self._retries else ""
        if "Connection refused" in details:
            return CtnetError(
                f"no server answers at {self._address}{tries}: start one there (ctnet serve"
                " MODEL_DIR) or give the address of one"
            )
        if any(words in details for words in _NO_GRPC):
            return CtnetError(
                f"what answers at {self._address} does not speak gRPC: this is probably the REST "
                "port, and gRPC's is 8500 by default; or the server wants TLS"
            )
        return CtnetError(
            f"the server at {self._address} is not available{tries} ({details}): see whether it"
            " runs, and whether both sides use TLS and trust each other's certificates"
        )


def _inputs(
    paths: Iterable[str | os.PathLike[str]],
    slices: SlicePick,
    found: Callable[[int], None] | None,
    warned: Callable[[str], None] | None,
) -> Iterator[InputSlice | UnusableInput]:
    # The letters of a text are paths, too.
    if isinstance(paths, (str, os.PathLike)):
        raise TypeError(f"paths must be a list of paths, got one: give [{paths!r}]")
    return find_input_slices(map(Path, paths), slices, found, warned)


def _payload_or_error(reader: PayloadReader, one: InputSlice | UnusableInput) -> SlicePayload | str:
    if isinstance(one, UnusableInput):
        return one.error
    try:
        return reader.read(one)
    except UnusableSliceError as error:
        return _one_line(error.detail)
    # Other slices may do without the decoder, or the room, that is missing here.
    except MachineFaultError as error:
        return _one_line(str(error))


def _result(
    of: InputSlice | UnusableInput, payload: SlicePayload | None, error: str | None = None
) -> SliceResult:
    """The result of a slice, as far as it is known without the server's answer."""
    if isinstance(of, UnusableInput):
        return SliceResult(of.source, of.source, None, error)
    found = of.found
    return SliceResult(
        path=found.path,
        source=of.source,
        prediction=None,
        error=error,
        number=None if found.frame is None else found.frame + 1,
        patient=payload.patient if payload else None,
        series=payload.series if payload else "",
    )


def _words_of_server(text: str) -> str:
    """One line that a terminal can show, whatever a server sends."""
    return _one_line("".join(one if one.isprintable() else " " for one in text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
