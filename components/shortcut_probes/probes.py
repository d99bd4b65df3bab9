"""The probes: what the model says of slices that show no lungs, and what files say alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from components.shortcut_probes.asking import ask_about
from components.shortcut_probes.file_features import score_by_file
from components.shortcut_probes.outcome import (
    BORDER_ONLY,
    FILE_FEATURES,
    LUNGS_BLANKED,
    NO_SOURCE,
    PLAIN,
    SUSPICIOUS_AUC,
    Probe,
    ProbeResults,
)
from components.shortcut_probes.slice_table import (
    SliceTable,
    choose,
    read_slice_table,
    records,
)
from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figures import AUC, figures
from components.slice_evaluator.patient_bootstrap import intervals
from transform import prediction
from transform.ct_example import IMAGE_ID
from transform.errors import BadDataError

FEWEST_PATIENTS = 5
"""Of fewer in a class there is no interval: five and five fall apart by chance once in 252 times,
and all of their resamples would too."""

_TITLES = {
    PLAIN: "unaltered slices",
    LUNGS_BLANKED: "lungs painted over",
    BORDER_ONLY: "only the border left",
    FILE_FEATURES: "the file's features alone",
    NO_SOURCE: "the file's features without the source",
}
_ALTERATIONS = {
    LUNGS_BLANKED: "With both lungs painted over",
    BORDER_ONLY: "With nothing left but the outer tenth of each side",
}
_FEATURES = {
    FILE_FEATURES: "Source, calibration, size and spacing alone",
    NO_SOURCE: "Calibration, size and spacing alone",
}
# What is said of lungs in the border, from this share on.
_MENTIONED_SHARE = 0.05
# An interval wider than this excludes neither a shortcut nor its absence.
_WIDE = 0.3

_RESAMPLES = 1000
_SEED = 0
# Beyond so many slices, features of files are learned from a sample.
_MOST_ROWS = 20_000


def _chosen_records(files: Sequence[str], chosen: SliceTable) -> Iterator[tuple[int, bytes]]:
    """Chosen slices' rows and serialised examples, in the order of `records`."""
    spec = {IMAGE_ID: tf.io.FixedLenFeature([], tf.string)}

    def with_id(serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.io.parse_single_example(serialised, spec)[IMAGE_ID], serialised

    row_of = {image_id: row for row, image_id in enumerate(chosen.image_id)}
    for image_id, serialised in records(files).map(with_id).as_numpy_iterator():
        # Without what was chosen once, so that a slice that is there twice is asked about once.
        row = row_of.pop(image_id, None)
        if row is not None:
            yield row, serialised
        if not row_of:
            return


def _measure(
    name: str, table: SliceTable, probability: np.ndarray, *, only_upwards: bool = False
) -> Probe:
    """A probe without its sentence.

    Args:
      name: one of `outcome.PROBES`.
      table: n slices.
      probability: float [n].
      only_upwards: whether answers the wrong way round are no shortcut but chance.
    """
    answers = Answers.of(
        label=table.label,
        probability=probability,
        # An AUC needs no operating point.
        decision=np.nan_to_num(probability) >= 0.5,
        patient_id=table.patient_id.astype(bytes),
        threshold=0.5,
    )
    patients = [len(set(answers.patient[answers.label == label].tolist())) for label in (0, 1)]
    auc = figures(answers)[AUC]
    low = high = np.nan
    if min(patients) >= FEWEST_PATIENTS and not np.isnan(auc):
        low, high = intervals(answers, _RESAMPLES, _SEED)[AUC]
    probe = Probe(
        name=name,
        title=_TITLES[name],
        slices=len(answers),
        patients=answers.patients,
        auc=_known(auc),
        low=_known(low),
        high=_known(high),
        suspicious=False,
        sentence="",
    )
    certain = low if only_upwards else probe.auc_at_least
    return dataclasses.replace(probe, suspicious=name != PLAIN and bool(certain > SUSPICIOUS_AUC))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _figures(probe: Probe) -> str:
    if probe.low is None or probe.high is None:
        return f"AUC {probe.auc:.2f}"
    return f"AUC {probe.auc:.2f}, 95 % interval {probe.low:.2f} to {probe.high:.2f}"


def _sentence(probe: Probe, lungs_in_border: float | None) -> str:
    """What a probe means, for a reader."""
    if probe.auc is None:
        return "There is nothing to say: a class is missing, or an answer was no number."
    known = _figures(probe)
    few = f"{known}; too few patients to say more"
    if probe.name == PLAIN:
        if probe.low is None:
            return f"As they are, the slices are told apart with {few}."
        return (
            f"As they are, the slices are told apart with {known}: what the other probes are to be "
            "compared with."
        )
    if probe.name in _FEATURES:
        start = _FEATURES[probe.name]
        if probe.low is None:
            return f"{start} tell the classes apart with {few}."
        if probe.suspicious:
            return (
                f"{start} tell the classes apart ({known}): a model can be right here without "
                "looking at lungs, and wrong elsewhere."
            )
        if probe.low > 0.5:
            return f"{start} go with the label a little ({known})."
        return f"{start} {_no_sign(probe, 'say nothing clear of the label')}"
    start = _ALTERATIONS[probe.name]
    if probe.low is None:
        return f"{start}, the model tells the classes apart with {few}."
    rest = ""
    if probe.name == BORDER_ONLY and (lungs_in_border or 0.0) > _MENTIONED_SHARE:
        rest = (
            f" Cropped pictures leave some lung there: {100 * (lungs_in_border or 0.0):.0f} % of "
            "the border."
        )
    if probe.suspicious and probe.high is not None and probe.high < 0.5:
        return (
            f"{start}, the model still tells the classes apart, the wrong way round ({known}): "
            f"something outside of the lungs moves its answers.{rest}"
        )
    if probe.suspicious:
        return (
            f"{start}, the model still tells positives from negatives ({known}): it has learned "
            "something else than the lungs, such as marks, borders, the scanner, or how pictures "
            f"were cut out.{rest}"
        )
    if probe.low > 0.5 or (probe.high is not None and probe.high < 0.5):
        return (
            f"{start}, the model's answers still go with the label ({known}), though not clearly "
            f"enough to call it a shortcut.{rest}"
        )
    return f"{start}, {_no_sign(probe, 'the model shows no sign of a shortcut')}{rest}"


def _no_sign(probe: Probe, finding: str) -> str:
    wide = (
        "; the interval is too wide to exclude one"
        if probe.low is not None and probe.high is not None and probe.high - probe.low > _WIDE
        else ""
    )
    return f"{finding} ({_figures(probe)}{wide})."


def run_probes(
    model_path: str, train_files: Sequence[str], test_files: Sequence[str], slices: int
) -> ProbeResults:
    """Probe a model for shortcuts.

    Reads the test split once and again until all chosen slices are found, and the training split
    once, a few batches at a time; the pixels of the chosen test slices alone are decoded.

    Args:
      model_path: the SavedModel.
      train_files: gzipped TFRecord of CT examples, by which features of files are learned.
      test_files: the same of the test split.
      slices: how many test slices the model is asked about, at most; at least one.

    Raises:
      BadDataError: the test split has no labelled slice.
    """
    test = read_slice_table(test_files, max(slices, _MOST_ROWS))
    if not len(test):
        raise BadDataError("the test split has no labelled slice to probe the model with")
    chosen = choose(test, slices)
    model = tf.saved_model.load(model_path)
    signature = model.signatures[prediction.SERVING_DEFAULT]
    about = ask_about(signature, _chosen_records(test_files, chosen))
    probes = []
    for name, asked in about.probes.items():
        table = chosen.rows(np.array(asked.rows, int))
        probes.append(_measure(name, table, np.array(asked.probabilities)))
    train = read_slice_table(train_files, _MOST_ROWS)
    for name in _FEATURES:
        scores = score_by_file(train, test, with_source=name == FILE_FEATURES)
        if scores is None:
            scores = np.full(len(test), np.nan)
        probes.append(_measure(name, test, scores, only_upwards=True))
    shares = about.lungs_in_border
    in_border = float(np.mean(shares)) if shares else None
    asked_about = len(about.probes[PLAIN].rows)
    return ProbeResults(
        probes=tuple(
            dataclasses.replace(one, sentence=_sentence(one, in_border)) for one in probes
        ),
        slices=asked_about,
        without_lungs=asked_about - len(about.probes[LUNGS_BLANKED].rows),
        lungs_in_border=in_border,
    )
