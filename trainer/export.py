"""The exported model: one SavedModel with the Transform graph inside, and its signatures."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras

from transform import ct_example, prediction, preprocessing
from transform.picture_graph import stored_picture
from transform.whole_file import UNFINISHED, explaining_failures

_MODEL_INPUTS = (ct_example.IMAGE, ct_example.SLOPE, ct_example.INTERCEPT)


@dataclasses.dataclass(frozen=True)
class Decision:
    """How a logit becomes an answer.

    Attributes:
      temperature: divides the logit before the sigmoid.
      threshold: the probability from which on the decision is positive.
    """

    temperature: float
    threshold: float


class ServedModel(tf.Module):
    """The module that is saved; its signatures are described in `transform.prediction`."""

    def __init__(
        self,
        model: tf_keras.Model,
        transform: tft.TFTransformOutput,
        decision: Decision,
        window: tuple[float, float],
    ):
        """Put the parts together.

        Args:
          model: from float32 [batch, s, s, 1] to a logit, float32 [batch, 1].
          transform: the graph from raw CT examples to the model's input.
          decision: temperature and threshold.
          window: HU of black and white in pictures that lost their Hounsfield units.
        """
        super().__init__(name=prediction.MODEL_NAME)
        self._model = model
        self._transform_layer = transform.transform_features_layer()
        raw_spec = transform.raw_feature_spec()
        self._input_spec = {name: raw_spec[name] for name in _MODEL_INPUTS}
        self._decision = decision
        self._window = window

    def _answer(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        logit = tf.squeeze(self._model(image, training=False), axis=-1)
        probability = tf.sigmoid(logit / self._decision.temperature)
        threshold = tf.fill(tf.shape(probability), tf.constant(self._decision.threshold))
        return {
            prediction.PROBABILITY: probability,
            prediction.DECISION: tf.cast(probability >= threshold, tf.int64),
            prediction.THRESHOLD: threshold,
        }

    def _transformed(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        return self._transform_layer(features)[preprocessing.IMAGE]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialised CT examples, string [batch], to what the network sees."""
        features = tf.io.parse_example(examples, self._input_spec)
        return {preprocessing.IMAGE: self._transformed(features)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialised CT examples, string [batch], to probability, decision and threshold."""
        return self._answer(self.transform_features(examples)[preprocessing.IMAGE])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.IMAGE_BYTES)])
    def predict_image(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """PNG or JPEG pictures, string [batch], under the assumed window, to the same."""
        encoded, white = tf.map_fn(
            stored_picture,
            image_bytes,
            fn_output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.float32)),
        )
        low, high = self._window
        features = {
            ct_example.IMAGE: encoded,
            ct_example.SLOPE: (high - low) / white,
            ct_example.INTERCEPT: tf.fill(tf.shape(white), tf.constant(low)),
        }
        return self._answer(self._transformed(features))

    def save(self, folder: str) -> None:
        """Write the SavedModel with all signatures, whole or not at all.

        It is written beside `folder` and renamed when whole. Object storage has no rename of a
        folder but copies one object after the other; there, that the Trainer's execution is
        recorded as finished says that the model is whole.

        Raises:
          ConfigError: the disk is full, or the folder cannot be written.
        """
        unfinished = folder.rstrip("/") + UNFINISHED
        with explaining_failures("the model", folder):
            try:
                if tf.io.gfile.exists(unfinished):
                    tf.io.gfile.rmtree(unfinished)
                tf.saved_model.save(
                    self,
                    unfinished,
                    signatures={
                        prediction.SERVING_DEFAULT: self.serving_default,
                        prediction.PREDICT_IMAGE: self.predict_image,
                        prediction.TRANSFORM_FEATURES: self.transform_features,
                    },
                )
                if tf.io.gfile.exists(folder):
                    tf.io.gfile.rmtree(folder)
                tf.io.gfile.rename(unfinished, folder)
            except BaseException:
                if tf.io.gfile.exists(unfinished):
                    tf.io.gfile.rmtree(unfinished)
                raise
