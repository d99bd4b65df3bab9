"""Learning rates that differ by stage of the backbone."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.backbone_stages import backbone_stages, cost_of_a_step, freeze_stages
from trainer.layer_rates import LayerwiseAdam, rate_factors
from trainer.model import ModelSettings, build_network
from trainer.weights import BackboneWeights

RATE = 1e-2


def tiny_network():
    settings = ModelSettings(
        backbone="tiny",
        head="gap",
        dropout=0.0,
        batch_norm="trainable",
        batch_norm_momentum=None,
        image_size=32,
        centre=0.25,
    )
    return build_network(settings, BackboneWeights(None, "none"))


def step(optimizer, variables, gradient=1.0):
    @tf.function
    def apply():
        optimizer.apply_gradients([(tf.fill(one.shape, gradient), one) for one in variables])

    apply()


def test_a_step_is_as_long_as_the_rate_of_its_variable():
    """Adam's first step is the rate itself, wherever the gradient points."""
    network = tiny_network()
    variables = network.model.trainable_variables
    factors = rate_factors(network.model, network.backbone, 0.5)
    before = [one.numpy() for one in variables]
    step(LayerwiseAdam(RATE, factors), variables)
    moved = [float(np.mean(old - one.numpy())) for old, one in zip(before, variables, strict=True)]
    # Three stages of a kernel, a gamma and a beta; then the head's kernel and bias.
    wanted = [0.25] * 3 + [0.5] * 3 + [1.0] * 3 + [1.0] * 2
    assert moved == pytest.approx([RATE * factor for factor in wanted], rel=1e-3)


def test_weight_decay_follows_the_rate_of_its_variable():
    one, other = tf.Variable([2.0]), tf.Variable([2.0])
    optimizer = LayerwiseAdam(RATE, [(one, 1.0), (other, 0.5)], weight_decay=0.1)
    step(optimizer, [one, other], gradient=0.0)
    assert one.numpy() == pytest.approx(2.0 - 2.0 * 0.1 * RATE)
    assert other.numpy() == pytest.approx(2.0 - 2.0 * 0.1 * RATE * 0.5)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_with_equal_rates_it_takes_the_steps_of_adamw(weight_decay):
    mine, keras = tf.Variable([0.3, -0.7]), tf.Variable([0.3, -0.7])
    schedule = tf_keras.optimizers.schedules.ExponentialDecay(RATE, 1, 0.5)
    layerwise = LayerwiseAdam(schedule, [(mine, 1.0)], weight_decay)
    adamw = tf_keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    for gradient in (0.5, -0.1, 2.0):
        step(layerwise, [mine], gradient)
        step(adamw, [keras], gradient)
    np.testing.assert_array_equal(mine.numpy(), keras.numpy())
    assert float(layerwise.learning_rate) == float(adamw.learning_rate)


@pytest.mark.slow
def test_efficientnet_has_a_stem_seven_blocks_and_a_top():
    backbone = tf_keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=[32, 32, 3]
    )
    stages = backbone_stages(backbone)
    assert [stage[-1].name for stage in stages] == [
        "stem_activation",
        "block1a_project_bn",
        *[f"block{number}_add" for number in ("2b", "3b", "4c", "5c", "6d")],
        "block7a_project_bn",
        "top_activation",
    ]
    factors = {variable.name: factor for variable, factor in rate_factors(backbone, backbone, 0.5)}
    assert factors["stem_conv/kernel:0"] == 0.5**8
    assert factors["block4b_expand_conv/kernel:0"] == 0.5**4
    assert factors["top_bn/gamma:0"] == 1.0
    freeze_stages(backbone, 8)
    names = {variable.name for variable in backbone.trainable_variables}
    assert names == {"top_conv/kernel:0", "top_bn/gamma:0", "top_bn/beta:0"}
    costs = [cost_of_a_step(backbone, frozen) for frozen in range(10)]
    assert costs[0] == pytest.approx(3.0, abs=0.01)
    assert costs[9] == pytest.approx(1.0, abs=0.1)
    assert all(less < more for more, less in itertools.pairwise(costs))
