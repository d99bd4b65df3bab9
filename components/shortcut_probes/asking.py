"""Asking: what the model says of slices as they are, and of slices as the probes alter them."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

from components.shortcut_probes.altered_slices import (
    border,
    border_only,
    lungs_blanked,
    with_pixels,
)
from components.shortcut_probes.lung_mask import lung_mask
from components.shortcut_probes.outcome import BORDER_ONLY, LUNGS_BLANKED, PLAIN
from transform import prediction
from transform.ct_example import stored_slice_of

ASKED = (PLAIN, LUNGS_BLANKED, BORDER_ONLY)
"""The probes that ask the model."""

Signature = Callable[..., Mapping[str, tf.Tensor]]

_BATCH = 16

# While one thread alters slices, which takes one core, another waits for the network, which takes
# all of them; more threads only hold more slices.
_MOST_THREADS = 4


@dataclasses.dataclass
class Asked:
    """What was asked in one probe, and what came of it.

    Attributes:
      rows: of the slices that were asked about.
      probabilities: the model's answers, in their order.
    """

    rows: list[int] = dataclasses.field(default_factory=list)
    probabilities: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class AskedAbout:
    """What was asked about some slices.

    Attributes:
      probes: by the probe's name, `ASKED`.
      lungs_in_border: of each slice with lungs, the share of the border that is lung.
    """

    probes: dict[str, Asked] = dataclasses.field(
        default_factory=lambda: {name: Asked() for name in ASKED}
    )
    lungs_in_border: list[float] = dataclasses.field(default_factory=list)

    def add(self, more: AskedAbout) -> None:
        """Append what was asked about other slices."""
        for name, asked in self.probes.items():
            asked.rows += more.probes[name].rows
            asked.probabilities += more.probes[name].probabilities
        self.lungs_in_border += more.lungs_in_border


def altered_versions(serialised: bytes) -> tuple[dict[str, bytes], float | None]:
    """A slice as each probe shows it.

    Args:
      serialised: its CT example.

    Returns:
      CT examples that differ from it in `image/encoded` only, by probe; without `LUNGS_BLANKED`
      where no lung was found. And the share of the border that is lung, None where there is none.
    """
    example = tf.train.Example.FromString(serialised)
    original = stored_slice_of(example)
    hu = original.hounsfield()
    versions = {PLAIN: serialised, BORDER_ONLY: with_pixels(example, original, border_only(hu))}
    lungs = lung_mask(hu)
    if not lungs.any():
        return versions, None
    versions[LUNGS_BLANKED] = with_pixels(example, original, lungs_blanked(hu, lungs))
    return versions, float(lungs[border(hu.shape)].mean())


def _ask_batch(signature: Signature, batch: Sequence[tuple[int, bytes]]) -> AskedAbout:
    """Ask about a few slices, in one batch a probe."""
    about = AskedAbout()
    examples: dict[str, list[bytes]] = {name: [] for name in ASKED}
    for row, serialised in batch:
        versions, lungs_in_border = altered_versions(serialised)
        for name, version in versions.items():
            about.probes[name].rows.append(row)
            examples[name].append(version)
        if lungs_in_border is not None:
            about.lungs_in_border.append(lungs_in_border)
    for name, asked in about.probes.items():
        if examples[name]:
            answer = signature(**{prediction.EXAMPLES: tf.constant(examples[name], tf.string)})
            asked.probabilities = answer[prediction.PROBABILITY].numpy().astype(np.float64).tolist()
    return about


def _batches(slices: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    rest = iter(slices)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch


def ask_about(signature: Signature, slices: Iterable[tuple[int, bytes]]) -> AskedAbout:
    """Ask about slices, as they are and altered, a few batches at a time.

    Args:
      signature: `serving_default` of an export; called by several threads at once.
      slices: rows, and serialised CT examples. Two batches a thread are held at a time.

    Returns:
      What was asked, in the order of the slices.
    """
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    about = AskedAbout()
    with futures.ThreadPoolExecutor(threads, thread_name_prefix="probes") as pool:
        waiting: collections.deque[futures.Future[AskedAbout]] = collections.deque()
        for batch in _batches(slices):
            waiting.append(pool.submit(_ask_batch, signature, batch))
            if len(waiting) == 2 * threads:
                about.add(waiting.popleft().result())
        while waiting:
            about.add(waiting.popleft().result())
    return about
