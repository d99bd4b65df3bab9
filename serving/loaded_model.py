"""One version of a model in memory, asked by signature name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

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


class LoadedModel:
    """A SavedModel in memory; any number of threads may ask it at once.

    Attributes:
      version: the number of the version.
      signature_defs: every signature of the SavedModel by name, as `saved_model.pb` declares it.
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
        except (OSError, ValueError, RuntimeError, DecodeError, tf.errors.OpError) as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"cannot load the model version {version.folder} ({first_line}): push it again or"
                " remove its folder"
            ) from error
        self.version = version.number

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, tensor_pb2.TensorProto],
        output_filter: Sequence[str] = (),
    ) -> dict[str, tensor_pb2.TensorProto]:
        """Run one signature.

        Args:
          signature_name: the signature; empty for `serving_default`.
          inputs: a tensor for every input alias of the signature.
          output_filter: the output aliases to return; empty for all.

        Returns:
          A tensor for every wanted output alias.

        Raises:
          RequestError: INVALID_ARGUMENT for an unknown signature, a missing or unknown alias, a
            malformed tensor or an input that the graph refuses; else the code that TensorFlow gave.
        """
        signature_name = signature_name or SERVING_DEFAULT
        signature = self._saved_model.signatures.get(signature_name)
        if signature is None:
            known = ", ".join(sorted(self._saved_model.signatures))
            raise invalid(f"no signature {signature_name!r}; the model has {known}")
        declared = self.signature_defs[signature_name]
        if set(inputs) != set(declared.inputs):
            raise invalid(
                f"signature {signature_name!r} takes the inputs {sorted(declared.inputs)},"
                f" got {sorted(inputs)}"
            )
        unknown = sorted(set(output_filter) - set(declared.outputs))
        if unknown or len(set(output_filter)) != len(output_filter):
            raise invalid(
                f"output_filter {list(output_filter)} names unknown or repeated outputs; signature"
                f" {signature_name!r} has {sorted(declared.outputs)}"
            )
        tensors = {
            alias: read_tensor(alias, message, declared.inputs[alias])
            for alias, message in inputs.items()
        }
        with graph_errors():
            outputs = signature(**tensors)
        return {alias: write_tensor(outputs[alias]) for alias in output_filter or declared.outputs}
