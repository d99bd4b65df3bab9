"""Classify and Regress: requests of tf.Examples, for signatures that say they answer such.

TensorFlow 2 exports predict signatures only, which these calls are refused for; a classic
SavedModel can declare the others.
"""

from __future__ import annotations

import numpy as np
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from serving.batching import Arrays
from serving.call_limits import CallLimits
from serving.loaded_model import LoadedModel
from serving.request_error import invalid

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

_INPUTS = "inputs"
_CLASSES = "classes"
_SCORES = "scores"
_OUTPUTS = "outputs"


def _examples(message: input_pb2.Input) -> np.ndarray:
    """Serialised examples of a request, object [number], with their common context in each."""
    kind = message.WhichOneof("kind")
    if kind == "example_list_with_context":
        listed = message.example_list_with_context
        examples = []
        for one in listed.examples:
            example = example_pb2.Example()
            example.CopyFrom(listed.context)
            example.MergeFrom(one)
            examples.append(example.SerializeToString())
    else:
        examples = [one.SerializeToString() for one in message.example_list.examples]
    if not examples:
        raise invalid("Input is empty")
    return np.array(examples, object)


def _answers(
    model: LoadedModel,
    request: classification_pb2.ClassificationRequest | regression_pb2.RegressionRequest,
    limits: CallLimits,
    *,
    kind: str,
    method: str,
) -> Arrays:
    """Outputs of the signature for the examples of a request, each with as many rows."""
    signature_name = request.model_spec.signature_name
    found = model.signature_def(signature_name).method_name
    if found != method:
        raise invalid(f"Expected {kind} signature method_name to be {method}. Was: {found}")
    examples = _examples(request.input)
    outputs = model.compute(signature_name, {_INPUTS: examples}, limits)
    for alias, array in outputs.items():
        if array.ndim == 0 or len(array) != len(examples):
            raise invalid(
                f"output {alias!r} has shape {list(array.shape)} for {len(examples)} examples"
            )
    return outputs


def classify(
    model: LoadedModel, request: classification_pb2.ClassificationRequest, limits: CallLimits
) -> classification_pb2.ClassificationResult:
    """Labels and scores of every example.

    Raises:
      RequestError: INVALID_ARGUMENT for no examples, or a signature that does not classify; else as
        `LoadedModel.compute`.
    """
    outputs = _answers(model, request, limits, kind="classification", method=CLASSIFY_METHOD)
    columns = {alias: outputs[alias].tolist() for alias in (_CLASSES, _SCORES) if alias in outputs}
    if not columns or any(outputs[alias].ndim != 2 for alias in columns):
        raise invalid("the signature gives no classes or scores of shape [batch, classes]")
    result = classification_pb2.ClassificationResult()
    for at in range(len(next(iter(columns.values())))):
        classifications = result.classifications.add()
        labels = columns[_CLASSES][at] if _CLASSES in columns else None
        scores = columns[_SCORES][at] if _SCORES in columns else None
        for number in range(len(labels if labels is not None else scores or [])):
            classifications.classes.add(
                label=None if labels is None else labels[number].decode("utf-8", "replace"),
                score=None if scores is None else scores[number],
            )
    return result


def regress(
    model: LoadedModel, request: regression_pb2.RegressionRequest, limits: CallLimits
) -> regression_pb2.RegressionResult:
    """One value for every example.

    Raises:
      RequestError: INVALID_ARGUMENT for no examples, or a signature that is no regression; else as
        `LoadedModel.compute`.
    """
    outputs = _answers(model, request, limits, kind="regression", method=REGRESS_METHOD)
    values = outputs.get(_OUTPUTS)
    if values is None or values.size != len(values):
        raise invalid("the signature does not give one value in `outputs` for each example")
    result = regression_pb2.RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add(value=value)
    return result
