"""A network as it is served: weights are constants, and batch normalisation is part of them.

`tensorflow.python.tools.optimize_for_inference_lib` folds batch normalisation as well, one weight
at a time in Python: a minute for EfficientNetB3. And what it leaves alone, the IdentityN that
swish's own gradient is hung on, keeps TensorFlow from fusing the activation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

_PASSED_ON = ("Identity", "IdentityN")
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def inference_function(
    function: Callable[[tf.Tensor], tf.Tensor], spec: tf.TensorSpec
) -> Callable[[tf.Tensor], tf.Tensor]:
    """The same function of one tensor without variables, made for inference.

    Args:
      function: of one tensor to one tensor, differentiable or not; its variables have the values
        of now.
      spec: of its argument.

    Returns:
      A function that a SavedModel can hold and other functions can call; it cannot be
      differentiated with regard to weights, which it has none of.
    """
    frozen = convert_variables_to_constants_v2(tf.function(function).get_concrete_function(spec))
    graph = frozen.graph.as_graph_def()
    argument, result = frozen.inputs[0].name, frozen.outputs[0].name
    result = _without_identities(graph, result)
    _fold_batch_norms(graph, result)
    imported = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    pruned = imported.prune(argument, result)
    return lambda value: pruned(value)


def _node_of(tensor: str) -> str:
    """The name of the node that a tensor, as an input is written, comes from."""
    return tensor.removeprefix("^").split(":")[0]


def _without_identities(graph: graph_pb2.GraphDef, result: str) -> str:
    """Take out nodes that pass their input on, and control edges.

    A frozen function without side effects needs none of them: they order reads of variables.

    Returns:
      The tensor that is now the result.
    """
    nodes = {node.name: node for node in graph.node}

    def source(tensor: str) -> str:
        name, _, number = tensor.partition(":")
        node = nodes[name]
        if node.op not in _PASSED_ON:
            return tensor
        return source(node.input[int(number or 0)])

    found = source(result)
    others = [node for node in graph.node if node.op not in (*_PASSED_ON, "NoOp")]
    for node in others:
        inputs = [source(tensor) for tensor in node.input if not tensor.startswith("^")]
        del node.input[:]
        node.input.extend(inputs)
    copies = [node_def_pb2.NodeDef.FromString(node.SerializeToString()) for node in others]
    del graph.node[:]
    graph.node.extend(copies)
    return found if ":" in found else f"{found}:0"


def _values(node: node_def_pb2.NodeDef) -> np.ndarray:
    return tf.make_ndarray(node.attr["value"].tensor)


def _fold_batch_norms(graph: graph_pb2.GraphDef, result: str) -> None:
    """Turn each convolution with a batch normalisation after it into one with a bias.

    gamma (w * x - mean) / sqrt(variance + epsilon) + beta is a convolution with weights
    w * scale and the bias beta - mean * scale, where scale is gamma / sqrt(variance + epsilon).
    Whatever does not look like this stays as it is.
    """
    nodes = {node.name: node for node in graph.node}
    read = [result, *(tensor for node in graph.node for tensor in node.input)]
    uses = Counter(map(_node_of, read))
    # Of a normalisation's outputs all but the first are statistics, which a BiasAdd has none of.
    statistics_read = {
        _node_of(tensor) for tensor in read if tensor.partition(":")[2] not in ("", "0")
    }
    for norm in [node for node in graph.node if node.op == "FusedBatchNormV3"]:
        convolution, *statistics = (nodes[_node_of(tensor)] for tensor in norm.input)
        if convolution.op not in _CONVOLUTIONS or norm.attr["is_training"].b:
            continue
        if norm.name in statistics_read:
            continue
        weights = nodes[_node_of(convolution.input[1])]
        constants = [weights, *statistics]
        # What others read too must not change.
        alone = uses[convolution.name] == 1 and uses[weights.name] == 1
        if not alone or any(node.op != "Const" for node in constants):
            continue
        kernel, gamma, beta, mean, variance = (_values(node) for node in constants)
        scale = gamma / np.sqrt(variance.astype(np.float64) + norm.attr["epsilon"].f)
        # Kernels end in the output channels; a depthwise one in (channel, multiplier).
        ending = kernel.shape[2:] if convolution.op == _CONVOLUTIONS[1] else kernel.shape[3:]
        _set_constant(weights, (kernel * scale.reshape(ending)).astype(kernel.dtype))
        bias = graph.node.add(name=f"{norm.name}/bias", op="Const")
        bias.attr["dtype"].type = norm.attr["T"].type
        _set_constant(bias, (beta - mean * scale).astype(beta.dtype))
        addition = node_def_pb2.NodeDef(
            name=norm.name, op="BiasAdd", input=[convolution.name, bias.name]
        )
        addition.attr["T"].type = norm.attr["T"].type
        addition.attr["data_format"].CopyFrom(convolution.attr["data_format"])
        norm.CopyFrom(addition)


def _set_constant(node: node_def_pb2.NodeDef, values: np.ndarray) -> None:
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
