"""Batches of transformed slices for training and validation.

An epoch of training is a pure function of its files, a seed and its number: nothing is carried
from one to the next, so that training can go on from any of them, and whoever takes part in an
epoch can be told by arithmetic which of its slices are theirs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from trainer.augmentation import Augmentation, augment
from transform import preprocessing
from transform.errors import BadDataError, ConfigError

# Of the pixels of serialised slices that wait to be shuffled, of both classes together where
# classes are drawn: about a thousand slices at 224 px, fewer of larger ones.
_SHUFFLE_BYTES = 200_000_000
_BYTES_A_PIXEL = 4
# Files read side by side, so that slices which lie together in one do not come together.
_FILES_AT_ONCE = 16
# A step takes far longer than its input: more would only wait.
_BATCHES_AHEAD = 2

# What the seed is paired with, so that orders and changes are independent of each other. The order
# of one class's slices is paired with its label, 0 or 1.
_ORDER_OF_ALL, _CHANGES = 2, 3


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """The transformed files of one split, and how to parse them.

    Attributes:
      pattern: glob patterns of gzipped TFRecord files.
      transform: whose schema the files follow.
    """

    pattern: list[str]
    transform: tft.TFTransformOutput

    @functools.cached_property
    def names(self) -> list[str]:
        """The files, sorted."""
        return sorted(name for pattern in self.pattern for name in tf.io.gfile.glob(pattern))

    @functools.cached_property
    def _spec(self) -> Mapping[str, tf.io.FixedLenFeature]:
        spec: Mapping[str, tf.io.FixedLenFeature] = self.transform.transformed_feature_spec()
        return spec

    @property
    def shuffle_buffer(self) -> int:
        """How many serialised slices may wait to be shuffled: 200 MB of pixels, 16 slices at least.

        No more of a split is ever held, but for batches and blocks of files under way.
        """
        shape = self._spec[preprocessing.IMAGE].shape
        return max(16, _SHUFFLE_BYTES // (_BYTES_A_PIXEL * math.prod(shape)))

    def records(self) -> tf.data.Dataset:
        """Serialised transformed examples, string [], in a fixed order."""
        return tf.data.TFRecordDataset(self.names, compression_type="GZIP")

    def parse(self, serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """String [] to float32 [s, s, 1] and the label, float32 [1]."""
        wanted = {name: self._spec[name] for name in (preprocessing.IMAGE, preprocessing.LABEL)}
        parsed = tf.io.parse_single_example(serialised, wanted)
        label = tf.cast(parsed[preprocessing.LABEL], tf.float32)
        return parsed[preprocessing.IMAGE], tf.reshape(label, [1])

    def parse_value(self, serialised: tf.Tensor, name: str) -> tf.Tensor:
        """String [] to the one value of one feature; the pixels are passed over."""
        parsed = tf.io.parse_single_example(serialised, {name: self._spec[name]})
        return tf.reshape(parsed[name], [])

    def _column(self, name: str) -> np.ndarray:
        """One feature of all slices, [slices], in the order of `records()`."""
        values = self.records().map(
            lambda serialised: self.parse_value(serialised, name),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        batches = list(values.batch(1024).as_numpy_iterator())
        return np.concatenate(batches) if batches else np.array([])

    @functools.cached_property
    def _counts(self) -> tuple[int, int]:
        labels = self._column(preprocessing.LABEL)
        return int(np.sum(labels == 0)), int(np.sum(labels == 1))

    def count_by_label(self) -> tuple[int, int]:
        """How many negative and positive slices there are, in one pass, made once."""
        return self._counts

    def patients(self) -> np.ndarray:
        """Whose each slice is, str [slices], in the order of `records()`, in one pass."""
        return np.char.decode(self._column(preprocessing.PATIENT_ID).astype(bytes), "utf-8")


def validation_batches(files: SplitFiles, batch_size: int) -> tf.data.Dataset:
    """Every slice once, in order: (float32 [batch, s, s, 1], float32 [batch, 1])."""
    slices = files.records().map(files.parse, num_parallel_calls=tf.data.AUTOTUNE)
    return slices.batch(batch_size).prefetch(_BATCHES_AHEAD)


def _derive(seed: int, purpose: int, number: int | tf.Tensor) -> tf.Tensor:
    """A seed for one thing of one epoch or pass, int64 [2]."""
    pair = tf.constant([seed, purpose], tf.int64)
    return tf.random.fold_in(pair, tf.cast(number, tf.int64))


def _shuffled(records: tf.data.Dataset, window: int, seed: tf.Tensor) -> tf.data.Dataset:
    number = tf.random.stateless_uniform([], seed, minval=None, maxval=None, dtype=tf.int64)
    return records.shuffle(window, seed=number, reshuffle_each_iteration=False)


def _read_mixed(files: SplitFiles, seed: tf.Tensor) -> tf.data.Dataset:
    """Serialised slices, each once, several files side by side in an order of the seed's."""
    names = tf.random.experimental.stateless_shuffle(tf.constant(files.names), seed)
    return tf.data.Dataset.from_tensor_slices(names).interleave(
        lambda name: tf.data.TFRecordDataset(name, compression_type="GZIP"),
        cycle_length=_FILES_AT_ONCE,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _drawn_of_class(
    files: SplitFiles, label: int, epoch: int, count: int, seed: int
) -> tf.data.Dataset:
    """`count` serialised slices of a class: the epoch's stretch of its passes in a row."""
    size = files.count_by_label()[label]
    if not size:
        raise BadDataError(
            f"train.examples_per_class: the training split has no slice with label {label} to draw"
        )
    window = files.shuffle_buffer // 2  # the other class has the other half

    def of_class(records: tf.data.Dataset) -> tf.data.Dataset:
        return records.filter(
            lambda record: tf.equal(files.parse_value(record, preprocessing.LABEL), label)
        )

    # What fits into the window is read once for all passes of an epoch. It is no second copy: the
    # window holds the very tensors that the cache does.
    held = of_class(files.records()).cache() if size < window else None

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        pass_seed = _derive(seed, label, number)
        records = of_class(_read_mixed(files, pass_seed)) if held is None else held
        return _shuffled(records, window, pass_seed)

    first, skipped = divmod(epoch * count, size)
    passes = tf.data.Dataset.range(first, first + math.ceil((skipped + count) / size))
    return passes.flat_map(one_pass).skip(skipped).take(count)


def training_epoch(
    files: SplitFiles,
    *,
    epoch: int,
    batch_size: int,
    augmentation: Augmentation,
    centre: float,
    per_class: int | None,
    seed: int,
    worker: int = 0,
    workers: int = 1,
) -> tf.data.Dataset:
    """Shuffled, augmented batches of one epoch; of one worker, where several share it.

    The workers' batches number k, one after another, are the batch number k that one worker would
    take alone with `workers` times the batch size: the same slices, changed the same way. Every
    worker reads all records and parses its own.

    Args:
      files: the training split.
      epoch: from 0; each has another order and other changes.
      batch_size: slices a batch of this worker, for all its replicas together.
      augmentation: how slices are changed at random.
      centre: what Transform subtracted, so that new pixels can be filled with air.
      per_class: draw so many of each class, in turn, instead of every slice once; over the epochs
        all slices of a class pass before one comes again. Each class then has half of
        `SplitFiles.shuffle_buffer`, and one that fits into it stays in memory through the epoch.
      seed: of the order and of the changes (and TensorFlow's global seed, of the order).
      worker: which of the workers this is.
      workers: how many share the epoch.

    Returns:
      (float32 [batch, s, s, 1], float32 [batch, 1]) with static shapes; the slices that are too
      few for a last batch of all workers are left out.

    Raises:
      ConfigError: there are fewer slices in an epoch than in a step.
      BadDataError: a class to be drawn from has no slice.
    """
    if per_class is None:
        size = sum(files.count_by_label())
        order = _derive(seed, _ORDER_OF_ALL, epoch)
        records = _shuffled(_read_mixed(files, order), files.shuffle_buffer, order)
    else:
        size = 2 * per_class
        classes = [_drawn_of_class(files, label, epoch, per_class, seed) for label in (0, 1)]
        in_turn = tf.data.Dataset.range(2).repeat()
        records = tf.data.Dataset.choose_from_datasets(classes, in_turn)
    step = batch_size * workers
    if step > size:
        raise ConfigError(
            f"train.batch_size: a step takes {step} slices, of all replicas together, and an epoch "
            f"has {size}; set it lower"
        )
    numbered = records.enumerate().take(size - size % step)
    if workers > 1:
        numbered = numbered.filter(
            lambda number, _: tf.equal(number // batch_size % workers, worker)
        )
    changes = _derive(seed, _CHANGES, epoch)

    def example(number: tf.Tensor, serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = files.parse(serialised)
        slice_seed = tf.random.fold_in(changes, number)
        return augment(image, augmentation, air=-centre, seed=slice_seed), label

    slices = numbered.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    # Dealt to the workers above; tf.distribute would deal once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return (
        slices.batch(batch_size, drop_remainder=True).prefetch(_BATCHES_AHEAD).with_options(options)
    )
