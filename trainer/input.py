"""Batches of transformed slices for training and validation."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf
import tensorflow_transform as tft

from trainer.augmentation import Augmentation, augment
from transform import preprocessing

# Serialised slices wait here: about a thousand at 224 px, fewer of larger ones.
_SHUFFLE_BYTES = 200_000_000
_BYTES_A_PIXEL = 4


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """The transformed files of one split, and how to parse them.

    Attributes:
      pattern: glob patterns of gzipped TFRecord files.
      transform: whose schema the files follow.
    """

    pattern: list[str]
    transform: tft.TFTransformOutput

    @property
    def shuffle_buffer(self) -> int:
        """How many serialised slices a shuffle holds."""
        shape = self.transform.transformed_feature_spec()[preprocessing.IMAGE].shape
        return max(16, _SHUFFLE_BYTES // (_BYTES_A_PIXEL * math.prod(shape)))

    def records(self) -> tf.data.Dataset:
        """Serialised transformed examples, string [], in a fixed order."""
        files = sorted(name for pattern in self.pattern for name in tf.io.gfile.glob(pattern))
        return tf.data.TFRecordDataset(files, compression_type="GZIP")

    def parse_batch(self, serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """String [batch] to float32 [batch, s, s, 1] and float32 [batch, 1] labels."""
        spec = self.transform.transformed_feature_spec()
        wanted = {name: spec[name] for name in (preprocessing.IMAGE, preprocessing.LABEL)}
        parsed = tf.io.parse_example(serialised, wanted)
        label = tf.cast(parsed[preprocessing.LABEL], tf.float32)
        return parsed[preprocessing.IMAGE], tf.reshape(label, [-1, 1])

    def labels(self) -> tf.data.Dataset:
        """Labels alone, int64 []."""
        spec = self.transform.transformed_feature_spec()[preprocessing.LABEL]

        def label_of(serialised: tf.Tensor) -> tf.Tensor:
            parsed = tf.io.parse_single_example(serialised, {preprocessing.LABEL: spec})
            return tf.reshape(parsed[preprocessing.LABEL], [])

        return self.records().map(label_of, num_parallel_calls=tf.data.AUTOTUNE)

    def count_by_label(self) -> tuple[int, int]:
        """How many negative and positive slices there are, in one pass."""
        negative = positive = 0
        for labels in self.labels().batch(1024).as_numpy_iterator():
            positive += int(labels.sum())
            negative += int(labels.size - labels.sum())
        return negative, positive


def validation_batches(files: SplitFiles, batch_size: int) -> tf.data.Dataset:
    """Every slice once, in order: (float32 [batch, s, s, 1], float32 [batch, 1])."""
    batches = files.records().batch(batch_size)
    return batches.map(files.parse_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(
        tf.data.AUTOTUNE
    )


def _records_of_label(files: SplitFiles, label: int) -> tf.data.Dataset:
    pairs = tf.data.Dataset.zip((files.records(), files.labels()))
    return pairs.filter(lambda _, one_label: one_label == label).map(lambda record, _: record)


def _balanced_records(files: SplitFiles, seed: int) -> tf.data.Dataset:
    """Serialised slices, one of each class in turn, without end.

    An epoch is a stretch of it: were it cut here and begun anew, a large data set would show
    nothing but its beginning.
    """
    classes = [
        _records_of_label(files, label)
        .shuffle(files.shuffle_buffer, seed=seed + label, reshuffle_each_iteration=True)
        .repeat()
        for label in (0, 1)
    ]
    return tf.data.Dataset.choose_from_datasets(classes, tf.data.Dataset.range(2).repeat())


def training_batches(
    files: SplitFiles,
    *,
    batch_size: int,
    augmentation: Augmentation,
    centre: float,
    balanced: bool,
    seed: int,
) -> tf.data.Dataset:
    """Shuffled, augmented batches of one epoch (or, balanced, without end); one order a seed.

    Args:
      files: the training split.
      batch_size: slices a batch; a last, smaller batch is left out.
      augmentation: how slices are changed at random.
      centre: what Transform subtracted, so that new pixels can be filled with air.
      balanced: draw from both classes in turn, without end, instead of every slice once.
      seed: of the order and of the changes.

    Returns:
      (float32 [batch, s, s, 1], float32 [batch, 1]).
    """
    if balanced:
        # In turn, so that every epoch holds as many of each class.
        records = _balanced_records(files, seed)
    else:
        records = files.records().shuffle(
            files.shuffle_buffer, seed=seed, reshuffle_each_iteration=True
        )
    batches = records.batch(batch_size, drop_remainder=True).map(
        files.parse_batch, num_parallel_calls=tf.data.AUTOTUNE
    )
    if augmentation.changes_anything:
        seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

        def augmented(
            batch: tuple[tf.Tensor, tf.Tensor], batch_seed: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            image, label = batch
            return augment(image, augmentation, air=-centre, seed=batch_seed), label

        batches = tf.data.Dataset.zip((batches, seeds)).map(
            augmented, num_parallel_calls=tf.data.AUTOTUNE
        )
    return batches.prefetch(tf.data.AUTOTUNE)
