"""Tensors as JSON, in the row and the columnar format of TF Serving's REST API.

Row: `{"instances": [...]}` gives `{"predictions": [...]}`, one entry for each row. Columnar:
`{"inputs": ...}` gives `{"outputs": ...}`, one array for each tensor. Where a signature has one
tensor, its name can be left out. Bytes are `{"b64": "..."}`.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.batching import Arrays
from serving.request_error import invalid
from serving.tensor_message import check_shape, dtype_name

_BASE64 = "b64"
_INSTANCES = "instances"
_INPUTS = "inputs"

# TF Serving writes string outputs whose name ends so as base64, the others as text.
_BYTES_SUFFIX = "_bytes"

TensorInfos = Mapping[str, meta_graph_pb2.TensorInfo]


@dataclasses.dataclass(frozen=True)
class JsonRequest:
    """A prediction request read from JSON.

    Attributes:
      signature_name: as the request gives it; empty where it does not.
      inputs: an array for every input alias.
      in_rows: whether it came, and is answered, in the row format.
    """

    signature_name: str
    inputs: Arrays
    in_rows: bool


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object that a request's body is.

    Raises:
      RequestError: INVALID_ARGUMENT where it is not.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise invalid("the body must be a JSON object")
    return content


def read_request(body: bytes, inputs_of: Callable[[str], TensorInfos]) -> JsonRequest:
    """Read the body of a prediction request.

    Args:
      body: JSON in UTF-8.
      inputs_of: the input tensors that a signature declares, by the signature's name.

    Raises:
      RequestError: INVALID_ARGUMENT for anything that is not such a request, or tensors of another
        dtype or shape than declared.
    """
    content = read_json(body)
    signature_name = content.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise invalid("signature_name must be a string")
    if (_INSTANCES in content) == (_INPUTS in content):
        raise invalid(f"the body must have either {_INSTANCES!r} or {_INPUTS!r}")
    declared = inputs_of(signature_name)
    in_rows = _INSTANCES in content
    if in_rows:
        columns = _columns_of_rows(content[_INSTANCES], declared)
    else:
        columns = _columns(content[_INPUTS], declared)
    if set(columns) != set(declared):
        raise invalid(f"the signature takes the inputs {sorted(declared)}, got {sorted(columns)}")
    inputs = {alias: _array(alias, column, declared[alias]) for alias, column in columns.items()}
    return JsonRequest(signature_name, inputs, in_rows)


def _is_base64(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {_BASE64}


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _columns(value: Any, declared: TensorInfos) -> dict[str, Any]:
    if _is_named(value):
        return dict(value)
    if len(declared) != 1:
        raise invalid(f"{_INPUTS!r} must be an object with the inputs {sorted(declared)}")
    return {next(iter(declared)): value}


def _columns_of_rows(rows: Any, declared: TensorInfos) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not rows:
        raise invalid(f"{_INSTANCES!r} must be a list with at least one entry")
    if not _is_named(rows[0]):
        if len(declared) != 1:
            raise invalid(
                f"every entry of {_INSTANCES!r} must be an object with the inputs"
                f" {sorted(declared)}"
            )
        return {next(iter(declared)): rows}
    columns: dict[str, list[Any]] = {alias: [] for alias in declared}
    for at, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(declared):
            raise invalid(
                f"entry {at} of {_INSTANCES!r} must be an object with the inputs {sorted(declared)}"
            )
        for alias, value in row.items():
            columns[alias].append(value)
    return columns


def read_bytes(name: str, value: Any) -> bytes:
    """The bytes of a JSON string, or of an object that holds them in base64.

    Raises:
      RequestError: INVALID_ARGUMENT for anything else.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not (_is_base64(value) and isinstance(value[_BASE64], str)):
        raise invalid(f"{name!r} has a value that is no string and no {{{_BASE64!r}: ...}}")
    try:
        return base64.b64decode(value[_BASE64], validate=True)
    except ValueError as error:
        raise invalid(f"{name!r} has a damaged {_BASE64!r}: {error}") from error


