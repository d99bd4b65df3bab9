"""The training step as a TPU needs it: compiled by XLA, every shape known beforehand."""

import dataclasses

import pytest
import tensorflow as tf
import tf_keras

from trainer.augmentation import Augmentation
from trainer.distribution import MIXED_BFLOAT16, make_devices
from trainer.fitting import FitSettings, fit
from trainer.input import training_epoch, validation_batches
from trainer.model import ModelSettings, build_network
from trainer.weights import BackboneWeights
from transform.ct_example import EVAL

pytestmark = pytest.mark.slow

SETTINGS = FitSettings(
    epochs=2,
    head_epochs=0,
    learning_rate=1e-3,
    head_learning_rate=1e-3,
    optimizer="adamw",
    weight_decay=1e-4,
    schedule="cosine",
    warmup_epochs=0.5,
    label_smoothing=0.05,
    early_stopping=2,
    batch_norm="trainable",
    layer_decay=0.9,
    frozen_stages=0,
    weight_average=0.5,
)


class HandedOverError(Exception):
    """What `fit` was about to give to tf_keras: the compiled model and an epoch's batches."""


def what_is_trained(study, monkeypatch, training, **changes):
    """The compiled model, in the precision of a TPU, and the batches that it is given."""

    def hand_over(model, batches, **_):
        raise HandedOverError(model, batches)

    monkeypatch.setattr(tf_keras.Model, "fit", hand_over)
    settings = ModelSettings(
        backbone="tiny",
        head="gap",
        dropout=0.2,
        batch_norm="trainable",
        batch_norm_momentum=None,
        image_size=32,
        centre=0.3,
    )
    devices = dataclasses.replace(make_devices("single"), precision=MIXED_BFLOAT16)
    with devices.scope():
        network = build_network(
            dataclasses.replace(settings, **changes), BackboneWeights(None, "none")
        )
    with pytest.raises(HandedOverError) as handed:
        fit(
            network,
            training=training,
            validation=validation_batches(study.files(EVAL), 4),
            steps=2,
            class_weight={0: 0.8, 1: 1.3},
            settings=SETTINGS,
            devices=devices,
        )
    return handed.value.args


def is_cudnn_workspace(node, number):
    """Batch normalisation's last output, which has no shape on any device and which XLA drops."""
    if node.op == "ZerosLike":
        return node.input[0].endswith("FusedBatchNormV3:5")
    return node.op == "FusedBatchNormV3" and number == 5


def dynamic_shapes(function, *specs):
    """Names of the tensors whose shape is not known, in the graph and all that it calls."""
    graph = tf.function(function).get_concrete_function(*specs).graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    assert len(nodes) > 1
    return [
        node.name
        for node in nodes
        for number, shape in enumerate(node.attr["_output_shapes"].list.shape)
        if not tf.TensorShape(shape).is_fully_defined() and not is_cudnn_workspace(node, number)
    ]


def test_a_dynamic_shape_is_found_in_what_a_graph_calls():
    """The checks below rest on it."""

    @tf.function
    def positive(values):
        return tf.reduce_sum(tf.boolean_mask(values, values > 0.0))

    assert dynamic_shapes(lambda values: positive(values) + 1.0, tf.TensorSpec([4]))
    assert not dynamic_shapes(lambda values: tf.reduce_sum(values) + 1.0, tf.TensorSpec([4]))


@pytest.mark.parametrize("per_class", [None, 8])
def test_the_step_has_static_shapes_and_compiles(study, monkeypatch, per_class):
    def training(epoch):
        return training_epoch(
            study.files(),
            epoch=epoch,
            batch_size=8,
            augmentation=Augmentation(10.0, 0.1, True, 0.1, 0.1, 0.1, 0.1),
            centre=0.3,
            per_class=per_class,
            seed=1,
        )

    model, batches = what_is_trained(study, monkeypatch, training)
    assert [spec.shape.as_list() for spec in batches.element_spec] == [[8, 32, 32, 1], [8, 1], [8]]
    assert dynamic_shapes(model.train_step, batches.element_spec) == []
    before = model.get_weights()
    figures = tf.function(model.train_step, jit_compile=True)(next(iter(batches)))
    assert 0.0 < float(figures["loss"]) < 10.0
    assert any((one != other).any() for one, other in zip(before, model.get_weights(), strict=True))


def test_the_step_of_efficientnet_b3_has_static_shapes(study, monkeypatch):
    """Traced alone: XLA takes minutes to compile it for a CPU."""
    blank = tf.data.Dataset.from_tensors((tf.zeros([4, 224, 224, 1]), tf.zeros([4, 1])))
    model, batches = what_is_trained(
        study, monkeypatch, lambda _: blank, backbone="efficientnet-b3", image_size=224
    )
    assert dynamic_shapes(model.train_step, batches.element_spec) == []
