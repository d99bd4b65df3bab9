"""What the slices of each split are, as StatisticsGen counted (import `tfx.v1` before this)."""

from __future__ import annotations

import dataclasses

from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils

from components.slice_validator.span_statistics import whole_split
from transform import ct_example


@dataclasses.dataclass(frozen=True)
class AgeRange:
    """Ages of slices, in years.

    Attributes:
      known: of how many slices the age is known.
      low: the lowest.
      median: of these slices, about.
      high: the highest.
    """

    known: int
    low: float
    median: float
    high: float


@dataclasses.dataclass(frozen=True)
class SplitFacts:
    """The slices of one split; where ingestion made augmented copies, each of these counts.

    Attributes:
      slices: how many.
      patients: whose they are; about as many, where there are tens of thousands.
      calibrated: slices whose Hounsfield units came from the scanner.
      sexes: slices by sex, as the data writes it; those of unknown sex are missing.
      sources: slices by source, likewise; the most frequent ones, where there are very many.
      source_count: how many sources there are.
      ages: None where no age is known.
    """

    slices: int
    patients: int
    calibrated: int
    sexes: dict[str, int]
    sources: dict[str, int]
    source_count: int
    ages: AgeRange | None

    @property
    def assumed(self) -> int:
        """Slices whose Hounsfield units were assumed from a display window."""
        return self.slices - self.calibrated


def _by_value(feature: statistics_pb2.FeatureNameStatistics) -> dict[str, int]:
    buckets = feature.string_stats.rank_histogram.buckets
    return {bucket.label: round(bucket.sample_count) for bucket in buckets if bucket.label}


def _ages(feature: statistics_pb2.FeatureNameStatistics) -> AgeRange | None:
    known = feature.num_stats.common_stats.num_non_missing
    numbers = feature.num_stats
    return AgeRange(known, numbers.min, numbers.median, numbers.max) if known else None


def describe_split(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> SplitFacts:
    """The facts that a split's statistics hold.

    Args:
      statistics: of CT examples, by TFDV; a feature that is not there is unknown for all slices.
    """
    (dataset,) = whole_split(statistics).datasets
    features = {feature.path.step[0]: feature for feature in dataset.features}

    def of(name: str) -> statistics_pb2.FeatureNameStatistics:
        return features.get(name, statistics_pb2.FeatureNameStatistics())

    calibrated = of(ct_example.CALIBRATED).num_stats
    sources = of(ct_example.SOURCE).string_stats
    # A slice whose source is not known has an empty one.
    unnamed = any(not bucket.label for bucket in sources.rank_histogram.buckets)
    return SplitFacts(
        slices=dataset.num_examples,
        patients=of(ct_example.PATIENT_ID).string_stats.unique,
        calibrated=calibrated.common_stats.num_non_missing - calibrated.num_zeros,
        sexes=_by_value(of(ct_example.SEX)),
        sources=_by_value(of(ct_example.SOURCE)),
        source_count=sources.unique - unnamed,
        ages=_ages(of(ct_example.AGE)),
    )


def read_split_facts(statistics: types.Artifact) -> dict[str, SplitFacts]:
    """The facts of every split, by its name.

    Args:
      statistics: of StatisticsGen.
    """
    return {
        split: describe_split(stats_artifact_utils.load_statistics(statistics, split).proto())
        for split in artifact_utils.decode_split_names(statistics.split_names)
    }