def _leaf_reader(alias: str, dtype: tf.DType) -> Callable[[Any], Any]:
    """Checks and converts one value of a tensor: what NumPy would quietly turn into another."""

    def refused(value: Any) -> Exception:
        shown = "an object" if isinstance(value, dict) else json.dumps(value)[:40]
        name = dtype_name(dtype.as_datatype_enum)
        return invalid(f"input {alias!r} has {shown} where a value of {name} is expected")

    def number(value: Any) -> Any:
        kinds: tuple[type, ...] = (int,) if dtype.is_integer else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise refused(value)
        return value

    def truth(value: Any) -> bool:
        if not isinstance(value, bool):
            raise refused(value)
        return value

    if dtype == tf.string:
        return functools.partial(read_bytes, alias)
    if dtype == tf.bool:
        return truth
    if dtype.is_integer or dtype.is_floating:
        return number
    raise invalid(f"input {alias!r} is {dtype.name}, which JSON cannot carry: use gRPC")


def _array(alias: str, value: Any, declared: meta_graph_pb2.TensorInfo) -> np.ndarray:
    """The array of nested lists."""
    dtype = tf.as_dtype(declared.dtype)
    read = _leaf_reader(alias, dtype)
    shape = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    check_shape(alias, shape, declared)

    leaves: list[Any] = []

    def collect(node: Any, depth: int) -> None:
        if depth == len(shape):
            if isinstance(node, list):
                raise invalid(f"input {alias!r} is ragged: its lists have different depths")
            leaves.append(read(node))
            return
        if not isinstance(node, list) or len(node) != shape[depth]:
            raise invalid(f"input {alias!r} is ragged: its lists have different lengths")
        for one in node:
            collect(one, depth + 1)

    try:
        collect(value, 0)
        if dtype == tf.string:
            # NumPy would strip the zeros at the end of bytes.
            array = np.empty(len(leaves), object)
            array[:] = leaves
        else:
            array = np.array(leaves, dtype.as_numpy_dtype)
        return array.reshape(shape)
    except (OverflowError, RecursionError, ValueError) as error:
        raise invalid(f"input {alias!r}: {error}") from error


def _plain(alias: str, array: np.ndarray) -> Any:
    """Nested lists of an array, with the fewest digits that tell a number from its neighbours."""
    dtype = tf.as_dtype(array.dtype)
    if dtype == tf.string:
        write: Callable[[bytes], Any] = _write_base64 if alias.endswith(_BYTES_SUFFIX) else _text
        values = np.empty(array.size, object)
        values[:] = [write(value) for value in array.ravel().tolist()]
        return values.reshape(array.shape).tolist()
    if dtype == tf.float32:
        return array.astype(str).astype(np.float64).tolist()
    if dtype.is_floating:
        return array.astype(np.float64).tolist()
    if dtype.is_integer or dtype == tf.bool:
        return array.tolist()
    raise invalid(f"output {alias!r} is {dtype.name}, which JSON cannot carry: use gRPC")


def _write_base64(value: bytes) -> dict[str, str]:
    return {_BASE64: base64.b64encode(value).decode("ascii")}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def write_response(outputs: Arrays, in_rows: bool) -> dict[str, Any]:
    """The JSON object of a response.

    Args:
      outputs: an array for every output alias.
      in_rows: the format of the request.

    Raises:
      RequestError: INVALID_ARGUMENT for outputs that have no rows in common in the row format, or a
        dtype that JSON does not have.
    """
    columns = {alias: _plain(alias, array) for alias, array in outputs.items()}
    if not in_rows:
        return {"outputs": columns if len(columns) != 1 else next(iter(columns.values()))}
    lengths = {len(array) if array.ndim else None for array in outputs.values()}
    if len(lengths) != 1 or None in lengths:
        raise invalid(
            f"the outputs do not have as many rows as one another: ask with {_INPUTS!r} instead of"
            f" {_INSTANCES!r}"
        )
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}
