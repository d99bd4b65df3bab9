"""The figures of slices and of patients as a metric of TFMA, for every slice of TFMA's.

TFMA's own metrics know no patients, and sum its AUC over 10,000 thresholds. This one collects what
the models said of each CT slice, 34 bytes a slice (51 with a baseline) in every group that it is
in, and takes all figures of that at the end: a million slices are 34 MB an accumulator. (TFMA calls
a part of the data a slice; here that is a group.)
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from components.slice_evaluator.answers import Answers, by_patient, patients_of_both_labels
from components.slice_evaluator.confidence_intervals import confidence_intervals
from components.slice_evaluator.figure_names import LOWER, PATIENTS, SLICES, UPPER, name_of
from components.slice_evaluator.figures import COUNTS, FIGURES, figures
from components.slice_evaluator.model_names import BASELINE, CANDIDATE
from components.slice_evaluator.paired_comparison import compare
from components.slice_evaluator.paired_names import flatten
from components.slice_evaluator.tfma_extracts import said_by, scalar
from transform import ct_example, prediction

NAME = "patient_figures"
PATIENTS_OF_BOTH_LABELS = "patients_of_both_labels"

_FEATURES = (ct_example.PATIENT_ID, ct_example.LABEL)
# Of a patient's id no more is kept than it takes to tell patients apart.
_DIGEST_BYTES = 16


class CollectedAnswers(beam.CombineFn):
    """Collects what one or two models said of slices; puts out figures by metric key.

    An accumulator is a bytearray of packed rows. Bundles may come in any order: nothing that is put
    out depends on it.
    """

    def __init__(self, model_names: list[str], resamples: int, seed: int):
        """Collect.

        Args:
          model_names: as TFMA calls the models; one, or candidate and baseline.
          resamples: of the patients, for the intervals.
          seed: of the resamples.
        """
        self._model_names = model_names
        self._resamples, self._seed = resamples, seed
        self._format = f"<{_DIGEST_BYTES}sb" + "ddb" * len(model_names)
        self._row = np.dtype(
            [
                ("patient", f"S{_DIGEST_BYTES}"),
                ("label", "i1"),
                (
                    "models",
                    [("probability", "<f8"), ("threshold", "<f8"), ("decision", "i1")],
                    len(model_names),
                ),
            ]
        )

    def create_accumulator(self) -> bytearray:  # noqa: D102
        return bytearray()

    def add_input(  # noqa: D102
        self, accumulator: bytearray, element: metric_types.StandardMetricInputs
    ) -> bytearray:
        features = element[tfma.FEATURES_KEY]
        patient = scalar(features[ct_example.PATIENT_ID])
        values: list[Any] = [
            hashlib.blake2b(patient, digest_size=_DIGEST_BYTES).digest(),
            # Of TFMA's own labels there is one a model.
            scalar(features[ct_example.LABEL]),
        ]
        for name in self._model_names:
            said = said_by(element[tfma.PREDICTIONS_KEY], name)
            if said is None:
                raise ValueError(f"no predictions of {name}")
            values += [
                float(scalar(said[prediction.PROBABILITY])),
                float(scalar(said[prediction.THRESHOLD])),
                int(scalar(said[prediction.DECISION])),
            ]
        accumulator += struct.pack(self._format, *values)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[bytearray]) -> bytearray:  # noqa: D102
        return bytearray().join(accumulators)

    def extract_output(  # noqa: D102
        self, accumulator: bytearray
    ) -> dict[metric_types.MetricKey, float]:
        rows = np.frombuffer(accumulator, self._row)
        of_models = {
            name: self._answers(rows, number) for number, name in enumerate(self._model_names)
        }
        return {
            metric_types.MetricKey(name, model_name=model_name): value
            for model_name, found in self._figures(of_models)
            for name, value in found
        }

    @staticmethod
    def _answers(rows: np.ndarray, number: int) -> Answers:
        said = rows["models"][:, number]
        thresholds = np.unique(said["threshold"])
        if len(thresholds) > 1:
            raise ValueError(f"a model has one operating point, not {len(thresholds)}")
        return Answers.of(
            label=rows["label"],
            probability=said["probability"],
            decision=said["decision"],
            patient_id=rows["patient"],
            threshold=float(thresholds[0]) if len(thresholds) else np.nan,
        )

    def _figures(
        self, of_models: dict[str, Answers]
    ) -> Iterator[tuple[str, Iterator[tuple[str, float]]]]:
        """Named values by model; all but the plain figures are the candidate's alone."""
        for model_name, answers in of_models.items():
            yield model_name, self._of_one_model(answers, intervals=model_name != BASELINE)
        if BASELINE in of_models:
            yield CANDIDATE, self._changes(of_models[BASELINE], of_models[CANDIDATE])

    def _of_one_model(self, answers: Answers, *, intervals: bool) -> Iterator[tuple[str, float]]:
        yield prediction.THRESHOLD, answers.threshold
        yield SLICES, float(len(answers))
        yield PATIENTS, float(answers.patients)
        yield PATIENTS_OF_BOTH_LABELS, float(patients_of_both_labels(answers))
        for unit, rows in ((SLICES, answers), (PATIENTS, by_patient(answers))):
            found = figures(rows)
            for name in (*FIGURES, *COUNTS):
                yield name_of(name, unit), found[name]
            if intervals:
                ends = confidence_intervals(rows, self._resamples, self._seed)
                for name in FIGURES:
                    for suffix, end in zip((LOWER, UPPER), ends[name], strict=True):
                        yield name_of(name, unit) + suffix, end

    def _changes(self, baseline: Answers, candidate: Answers) -> Iterator[tuple[str, float]]:
        for unit, both in (
            (SLICES, (baseline, candidate)),
            (PATIENTS, (by_patient(baseline), by_patient(candidate))),
        ):
            for name, value in flatten(compare(*both, self._resamples, self._seed)).items():
                yield name_of(name, unit), value


def _computations(
    name: str, resamples: int, seed: int, model_names: list[str] | None = None
) -> metric_types.MetricComputations:
    """One computation for all models, because they are compared slice by slice."""
    del name  # TFMA gives every metric one; this one puts out many.
    return [
        metric_types.MetricComputation(
            keys=[],
            preprocessors=[metric_types.FeaturePreprocessor(_FEATURES)],
            combiner=CollectedAnswers(model_names or [""], resamples, seed),
        )
    ]


class PatientFigures(metric_types.Metric):
    """Figures of slices and of patients with intervals by bootstrap over patients.

    Puts out, by name and as floats: the figures and counts of `figures`, the same of patients with
    `patient_` before the name, the ends of the candidate's intervals with `_lower` and `_upper`
    behind it, `slices`, `patients`, `patients_of_both_labels` and `threshold`; and, where there is
    a baseline, what `paired_comparison` says (see `paired_names`).
    """

    def __init__(self, resamples: int, seed: int, name: str = NAME):
        """Configure.

        Args:
          resamples: of the patients.
          seed: of the resamples.
          name: TFMA's of the metric as such.
        """
        super().__init__(_computations, name=name, resamples=resamples, seed=seed)


metric_types.register_metric(PatientFigures)
