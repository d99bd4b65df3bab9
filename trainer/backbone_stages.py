"""The stages of a backbone, from its input to its top (EfficientNet: Tan and Le 2019, table 1)."""

from __future__ import annotations

import math
import re

import tf_keras

from transform.errors import ConfigError

# The stem, seven blocks and the top, as tf_keras.applications.efficientnet names its layers.
_NAMED_STAGE = re.compile(r"stem|block\d+|top")


def backbone_stages(backbone: tf_keras.Model) -> list[list[tf_keras.layers.Layer]]:
    """Layers by stage: EfficientNet's nine; elsewhere each convolution with what follows it.

    What comes before the first stage only rescales, and is in none.
    """
    stages: dict[str, list[tf_keras.layers.Layer]] = {}
    stage = None
    for layer in backbone.layers:
        named = _NAMED_STAGE.match(layer.name)
        if named:
            stage = named.group()
        elif isinstance(layer, tf_keras.layers.Conv2D):
            stage = layer.name
        if stage is not None:
            stages.setdefault(stage, []).append(layer)
    return list(stages.values())


def freeze_stages(backbone: tf_keras.Model, number: int) -> None:
    """Hold the first stages as they are, the moving statistics of BatchNorm included.

    Nothing is differentiated below the first stage that learns.

    Raises:
      ConfigError: the backbone has fewer stages.
    """
    stages = backbone_stages(backbone)
    if number > len(stages):
        raise ConfigError(
            f"train.frozen_stages: {number}, but backbone {backbone.name} has {len(stages)} stages"
        )
    for layer in (layer for stage in stages[:number] for layer in stage):
        layer.trainable = False


def cost_of_a_step(backbone: tf_keras.Model, frozen: int) -> float:
    """Roughly what a training step costs, in forward passes.

    Backwards through a layer takes twice as long as forwards; a layer counts by the numbers that it
    puts out, because on most devices a step waits for memory.

    Args:
      backbone: of any size.
      frozen: its first stages that are not differentiated.
    """
    numbers = {
        layer.name: math.prod(side for side in layer.output_shape[1:] if side)
        for layer in backbone.layers
        if isinstance(layer.output_shape, tuple)
    }
    held = {layer.name for stage in backbone_stages(backbone)[:frozen] for layer in stage}
    learning = sum(number for name, number in numbers.items() if name not in held)
    return 1.0 + 2.0 * learning / sum(numbers.values())
