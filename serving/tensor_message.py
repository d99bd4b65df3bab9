"""Tensors as messages: reading those of a request with suspicion, writing those of a response."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.request_error import invalid

# TF Serving answers in these fields and not in `tensor_content`, and clients read them directly.
_VALUE_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def dtype_name(dtype: int) -> str:
    """TensorFlow's name of a dtype's number, or the number where it has none."""
    return types_pb2.DataType.Name(dtype) if dtype in types_pb2.DataType.values() else str(dtype)


def _carried(message: tensor_pb2.TensorProto) -> int:
    """How many values a message carries at most, whatever its shape says."""
    if message.tensor_content:
        return len(message.tensor_content)
    return sum(len(value) for field, value in message.ListFields() if field.name.endswith("_val"))


def check_shape(alias: str, shape: Sequence[int], declared: meta_graph_pb2.TensorInfo) -> None:
    """Refuse an input of another shape than its signature declares.

    Raises:
      RequestError: INVALID_ARGUMENT.
    """
    expected = tf.TensorShape(declared.tensor_shape)
    if not expected.is_compatible_with(shape):
        raise invalid(f"input {alias!r} has shape {list(shape)}, expected {expected}")


def read_tensor(
    alias: str, message: tensor_pb2.TensorProto, declared: meta_graph_pb2.TensorInfo
) -> np.ndarray:
    """The array that a request sends for one input of a signature.

    Unlike TF Serving, this does not fill up a tensor that carries fewer values than its shape has:
    a request of a few bytes could then take all the memory.

    Args:
      alias: the name of the input in the signature.
      message: the tensor as it was sent.
      declared: dtype and shape that the signature declares for the input.

    Returns:
      An array of the declared dtype (strings are bytes in an object array), and of a shape
      compatible with the declared one.

    Raises:
      RequestError: INVALID_ARGUMENT where dtype or shape differ, or values and shape disagree.
    """
    if message.dtype != declared.dtype:
        raise invalid(
            f"input {alias!r} is {dtype_name(message.dtype)}, expected {dtype_name(declared.dtype)}"
        )
    shape = [dimension.size for dimension in message.tensor_shape.dim]
    if message.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise invalid(f"input {alias!r} has no definite shape: {shape}")
    check_shape(alias, shape, declared)
    if _carried(message) < math.prod(shape):
        raise invalid(
            f"input {alias!r} carries {_carried(message)} values, too few for shape {shape}"
        )
    try:
        return np.asarray(tf.make_ndarray(message), tf.as_dtype(declared.dtype).as_numpy_dtype)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise invalid(f"input {alias!r} is malformed: {error}") from error


def write_tensor(array: np.ndarray) -> tensor_pb2.TensorProto:
    """The message of an array, with its values in the typed fields where TF Serving has them."""
    dtype = tf.as_dtype(array.dtype)
    field = _VALUE_FIELDS.get(dtype)
    if field is None:
        return tf.make_tensor_proto(array)
    message = tensor_pb2.TensorProto(
        dtype=dtype.as_datatype_enum, tensor_shape=tf.TensorShape(array.shape).as_proto()
    )
    getattr(message, field).extend(array.ravel().tolist())
    return message
