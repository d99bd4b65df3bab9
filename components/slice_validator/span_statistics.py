"""Statistics of single spans, which StatisticsGen counts beside those of the whole split."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tensorflow_metadata.proto.v0 import statistics_pb2

from transform import ct_example

# TFDV's names for all slices, and for those with one value of a feature.
_ALL = "All Examples"
_OF_SPAN = re.compile(rf"{ct_example.SPAN}_(\d+)", re.ASCII)


def _only(
    dataset: statistics_pb2.DatasetFeatureStatistics,
) -> statistics_pb2.DatasetFeatureStatisticsList:
    return statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset])


def whole_split(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """The statistics of all slices of a split, without those of its parts.

    Raises:
      ValueError: there are parts, but not the whole.
    """
    if len(statistics.datasets) == 1:
        return statistics
    for dataset in statistics.datasets:
        if dataset.name == _ALL:
            return _only(dataset)
    raise ValueError(f"no statistics of all slices among {len(statistics.datasets)} parts")


def newest_span(
    statistics: Iterable[statistics_pb2.DatasetFeatureStatisticsList],
) -> int | None:
    """The highest number of a span in several splits, None where there are no spans."""
    names = (dataset.name for one in statistics for dataset in one.datasets)
    return max((int(found[1]) for found in map(_OF_SPAN.fullmatch, names) if found), default=None)


def statistics_of_span(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, span: int
) -> statistics_pb2.DatasetFeatureStatisticsList | None:
    """The statistics of what a span gave to a split, None where it gave nothing."""
    for dataset in statistics.datasets:
        if dataset.name == f"{ct_example.SPAN}_{span}":
            return _only(dataset)
    return None


def is_whole(
    part: statistics_pb2.DatasetFeatureStatisticsList,
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
) -> bool:
    """Whether a part holds all slices of a split."""
    (dataset,) = whole_split(statistics).datasets
    return bool(part.datasets[0].num_examples == dataset.num_examples)
