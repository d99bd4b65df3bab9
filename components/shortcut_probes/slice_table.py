"""The slice table: what is known of a split's slices without a look at their pixels."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from transform import ct_example

NUMBERS = (ct_example.CALIBRATED, ct_example.HEIGHT, ct_example.WIDTH, ct_example.SPACING)
"""The columns of `SliceTable.numbers`."""

# Serialised slices, pixels and all, that are held at a time.
_BATCH = 32

# Files that are read at a time, whatever the machine: the order of their slices depends on it.
_READERS = 4

# Fewer of a class would leave its share of pairs, and so the AUC, to a few slices.
_LEAST_OF_A_CLASS = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class SliceTable:
    """Slices in the order of a hash of their ids, a column each.

    Attributes:
      image_id: object [n], bytes.
      patient_id: object [n], bytes.
      source: object [n], bytes, empty where unknown.
      label: int8 [n], 1 positive, 0 negative.
      numbers: float64 [n, 4], `NUMBERS`; NaN where unknown.
    """

    image_id: np.ndarray
    patient_id: np.ndarray
    source: np.ndarray
    label: np.ndarray
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, which: np.ndarray) -> SliceTable:
        """Some rows, in the order in which they are named, int [m]."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return SliceTable(**{name: column[which] for name, column in columns.items()})


def _rank(image_id: bytes) -> bytes:
    """Decides which slices are chosen: knows nothing but the id."""
    return hashlib.sha256(b"shortcut probes " + image_id).digest()


def _ordered(parts: list[SliceTable], most: int) -> SliceTable:
    """One table of all parts, without what is beyond the first `most`."""
    joined = SliceTable(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(SliceTable)
        }
    )
    ranks = [_rank(one) for one in joined.image_id]
    # Not a set: a slice that is there twice stays there twice.
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    return joined.rows(np.array(order[:most], int))


def records(files: Sequence[str]) -> tf.data.Dataset:
    """The serialised CT examples of gzipped TFRecord files, in an order that is always the same."""
    return tf.data.TFRecordDataset(
        list(files), compression_type="GZIP", num_parallel_reads=_READERS
    )


def read_slice_table(files: Sequence[str], most: int) -> SliceTable:
    """Read what is known of the labelled slices in some files; no pixel is decoded.

    Args:
      files: gzipped TFRecord of CT examples.
      most: of more slices than this, those that come first in the hash of their ids are kept.
    """
    spec = {
        ct_example.IMAGE_ID: tf.io.FixedLenFeature([], tf.string),
        ct_example.PATIENT_ID: tf.io.FixedLenFeature([], tf.string, ""),
        ct_example.SOURCE: tf.io.FixedLenFeature([], tf.string, ""),
        ct_example.LABEL: tf.io.FixedLenFeature([], tf.int64, -1),
        ct_example.CALIBRATED: tf.io.FixedLenFeature([], tf.int64, -1),
    } | {
        name: tf.io.FixedLenFeature([], tf.float32, np.nan)
        for name in NUMBERS
        if name != ct_example.CALIBRATED
    }
    parsed = records(files).batch(_BATCH).map(lambda batch: tf.io.parse_example(batch, spec))
    nothing = np.empty(0, object)
    parts = [
        SliceTable(nothing, nothing, nothing, np.empty(0, np.int8), np.empty((0, len(NUMBERS))))
    ]
    held = 0
    for batch in parsed.as_numpy_iterator():
        labelled = np.flatnonzero(batch[ct_example.LABEL] >= 0)
        part = SliceTable(
            image_id=batch[ct_example.IMAGE_ID],
            patient_id=batch[ct_example.PATIENT_ID],
            source=batch[ct_example.SOURCE],
            label=batch[ct_example.LABEL].astype(np.int8),
            numbers=np.stack([batch[name].astype(np.float64) for name in NUMBERS], axis=1),
        ).rows(labelled)
        parts.append(part)
        held += len(part)
        if held > 2 * most:
            parts = [_ordered(parts, most)]
            held = len(parts[0])
    return _ordered(parts, most)


def choose(table: SliceTable, slices: int) -> SliceTable:
    """Choose slices by the hash of their ids, whatever their class.

    Only where a class has less than a tenth of these does it get more, up to a tenth (at least
    one), and the other class less.

    Args:
      table: of a split.
      slices: how many, at most.
    """
    count = min(slices, len(table))
    least = max(1, round(_LEAST_OF_A_CLASS * count))
    chosen = np.arange(count)
    for label in (0, 1):
        of_class, others = (
            np.flatnonzero(table.label == label),
            np.flatnonzero(table.label != label),
        )
        wanted = min(least, len(of_class))
        if np.count_nonzero(table.label[chosen] == label) < wanted:
            chosen = np.sort(np.concatenate([of_class[:wanted], others[: count - wanted]]))
    return table.rows(chosen)
