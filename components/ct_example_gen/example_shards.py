"""Shards of CT examples on disk: first all slices of a shard, then a file for each split.

Which split a slice belongs to is known only when all slices have been compared, and pixels are too
large to travel through Beam until then. So the examples of a shard are written once, as they are
read, and copied into the splits' files when it is decided.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping

import tensorflow as tf

# The pixels are compressed already (PNG): compressing them again takes three times as long as all
# the rest of the writing, for nothing. TFX expects the format of a `.gz` file all the same.
_STORED = tf.io.TFRecordOptions("GZIP", compression_level=0)


def pending_path(temporary_uri: str, shard: int) -> str:
    """Where the examples of a shard wait for their splits."""
    return f"{temporary_uri}/pending-{shard:05d}"


def split_folder(examples_uri: str, split: str) -> str:
    """Where TFX looks for the files of a split."""
    return f"{examples_uri}/Split-{split}"


@contextlib.contextmanager
def written_whole(
    path: str, scratch: str, options: tf.io.TFRecordOptions | None = None
) -> Iterator[tf.io.TFRecordWriter]:
    """A TFRecord file that appears whole, when the block ends without an error, or not at all.

    A Beam worker may die or be started twice on the same shard: each writes a file of its own, in
    the `scratch` folder, because readers of a split's folder take every file in it.
    """
    tf.io.gfile.makedirs(path.rsplit("/", 1)[0])
    tf.io.gfile.makedirs(scratch)
    unfinished = f"{scratch}/.{uuid.uuid4().hex}"
    try:
        with tf.io.TFRecordWriter(unfinished, options) as writer:
            yield writer
        tf.io.gfile.rename(unfinished, path, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(unfinished)
        raise


def _itself(slice_id: str, example: bytes) -> Iterable[tuple[str, bytes]]:
    return ((slice_id, example),)


def distribute(
    temporary_uri: str,
    examples_uri: str,
    shard: int,
    shards: int,
    splits: Mapping[str, str],
    copies: Callable[[str, bytes], Iterable[tuple[str, bytes]]] = _itself,
) -> None:
    """Copy the waiting examples of a shard into the files of their splits, in the same order.

    Args:
      temporary_uri: folder where they wait.
      examples_uri: folder of the Examples artifact.
      shard: which shard.
      shards: of how many.
      splits: split by example id; examples that are not in it are left behind.
      copies: what becomes of a waiting slice and its example: ids and examples.

    Raises:
      RuntimeError: an example is not there: the shard was read twice, with another result.
    """
    pending = pending_path(temporary_uri, shard)
    name = f"data_tfrecord-{shard:05d}-of-{shards:05d}.gz"
    with contextlib.ExitStack() as files:
        writers = {
            split: files.enter_context(
                written_whole(f"{split_folder(examples_uri, split)}/{name}", temporary_uri, _STORED)
            )
            for split in sorted(set(splits.values()))
        }
        waiting = dict(splits)
        for slice_id, example in _keyed_records(pending):
            for key, record in copies(slice_id, example):
                split = waiting.pop(key, None)
                if split is not None:
                    writers[split].write(record)
        if waiting:
            raise RuntimeError(
                f"shard {shard}: {len(waiting)} accepted slices are not in {pending}; run again"
            )


def _keyed_records(pending: str) -> Iterator[tuple[str, bytes]]:
    """Slice ids and serialised examples of a pending file: they stand in it in turn."""
    records = tf.data.TFRecordDataset(pending).as_numpy_iterator()
    for key in records:
        yield key.decode(), next(records)
