"""One version of a model in memory, asked by signature name."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving.batching import Arrays, Batcher
from serving.call_limits import NO_LIMITS, CallLimits
from serving.model_versions import SAVED_MODEL_FILE, ModelVersion
from serving.request_error import graph_errors, invalid
from serving.tensor_message import read_tensor, write_tensor
from transform.errors import ConfigError
from transform.prediction import SERVING_DEFAULT

_SERVE_TAG = "serve"


def _signature_defs(version: ModelVersion) -> dict[str, meta_graph_pb2.SignatureDef]:
    encoded = (version.folder / SAVED_MODEL_FILE).read_bytes()
    for meta_graph in saved_model_pb2.SavedModel.FromString(encoded).meta_graphs:
        if _SERVE_TAG in meta_graph.meta_info_def.tags:
            return dict(meta_graph.signature_def)
    raise ValueError(f"it has no graph tagged {_SERVE_TAG!r}")


def _has_rows(tensors: Mapping[str, meta_graph_pb2.TensorInfo]) -> bool:
    """Whether axis 0 of all of these can have any length."""
    return all(
        not tensor.tensor_shape.unknown_rank
        and len(tensor.tensor_shape.dim) > 0
        and tensor.tensor_shape.dim[0].size < 0
        for tensor in tensors.values()
    )


def unloadable(version: ModelVersion, error: Exception) -> ConfigError:
    """The one line that says why a version cannot be served."""
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ConfigError(
        f"cannot load the model version {version.folder} ({first_line}): push it again or"
        " remove its folder"
    )


class LoadedModel:
    """A SavedModel in memory; any number of threads may ask it at once.

    Attributes:
      version: the number of the version.
      signature_defs: every signature of the SavedModel by name, as `saved_model.pb` declares it.
      batcher: computes the calls, several at once; None computes each in its caller's thread.
    """

    def __init__(self, version: ModelVersion):
        """Load a version.

        Raises:
          ConfigError: the SavedModel is damaged or incomplete.
        """
        try:
            self.signature_defs: Mapping[str, meta_graph_pb2.SignatureDef] = _signature_defs(
                version
            )
            # The variables live as long as this object does; the signatures alone do not hold them.
            self._saved_model = tf.saved_model.load(str(version.folder), tags=_SERVE_TAG)
        # A damaged graph fails anywhere inside TensorFlow's loader, as any kind of error.
        except Exception as error:
            raise unloadable(version, error) from error
        self.version = version.number
        self.batcher: Batcher | None = None

    def signature_def(self, signature_name: str) -> meta_graph_pb2.SignatureDef:
        """What a signature takes and gives.

        Args:
          signature_name: the signature; empty for `serving_default`.

        Raises:
          RequestError: INVALID_ARGUMENT where there is none of that name.
        """
        signature_name = signature_name or SERVING_DEFAULT
        if signature_name not in self._saved_model.signatures:
            known = ", ".join(sorted(self._saved_model.signatures))
            raise invalid(f"no signature {signature_name!r}; the model has {known}")
        return self.signature_defs[signature_name]

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, tensor_pb2.TensorProto],
        output_filter: Sequence[str] = (),
        limits: CallLimits = NO_LIMITS,
    ) -> dict[str, tensor_pb2.TensorProto]:
        """Run one signature on messages.

        Args:
          signature_name: the signature; empty for `serving_default`.
          inputs: a tensor for every input alias of the signature.
          output_filter: the output aliases to return; empty for all.
          limits: what ends the call early.

        Returns:
          A tensor for every wanted output alias.

        Raises:
          RequestError: as `compute`, and INVALID_ARGUMENT for a malformed tensor or an unknown or
            repeated alias in the filter.
        """
        declared = self.signature_def(signature_name)
        self._check_aliases(signature_name, inputs)
        unknown = sorted(set(output_filter) - set(declared.outputs))
        if unknown or len(set(output_filter)) != len(output_filter):
            raise invalid(
                f"output_filter {list(output_filter)} names unknown or repeated outputs; signature"
                f" {signature_name or SERVING_DEFAULT!r} has {sorted(declared.outputs)}"
            )
        arrays = {
            alias: read_tensor(alias, message, declared.inputs[alias])
            for alias, message in inputs.items()
        }
        outputs = self.compute(signature_name, arrays, limits)
        return {alias: write_tensor(outputs[alias]) for alias in output_filter or declared.outputs}

    def compute(self, signature_name: str, inputs: Arrays, limits: CallLimits) -> Arrays:
        """Run one signature on arrays.

        Args:
          signature_name: the signature; empty for `serving_default`.
          inputs: an array of the declared dtype and a fitting shape for every input alias; strings
            are bytes in an object array.
          limits: what ends the call early.

        Returns:
          An array for every output alias.

        Raises:
          RequestError: INVALID_ARGUMENT for an unknown signature, a missing or unknown alias or an
            input that the graph refuses; else the code that TensorFlow or the batcher gave.
        """
        declared = self.signature_def(signature_name)
        self._check_aliases(signature_name, inputs)
        run = functools.partial(self._run, signature_name or SERVING_DEFAULT)
        if self.batcher is None:
            return run(inputs)
        rows = None
        if inputs and _has_rows(declared.inputs) and _has_rows(declared.outputs):
            lengths = {len(array) for array in inputs.values()}
            # An empty batch and inputs of several lengths are the graph's to judge, each alone.
            rows = (lengths.pop() or None) if len(lengths) == 1 else None
        shapes = tuple((alias, inputs[alias].shape[1:]) for alias in sorted(inputs))
        key = (id(self), signature_name or SERVING_DEFAULT, shapes)
        return self.batcher.run(key, run, inputs, rows, limits)

    def _check_aliases(self, signature_name: str, inputs: Mapping[str, object]) -> None:
        expected = self.signature_def(signature_name).inputs
        if set(inputs) != set(expected):
            raise invalid(
                f"signature {signature_name or SERVING_DEFAULT!r} takes the inputs"
                f" {sorted(expected)}, got {sorted(inputs)}"
            )

    def _run(self, signature_name: str, inputs: Arrays) -> Arrays:
        declared = self.signature_defs[signature_name].inputs
        with graph_errors():
            try:
                tensors = {
                    alias: tf.constant(array, tf.as_dtype(declared[alias].dtype))
                    for alias, array in inputs.items()
                }
            except (TypeError, ValueError) as error:
                raise invalid(f"the inputs make no tensors: {error}") from error
            outputs = self._saved_model.signatures[signature_name](**tensors)
            return {alias: _array(tensor) for alias, tensor in outputs.items()}


def _array(tensor: tf.Tensor) -> np.ndarray:
    """A tensor's values; a string without axes would be plain bytes, which NumPy pads."""
    return np.asarray(tensor.numpy(), tensor.dtype.as_numpy_dtype)
