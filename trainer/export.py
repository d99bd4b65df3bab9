"""The exported model: one SavedModel with the Transform graph inside, and its signatures."""

from __future__ import annotations

import dataclasses
import functools

import tensorflow as tf
import tensorflow_transform as tft

from trainer.flip_average import both_views, mean_of_views
from trainer.grad_cam import evidence, heatmap
from trainer.inference_graph import inference_function
from trainer.model import Network
from trainer.warmup_requests import write_warmup_requests
from transform import ct_example, prediction, preprocessing
from transform.hounsfield import SLICES_AT_ONCE
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
        network: Network,
        transform: tft.TFTransformOutput,
        decision: Decision,
        window: tuple[float, float],
        *,
        flip_average: bool = False,
    ):
        """Put the parts together, with the network's weights as constants.

        Args:
          network: its model takes float32 [batch, s, s, 1].
          transform: the graph from raw CT examples to the model's input.
          decision: temperature and threshold.
          window: HU of black and white in pictures that lost their Hounsfield units.
          flip_average: answer with the mean of the logits of slice and mirror image.
        """
        super().__init__(name=prediction.MODEL_NAME)
        self._side = network.model.input_shape[1]
        self._features, self._logit = (
            inference_function(
                functools.partial(part, training=False),
                tf.TensorSpec([None, *part.input_shape[1:]], tf.float32),
            )
            for part in network.parts()
        )
        self._transform_layer = transform.transform_features_layer()
        raw_spec = transform.raw_feature_spec()
        self._input_spec = {name: raw_spec[name] for name in _MODEL_INPUTS}
        self._decision = decision
        self._window = window
        self._flip_average = flip_average

    def _answer(self, image: tf.Tensor, *, explain: bool = False) -> dict[str, tf.Tensor]:
        features = self._features(both_views(image) if self._flip_average else image)
        logit = self._logit(features)
        logit = tf.squeeze(mean_of_views(logit) if self._flip_average else logit, axis=-1)
        probability = tf.sigmoid(logit / self._decision.temperature)
        threshold = tf.fill(tf.shape(probability), tf.constant(self._decision.threshold))
        answer = {
            prediction.PROBABILITY: probability,
            prediction.DECISION: tf.cast(probability >= threshold, tf.int64),
            prediction.THRESHOLD: threshold,
        }
        if explain:
            found = evidence(features, self._logit)
            if self._flip_average:
                found, mirrored = tf.split(found, 2)
                found += tf.reverse(mirrored, axis=[2])
            answer[prediction.HEATMAP] = heatmap(found, self._side)
        return answer

    def _transformed(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        return self._transform_layer(features)[preprocessing.IMAGE]

    def _pictures(self, image_bytes: tf.Tensor) -> tf.Tensor:
        encoded, white = tf.map_fn(
            stored_picture,
            image_bytes,
            parallel_iterations=SLICES_AT_ONCE,
            fn_output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.float32)),
        )
        low, high = self._window
        features = {
            ct_example.IMAGE: encoded,
            ct_example.SLOPE: (high - low) / white,
            ct_example.INTERCEPT: tf.fill(tf.shape(white), tf.constant(low)),
        }
        return self._transformed(features)

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
        return self._answer(self._pictures(image_bytes))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def explain(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialised CT examples, string [batch], to the same and the heatmap."""
        return self._answer(self.transform_features(examples)[preprocessing.IMAGE], explain=True)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.IMAGE_BYTES)])
    def explain_image(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """PNG or JPEG pictures, string [batch], to the same and the heatmap."""
        return self._answer(self._pictures(image_bytes), explain=True)

    def save(self, folder: str) -> None:
        """Write the SavedModel with all signatures and warm-up requests, whole or not at all.

        It is written beside `folder` and renamed when whole. Object storage has no rename of a
        folder but copies one object after the other; there, that the Trainer's execution is
        recorded as finished says that the model is whole.

        Raises:
          StorageError: the disk is full, or the folder cannot be written.
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
                        prediction.EXPLAIN: self.explain,
                        prediction.EXPLAIN_IMAGE: self.explain_image,
                    },
                )
                write_warmup_requests(unfinished, self._window)
                if tf.io.gfile.exists(folder):
                    tf.io.gfile.rmtree(folder)
                tf.io.gfile.rename(unfinished, folder)
            except BaseException:
                if tf.io.gfile.exists(unfinished):
                    tf.io.gfile.rmtree(unfinished)
                raise
