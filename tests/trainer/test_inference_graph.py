"""Networks with their weights as constants and their batch normalisation folded away."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.inference_graph import inference_function
from trainer.model import ModelSettings, build_network
from trainer.weights import BackboneWeights

layers = tf_keras.layers


def with_other_statistics(model):
    """The same model with BatchNorm that changes something."""
    generator = np.random.default_rng(5)
    for layer in model.submodules:
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape
            layer.gamma.assign(generator.uniform(0.5, 1.5, size))
            layer.beta.assign(generator.normal(0.0, 0.3, size))
            layer.moving_mean.assign(generator.normal(0.0, 0.3, size))
            layer.moving_variance.assign(generator.uniform(0.5, 2.0, size))
    return model


def made_for_inference(model, side=12):
    """The function, what it is made of, and a batch for it."""
    spec = tf.TensorSpec([None, side, side, 3], tf.float32)
    function = inference_function(lambda image: model(image, training=False), spec)
    graph = tf.function(function).get_concrete_function(spec).graph.as_graph_def()
    inner = [node for one in graph.library.function for node in one.node_def]
    batch = np.random.default_rng(6).normal(0.0, 1.0, [4, side, side, 3]).astype(np.float32)
    return function, Counter(node.op for node in inner), tf.constant(batch)


def sequence(*parts):
    return with_other_statistics(tf_keras.Sequential([tf_keras.Input([12, 12, 3]), *parts]))


@pytest.mark.parametrize(
    "convolution",
    [
        layers.Conv2D(5, 3, use_bias=False),
        layers.Conv2D(5, 3, strides=2, padding="same", use_bias=False),
        layers.DepthwiseConv2D(3, use_bias=False),
        layers.DepthwiseConv2D(3, depth_multiplier=4, padding="same", use_bias=False),
    ],
)
def test_batch_norm_becomes_part_of_the_convolution_before_it(convolution):
    model = sequence(convolution, layers.BatchNormalization(epsilon=0.01), layers.ReLU())
    function, operations, batch = made_for_inference(model)
    expected = model(batch, training=False).numpy()
    np.testing.assert_allclose(function(batch).numpy(), expected, rtol=1e-5, atol=1e-5)
    assert operations["FusedBatchNormV3"] == 0
    assert operations["BiasAdd"] == 1


@pytest.mark.parametrize(
    "parts",
    [
        [layers.BatchNormalization(), layers.Conv2D(4, 3)],
        [layers.Conv2D(4, 3, use_bias=False), layers.ReLU(), layers.BatchNormalization()],
        [layers.Conv2D(4, 3, use_bias=True), layers.BatchNormalization()],
    ],
)
def test_what_cannot_be_folded_stays_and_is_right(parts):
    model = sequence(*parts)
    function, operations, batch = made_for_inference(model)
    expected = model(batch, training=False).numpy()
    np.testing.assert_allclose(function(batch).numpy(), expected, rtol=1e-5, atol=1e-5)
    assert operations["FusedBatchNormV3"] == 1


def test_a_convolution_that_others_read_too_keeps_its_weights():
    inputs = tf_keras.Input([12, 12, 3])
    shared = layers.Conv2D(4, 3, use_bias=False)
    before = shared(inputs)
    after = layers.BatchNormalization()(before)
    again = layers.BatchNormalization()(shared(layers.ReLU()(inputs)))
    model = with_other_statistics(tf_keras.Model(inputs, before + after + again))
    function, _, batch = made_for_inference(model)
    expected = model(batch, training=False).numpy()
    np.testing.assert_allclose(function(batch).numpy(), expected, rtol=1e-5, atol=1e-5)


def made_of(function, side=12):
    spec = tf.TensorSpec([None, side, side, 3], tf.float32)
    graph = tf.function(inference_function(function, spec)).get_concrete_function(spec).graph
    inner = [node for one in graph.as_graph_def().library.function for node in one.node_def]
    return inference_function(function, spec), Counter(node.op for node in inner)


def test_a_normalisation_whose_statistics_are_read_stays():
    kernel = tf.Variable(np.random.default_rng(1).normal(0.0, 1.0, [3, 3, 3, 4]).astype(np.float32))
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)

    def function(image):
        found = tf.nn.conv2d(image, kernel, 1, "VALID")
        normed, mean, *_ = tf.raw_ops.FusedBatchNormV3(
            x=found, scale=2 * ones, offset=ones, mean=zeros, variance=ones, is_training=False
        )
        return normed + mean

    fast, operations = made_of(function)
    batch = tf.random.stateless_normal([2, 12, 12, 3], [1, 2])
    np.testing.assert_allclose(fast(batch), function(batch), rtol=1e-5, atol=1e-5)
    assert operations["FusedBatchNormV3"] == 1


def test_the_weights_are_those_of_now():
    model = sequence(layers.Conv2D(4, 3), layers.BatchNormalization())
    function, _, batch = made_for_inference(model)
    before = model(batch, training=False).numpy()
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    np.testing.assert_allclose(function(batch).numpy(), before, rtol=1e-5, atol=1e-5)


def test_it_can_be_differentiated_with_regard_to_its_argument():
    """Grad-CAM does."""
    model = sequence(layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(1))
    function, _, batch = made_for_inference(model)
    gradients = []
    for one in (function, model):
        with tf.GradientTape() as tape:
            tape.watch(batch)
            total = tf.reduce_sum(one(batch))
        gradients.append(tape.gradient(total, batch).numpy())
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_all_batch_norm_of_efficientnet_b3_is_folded_and_nothing_else_changes():
    settings = ModelSettings(
        backbone="efficientnet-b3",
        head="gap",
        dropout=0.0,
        batch_norm="trainable",
        batch_norm_momentum=0.9,
        image_size=64,
        centre=0.3,
    )
    tf_keras.utils.set_random_seed(2)
    model = build_network(settings, BackboneWeights(None, "none")).model
    images = np.random.default_rng(7).uniform(-0.3, 0.7, [4, 64, 64, 1]).astype(np.float32)
    # Averages of what it sees, so that training and inference mode differ.
    for _ in range(3):
        model(images, training=True)
    spec = tf.TensorSpec([None, 64, 64, 1], tf.float32)
    function = inference_function(lambda image: model(image, training=False), spec)
    expected = model(images, training=False).numpy()
    np.testing.assert_allclose(function(tf.constant(images)).numpy(), expected, atol=1e-5)
    graph = tf.function(function).get_concrete_function(spec).graph.as_graph_def()
    nodes = [node for one in graph.library.function for node in one.node_def]
    operations = Counter(node.op for node in nodes)
    assert operations["DepthwiseConv2dNative"] == 26
    assert not operations["FusedBatchNormV3"]
    assert not operations["IdentityN"]
