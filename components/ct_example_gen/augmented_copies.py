"""Augmented copies of slices, made before the split: the paper's order, and its leak.

Each class is multiplied to one number of examples, spread evenly over its slices. The first copy of
a slice is the slice as it is, under its own id; whether the paper's 5000 a class hold the slices
themselves is open. The others are `<id>#copy-1` and so on, each changed at random from the run's
seed and its own id alone, and each falls into a split for itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from components.ct_example_gen.changed_slice import SliceChanges, change_slice
from components.ct_example_gen.slice_record import SliceRecord
from transform import ct_example
from transform.ct_example import slice_statistics, stored_slice_of
from transform.png16 import encode_png16


@dataclasses.dataclass(frozen=True)
class AugmentedCopies:
    """How many copies there are to be, and of what kind.

    Attributes:
      examples_per_class: copies of each class, the slices as they are included.
      seed: of the changes.
      changes: how far a copy may differ from its slice.
    """

    examples_per_class: int
    seed: int
    changes: SliceChanges


def copy_id(slice_id: str, number: int) -> str:
    """What a copy is called; copy 0 is the slice itself."""
    return f"{slice_id}#copy-{number}" if number else slice_id


def copies_of_example(
    slice_id: str, serialised: bytes, count: int, copies: AugmentedCopies
) -> Iterator[tuple[str, bytes]]:
    """The copies of one CT example, one at a time: (id, serialised CT example).

    Args:
      slice_id: of the slice.
      serialised: its CT example, which comes first, as it is.
      count: how many, itself included.
      copies: of what kind.
    """
    if count:
        yield slice_id, serialised
    if count < 2:
        return
    example = tf.train.Example.FromString(serialised)
    stored_slice = stored_slice_of(example)
    for number in range(1, count):
        name = copy_id(slice_id, number)
        changed = change_slice(stored_slice, copies.changes, _generator(copies.seed, name))
        features = example.features.feature
        features[ct_example.IMAGE_ID].bytes_list.value[:] = [name.encode()]
        features[ct_example.IMAGE].bytes_list.value[:] = [encode_png16(changed.stored)]
        for statistic, value in slice_statistics(changed).items():
            features[statistic].float_list.value[:] = [value]
        yield name, example.SerializeToString(deterministic=True)


def _generator(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode(errors="surrogatepass")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


def _lot(record: SliceRecord) -> str:
    """What decides which slices get a copy more than others where it does not come out even."""
    return hashlib.sha256(f"copies {record.id}".encode(errors="surrogatepass")).hexdigest()


def _share_out(
    label_and_found: tuple[str, Mapping[str, Iterable[Any]]], examples_per_class: int
) -> tuple[str, tuple[int, str]]:
    """Of a class: how many copies each slice gets, and the last lot that gets one more."""
    label, found = label_and_found
    (slices,), (lots,) = found["slices"], found["lots"]
    each, more = divmod(examples_per_class, slices)
    if not each:
        # Too many slices, which stops the run; until it does, each is counted.
        return label, (1, "")
    return label, (each, lots[more - 1] if more else "")


def _copies_of_record(
    record: SliceRecord, shares: Mapping[str, tuple[int, str]]
) -> Iterator[SliceRecord]:
    each, last_lot = shares[record.label]
    for number in range(each + (_lot(record) <= last_lot)):
        yield dataclasses.replace(record, id=copy_id(record.id, number), copy_of=record.id)


@beam.ptransform_fn
def MakeCopies(  # noqa: N802 Beam names transforms so
    records: beam.PCollection, examples_per_class: int
) -> beam.PCollection:
    """A SliceRecord for every copy of the SliceRecords of slices.

    What stands in memory of one worker is one lot for each copy of a class.

    Args:
      records: SliceRecord, labelled.
      examples_per_class: copies of each class.
    """
    lots = records | "Lots" >> beam.Map(lambda one: (one.label, _lot(one)))
    shares = (
        {
            "slices": lots | "SlicesOfClass" >> beam.combiners.Count.PerKey(),
            "lots": lots | "FirstLots" >> beam.combiners.Top.SmallestPerKey(examples_per_class),
        }
        | "ByClass" >> beam.CoGroupByKey()
        | "ShareOut" >> beam.Map(_share_out, examples_per_class)
    )
    return records | "CopiesOfSlice" >> beam.FlatMap(_copies_of_record, beam.pvalue.AsDict(shares))
