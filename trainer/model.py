"""The network: a backbone that sees what it saw in pretraining, and a head with one logit."""

from __future__ import annotations

import dataclasses
from typing import Any

import tf_keras

from trainer import dropout  # noqa: F401 before any layer that drops is made
from trainer.weights import BackboneWeights
from transform.errors import ConfigError

_WHITE = 255.0
# The paper names the head's layers; the width of its dense layer is our choice.
_PAPER_POOL = 4
_PAPER_DENSE = 128
# tf_keras.applications.efficientnet.IMAGENET_STDDEV_RGB
IMAGENET_STDDEV_RGB = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """What the network is made of.

    Attributes:
      backbone: "efficientnet-b3" or "tiny".
      head: "gap" (global average pool, dropout) or "paper" (4x4 average pool, flatten, dense).
      dropout: share of features dropped before the logit, in the gap head.
      batch_norm: "trainable" or "frozen" in fine-tuning.
      batch_norm_momentum: of the moving averages, None for the backbone's own.
      image_size: side of the input in pixels.
      centre: what Transform subtracted from the scaled values.
    """

    backbone: str
    head: str
    dropout: float
    batch_norm: str
    batch_norm_momentum: float | None
    image_size: int
    centre: float


def to_backbone_range(image: Any, centre: float) -> Any:
    """From the model's input to what a Keras Applications backbone was pretrained on.

    EfficientNet takes RGB in 0..255 and normalises inside (tf_keras.applications.efficientnet).

    Args:
      image: float32 [batch, s, s, 1], scaled to [0, 1] and zero-centred.
      centre: what was subtracted from the scaled values.

    Returns:
      float32 [batch, s, s, 3] in 0..255.
    """
    grey = tf_keras.layers.Rescaling(_WHITE, offset=_WHITE * centre, name="to_grey_levels")(image)
    return tf_keras.layers.Concatenate(name="grey_to_rgb")([grey, grey, grey])


def _tiny_backbone(image_size: int) -> tf_keras.Model:
    """A three-layer network with EfficientNet's interface, for trying a pipeline."""
    inputs = tf_keras.Input([image_size, image_size, 3])
    features = tf_keras.layers.Rescaling(1.0 / _WHITE)(inputs)
    for filters in (8, 16, 32):
        features = tf_keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(
            features
        )
        features = tf_keras.layers.BatchNormalization()(features)
        features = tf_keras.layers.ReLU()(features)
    return tf_keras.Model(inputs, features, name="tiny")


def _efficientnet_b3(image_size: int, weights: BackboneWeights) -> tf_keras.Model:
    shape = (image_size, image_size, 3)
    try:
        backbone = tf_keras.applications.EfficientNetB3(
            include_top=False, weights=weights.path, input_shape=shape
        )
    except (ValueError, OSError, KeyError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(
            f"model.weights: {weights.path} does not fit EfficientNetB3 without its top: {line}"
        ) from error
    if weights.is_keras_imagenet:
        # Keras's own file was trained with inputs divided by the square root of the standard
        # deviation once more, which Keras adds only where it fetches the file itself.
        (normalise,) = (
            layer for layer in backbone.layers if isinstance(layer, tf_keras.layers.Normalization)
        )
        normalise.adapt_variance.assign(normalise.adapt_variance * IMAGENET_STDDEV_RGB)
        normalise.finalize_state()
    return backbone


def _backbone(settings: ModelSettings, weights: BackboneWeights) -> tf_keras.Model:
    if settings.backbone == "tiny":
        backbone = _tiny_backbone(settings.image_size)
    else:
        backbone = _efficientnet_b3(settings.image_size, weights)
    if settings.batch_norm_momentum is not None:
        for layer in backbone.layers:
            if isinstance(layer, tf_keras.layers.BatchNormalization):
                layer.momentum = settings.batch_norm_momentum
    return backbone


@dataclasses.dataclass(frozen=True)
class Network:
    """A model and the part of it that is pretrained.

    Attributes:
      model: from float32 [batch, s, s, 1], zero-centred, to float32 [batch, 1], a logit.
      backbone: the part of `model` that the frozen phase holds fixed.
    """

    model: tf_keras.Model
    backbone: tf_keras.Model

    def parts(self) -> tuple[tf_keras.Model, tf_keras.Model]:
        """The model in two, with the same weights.

        Returns:
          From the image to the backbone's last features, float32 [batch, h, w, c]; and from those
          to the logit.
        """
        head = self.model.layers[self.model.layers.index(self.backbone) + 1 :]
        features = head[0].input
        return (
            tf_keras.Model(self.model.input, features, name="image_to_features"),
            tf_keras.Model(features, self.model.output, name="features_to_logit"),
        )

    def freeze_backbone(self) -> None:
        """Train the head alone; BatchNorm then normalises with its stored averages."""
        self.backbone.trainable = False

    def thaw_backbone(self, batch_norm: str) -> None:
        """Train everything, BatchNorm only where `batch_norm` is "trainable"."""
        self.backbone.trainable = True
        for layer in self.backbone.layers:
            if isinstance(layer, tf_keras.layers.BatchNormalization):
                layer.trainable = batch_norm == "trainable"


def build_network(settings: ModelSettings, weights: BackboneWeights) -> Network:
    """Build the network.

    Raises:
      ConfigError: the weights do not fit.
    """
    backbone = _backbone(settings, weights)
    side = settings.image_size
    inputs = tf_keras.Input([side, side, 1], name="image")
    features = backbone(to_backbone_range(inputs, settings.centre))
    if settings.head == "paper":
        features = tf_keras.layers.AveragePooling2D(_PAPER_POOL)(features)
        features = tf_keras.layers.Flatten()(features)
        features = tf_keras.layers.Dense(_PAPER_DENSE, activation="relu")(features)
    else:
        features = tf_keras.layers.GlobalAveragePooling2D()(features)
        features = tf_keras.layers.Dropout(settings.dropout)(features)
    logit = tf_keras.layers.Dense(1, name="logit", dtype="float32")(features)
    return Network(tf_keras.Model(inputs, logit, name="ctnet"), backbone)
