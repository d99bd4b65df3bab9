"""Comparison of two sets of slices by their statistics.

TFDV measures how far two distributions are apart: numbers by the Jensen-Shannon divergence of
their histograms (J. Lin, IEEE Transactions on Information Theory 37(1), 1991; base 2, so that 1 is
the most), words by the largest difference of a word's share. Two draws from one and the same
population are apart as well, the more the fewer they are, and slices of one patient, who was
scanned once, count as hardly more than one. So what chance makes of so many patients is added to
the threshold of the schema:

- of histograms of k cells the divergence is about chi-squared(k - 1) / (8 ln 2) times
  (1/n + 1/m), for n and m patients, where it is small; TFDV's have ten cells, and one draw in a
  hundred exceeds 21.7 / (8 ln 2);
- of shares, one difference in a hundred exceeds sqrt(ln(2 / 0.01) / 2) times sqrt(1/n + 1/m)
  (Smirnov's bound).

The numbers about phantoms in docs/drift.md show how often this cries wolf, and what it sees.
"""

from __future__ import annotations

import enum
import math

import tfx.v1  # noqa: F401 before everything that imports TFDV or TFMA

# isort: split

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.slice_validator.drift import Difference
from components.slice_validator.span_statistics import whole_split
from transform import ct_example

_DIVERGENCE_BY_CHANCE = 21.67 / (8 * math.log(2))
_SHARE_BY_CHANCE = math.sqrt(math.log(2 / 0.01) / 2)

# Of a handful of patients anything could be chance; what has nothing in common is told even so.
_HIGHEST_THRESHOLD = 0.95

_KINDS = {
    anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE: "Jensen-Shannon divergence",
    anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY: "difference of a share",
}


class Comparator(enum.StrEnum):
    """Which of a feature's comparators in the schema holds."""

    DRIFT = "drift_comparator"
    SKEW = "skew_comparator"


def _features(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    """Those that have a value at all, by name."""
    found = {}
    for feature in statistics.datasets[0].features:
        kind = feature.WhichOneof("stats")
        if kind and getattr(feature, kind).common_stats.num_non_missing:
            found[".".join(feature.path.step) or feature.name] = feature
    return found


def count_patients(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, slices_a_patient: float = 1.0
) -> float:
    """How many patients there are slices of, at least 1.

    Args:
      statistics: of CT examples.
      slices_a_patient: assumed where nobody says whose the slices are, as in requests.
    """
    slices = statistics.datasets[0].num_examples
    patients = _features(statistics).get(ct_example.PATIENT_ID)
    if patients is None or not any(top.value for top in patients.string_stats.top_values):
        return max(slices / slices_a_patient, 1.0)
    return float(max(patients.string_stats.unique, 1))


def _by_chance(schema: schema_pb2.Schema, kind: Comparator, patients: tuple[float, float]) -> None:
    """Raise the thresholds of the schema."""
    spread = 1 / patients[0] + 1 / patients[1]
    for feature in schema.feature:
        comparator = getattr(feature, kind)
        for name, by_chance in (
            ("jensen_shannon_divergence", _DIVERGENCE_BY_CHANCE * spread),
            ("infinity_norm", _SHARE_BY_CHANCE * math.sqrt(spread)),
        ):
            if comparator.HasField(name):
                measure = getattr(comparator, name)
                measure.threshold = min(measure.threshold + by_chance, _HIGHEST_THRESHOLD)


def _threshold(comparator: schema_pb2.FeatureComparator) -> float:
    if comparator.HasField("infinity_norm"):
        return float(comparator.infinity_norm.threshold)
    return float(comparator.jensen_shannon_divergence.threshold)


def _medians(*features: statistics_pb2.FeatureNameStatistics) -> str:
    if any(feature.WhichOneof("stats") != "num_stats" for feature in features):
        return ""
    here, there = (feature.num_stats.median for feature in features)
    return f"median {here:.4g} against {there:.4g}, "


def compare(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    reference: statistics_pb2.DatasetFeatureStatisticsList,
    schema: schema_pb2.Schema,
    comparator: Comparator,
    names: tuple[str, str],
    words: tuple[str, str],
) -> list[Difference]:
    """The features in which a set of slices differs from a reference more than chance explains.

    Args:
      statistics: of the slices; where some of them are counted by themselves too, all count.
      reference: of those they are compared with, likewise.
      schema: whose comparators hold.
      comparator: which of them.
      names: of both, for `Difference.splits`.
      words: for both in the line, such as "the test split" and "train".

    Returns:
      The differences, in the schema's order.
    """
    statistics, reference = whole_split(statistics), whole_split(reference)
    compared = schema_pb2.Schema()
    compared.feature.extend(one for one in schema.feature if one.HasField(comparator))
    patients = count_patients(reference)
    slices_a_patient = reference.datasets[0].num_examples / patients
    _by_chance(compared, comparator, (count_patients(statistics, slices_a_patient), patients))
    if comparator is Comparator.DRIFT:
        anomalies = tfdv.validate_statistics(statistics, compared, previous_statistics=reference)
    else:
        # TFDV's skew is that of training against serving, which comes as the second.
        anomalies = tfdv.validate_statistics(reference, compared, serving_statistics=statistics)
    measured = {
        ".".join(info.path.step): [*info.drift_measurements, *info.skew_measurements]
        for info in anomalies.drift_skew_info
    }
    here, there = _features(statistics), _features(reference)
    found = []
    for feature in compared.feature:
        name, threshold = feature.name, _threshold(getattr(feature, comparator))
        if (name in here) != (name in there):
            # TFDV has no distance to nothing.
            having, lacking = words if name in here else reversed(words)
            line = f"{name} is known in {having} and unknown in {lacking}"
            found.append(Difference(name, names, 1.0, threshold, line))
        for one in measured.get(name, []):
            if name in here and name in there and one.value > one.threshold:
                line = (
                    f"{name} differs between {words[0]} and {words[1]}: "
                    f"{_medians(here[name], there[name])}"
                    f"{_KINDS[one.type]} {one.value:.2f}, more than {one.threshold:.2f}"
                )
                found.append(Difference(name, names, one.value, one.threshold, line))
    return found
