"""Counters, gauges and histograms in Prometheus's text format, version 0.0.4."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(Protocol):
    """Anything that has lines in the text."""

    def lines(self) -> list[str]:
        """The metric's lines: help, type, and a sample each."""


def _header(name: str, description: str, kind: str) -> list[str]:
    return [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]


def _sample(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    escaped = (
        (label, text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        for label, text in labels
    )
    inside = ",".join(f'{label}="{text}"' for label, text in escaped)
    return f"{name}{{{inside}}} {value:.17g}" if inside else f"{name} {value:.17g}"


class Counter:
    """A number for each combination of labels that only grows."""

    def __init__(self, name: str, description: str, labels: Sequence[str]):
        self._name, self._description, self._labels = name, description, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count for one combination of labels."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0.0) + amount

    def lines(self) -> list[str]:
        """The lines in Prometheus's format."""
        with self._lock:
            values = sorted(self._values.items())
        return _header(self._name, self._description, "counter") + [
            _sample(self._name, zip(self._labels, labels, strict=True), value)
            for labels, value in values
        ]


class Gauge:
    """A number that is read when somebody asks; None leaves it out."""

    def __init__(self, name: str, description: str, read: Callable[[], float | None]):
        self._name, self._description, self._read = name, description, read

    def lines(self) -> list[str]:
        """The lines in Prometheus's format."""
        value = self._read()
        samples = [] if value is None else [_sample(self._name, (), value)]
        return _header(self._name, self._description, "gauge") + samples


class Histogram:
    """How often values fell under each of some bounds, for each combination of labels."""

    def __init__(self, name: str, description: str, labels: Sequence[str], bounds: Sequence[float]):
        self._name, self._description = name, description
        self._labels, self._bounds = tuple(labels), tuple(sorted(bounds))
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *labels: str) -> None:
        """Count a value for one combination of labels."""
        with self._lock:
            counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
            counts[bisect.bisect_left(self._bounds, value)] += 1
            self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> list[str]:
        """The lines in Prometheus's format."""
        with self._lock:
            rows = [
                (labels, list(counts), self._sums[labels])
                for labels, counts in sorted(self._counts.items())
            ]
        lines = _header(self._name, self._description, "histogram")
        for labels, counts, total in rows:
            named = list(zip(self._labels, labels, strict=True))
            so_far = 0
            for bound, count in zip([*self._bounds, None], counts, strict=True):
                so_far += count
                text = "+Inf" if bound is None else f"{bound:.17g}"
                lines.append(_sample(f"{self._name}_bucket", [*named, ("le", text)], so_far))
            lines.append(_sample(f"{self._name}_sum", named, total))
            lines.append(_sample(f"{self._name}_count", named, so_far))
        return lines


def text_of(metrics: Iterable[Metric]) -> str:
    """All metrics as one text."""
    return "".join(f"{line}\n" for metric in metrics for line in metric.lines())
