"""Confounds: what of a slice's file, not of its lungs, predicts the label on held-out patients.

Each feature of the file is given to a small classifier, trained on some patients and asked about
others (cross-validation with patients as groups). An AUC clearly above 0.5 means that a network
can do the same, and be right on this data set for a reason that holds nowhere else.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from components.shortcut_probes.outcome import SUSPICIOUS_AUC
from pipeline.inspection.sample import Sample
from transform.printable import printable

TOGETHER = "together"
# A source often says the label outright, and hides what the other features say.
NO_SOURCE = "together_without_source"

# Fewer patients than this in a class, and the interval would say nothing.
FEWEST_PATIENTS = 10

_FOLDS = 5
_DRAWS = 500
_SEED = 0
# A value that so few patients have cannot be learned from some and tried on others.
_FEWEST_PATIENTS_OF_A_VALUE = 3
_MOST_VALUES = 50
_RARE = "(rare)"
# A share of unknown values that differs by more between the classes is what there is to say.
_MISSING_APART = 0.2


@dataclasses.dataclass(frozen=True)
class _Feature:
    """How a feature is named, and what a model learns that learns it."""

    title: str
    learned: str
    unit: str = ""


_FEATURES = {
    "format": _Feature("file format", "the format"),
    "mode": _Feature("pixel mode", "how pixels are stored"),
    "source": _Feature("source", "where slices come from"),
    "calibrated": _Feature("Hounsfield units from the scanner", "whether units were lost"),
    "bytes": _Feature("file size", "the size of the file", " bytes"),
    "bytes_per_pixel": _Feature("file size a pixel", "how hard files were compressed", " bytes"),
    "width": _Feature("width", "the width", " px"),
    "height": _Feature("height", "the height", " px"),
    "aspect": _Feature("width over height", "the shape of the picture"),
    "pixels": _Feature("number of pixels", "the resolution"),
    "spacing": _Feature("pixel spacing", "the pixel spacing", " mm"),
    TOGETHER: _Feature("all features together", "the file"),
    NO_SOURCE: _Feature("all features but the source", "the file"),
}
_VALUE_NAMES = {
    "calibrated": {
        "True": "Hounsfield units from the scanner",
        "False": "Hounsfield units assumed from a display window",
    },
    "format": {
        "png": "file format PNG",
        "jpeg": "file format JPEG",
        "dicom": "file format DICOM",
        "nifti": "file format NIfTI",
    },
}


@dataclasses.dataclass(frozen=True)
class Confound:
    """How well one feature of the file alone predicts the label on held-out patients.

    Attributes:
      feature: its name in `accepted.jsonl`, one made of those, or `together`.
      title: its name for people.
      auc: of predictions for patients that the classifier did not see; None where there are too
        few patients to say.
      low: lower end of the 95 % interval, by bootstrap over patients; None as `auc`.
      high: its upper end.
      suspicious: whether a model will probably find it.
      note: a sentence for a person.
    """

    feature: str
    title: str
    auc: float | None
    low: float | None
    high: float | None
    suspicious: bool
    note: str


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """The labelled slices of a sample.

    Attributes:
      label: int8 [n].
      patient: int [n], from 0.
      categories: object [n] by feature, rare values merged; only features with several values.
      numbers: float64 [n] by feature; only those with several values.
    """

    label: np.ndarray
    patient: np.ndarray
    categories: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]


def _merge_rare(values: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """The same values, those of few patients replaced by one that stands for all of them."""
    patients_of = collections.defaultdict(set)
    for value, one in zip(values.tolist(), patient.tolist(), strict=True):
        patients_of[value].add(one)
    by_patients = sorted(patients_of, key=lambda value: (-len(patients_of[value]), value))
    kept = {
        value
        for value in by_patients[:_MOST_VALUES]
        if len(patients_of[value]) >= _FEWEST_PATIENTS_OF_A_VALUE
    }
    return np.array([value if value in kept else _RARE for value in values.tolist()], object)


def _varies(values: np.ndarray) -> bool:
    """Whether there are two values; one that is missing counts as a value."""
    known = values[~np.isnan(values)]
    return known.size > 0 and (known.size < values.size or bool((known != known[0]).any()))


def _table(sample: Sample) -> _Table:
    labelled = sample.label >= 0
    # Numbered as they come: in the order of their hashes they would fall into other folds under
    # another key.
    numbers_of: dict[str, int] = {}
    patient = np.array(
        [numbers_of.setdefault(str(one), len(numbers_of)) for one in sample.patient[labelled]], int
    )
    numbers = {
        name: sample.numbers[name][labelled] for name in ("bytes", "width", "height", "spacing")
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = numbers["width"] * numbers["height"]
        numbers["pixels"] = pixels
        numbers["aspect"] = numbers["width"] / numbers["height"]
        # A volume's slices share a file, so its size says nothing of one of them.
        picture = np.isin(sample.categories["format"][labelled], ("png", "jpeg"))
        numbers["bytes_per_pixel"] = np.where(picture, numbers["bytes"] / pixels, np.nan)
    return _Table(
        label=sample.label[labelled],
        patient=patient,
        categories={
            name: _merge_rare(values[labelled], patient)
            for name, values in sample.categories.items()
            if len(set(values[labelled].tolist())) > 1
        },
        numbers={
            name: values
            for name, values in numbers.items()
            if _varies(np.where(np.isfinite(values), values, np.nan))
        },
    )


_Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From features and labels of some slices, and features of others, to scores of the others."""


def _by_category(seen: np.ndarray, label: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The share of positives among those of the same value, drawn towards that among all.

    For one category this orders slices as a logistic regression does.
    """
    overall = float(label.mean())
    slices = collections.Counter(seen[:, 0].tolist())
    positives = collections.Counter(seen[label == 1, 0].tolist())
    shares = {value: (positives[value] + overall) / (slices[value] + 1) for value in slices}
    return np.array([shares.get(value, overall) for value in asked[:, 0].tolist()], np.float64)


def _by_number(seen: np.ndarray, label: np.ndarray, asked: np.ndarray) -> np.ndarray:
    # A leaf of one patient would only know that patient again.
    leaf = max(10, len(label) // 20)
    model = DecisionTreeClassifier(max_depth=4, min_samples_leaf=leaf, random_state=_SEED)
    # A tree does not split what is known from what is not where all known values are the same.
    unknown = np.nanmin(seen, initial=0.0) - 1.0
    seen, asked = np.nan_to_num(seen, nan=unknown), np.nan_to_num(asked, nan=unknown)
    return model.fit(seen, label).predict_proba(asked)[:, 1]


def _by_all(categories: int) -> _Predict:
    """Of a matrix whose first columns are codes of categories."""

    def predict(seen: np.ndarray, label: np.ndarray, asked: np.ndarray) -> np.ndarray:
        model = HistGradientBoostingClassifier(
            max_iter=60,
            max_leaf_nodes=8,
            min_samples_leaf=max(10, len(label) // 100),
            early_stopping=False,
            categorical_features=list(range(categories)),
            random_state=_SEED,
        )
        # Threads that wait for each other cost more than so small a model takes.
        with threadpool_limits(1):
            return model.fit(seen, label).predict_proba(asked)[:, 1]

    return predict


def _held_out(
    predict: _Predict, features: np.ndarray, table: _Table, folds: list[np.ndarray]
) -> np.ndarray:
    """Scores float64 [n], each of a classifier that did not see the slice's patient."""
    scores = np.zeros(len(table.label))
    for asked in folds:
        seen = np.ones(len(table.label), bool)
        seen[asked] = False
        if len(set(table.label[seen].tolist())) == 2:
            scores[asked] = predict(features[seen], table.label[seen], features[asked])
    return scores


def _auc(positives: np.ndarray, negatives: np.ndarray, fold_starts: np.ndarray) -> np.ndarray:
    """AUC [draws]: the share of pairs within a fold whose positive slice has the higher score.

    Scores of different folds come from different classifiers and are not compared: pooled, even
    a feature that says nothing would come out below 0.5, since a fold with more positives is
    predicted by a classifier that saw fewer.

    Args:
      positives: float64 [draws, steps], positive slices with each score, by fold and score.
      negatives: the same of negative slices.
      fold_starts: int [folds], the first step of each fold.
    """
    below = np.cumsum(negatives, axis=1) - negatives
    sizes = np.diff(np.r_[fold_starts, positives.shape[1]])
    below -= np.repeat(below[:, fold_starts], sizes, axis=1)
    # Equal scores of a fold are one step, and half of their pairs count as right.
    right = (positives * (below + negatives / 2)).sum(axis=1)
    pairs = np.add.reduceat(positives, fold_starts, axis=1) * np.add.reduceat(
        negatives, fold_starts, axis=1
    )
    with np.errstate(invalid="ignore"):
        return right / pairs.sum(axis=1)


def _interval(
    scores: np.ndarray, fold: np.ndarray, table: _Table, times: np.ndarray
) -> tuple[float, float, float] | None:
    """AUC and its 95 % interval by bootstrap over patients; None where no fold has both classes.

    Args:
      scores: float64 [n], higher for positives.
      fold: int [n].
      table: of the n slices.
      times: float64 [patients, draws], how often each patient was drawn.
    """
    pairs, step = np.unique(np.column_stack([fold, scores]), axis=0, return_inverse=True)
    step = step.reshape(-1)
    fold_starts = np.flatnonzero(np.r_[True, pairs[1:, 0] != pairs[:-1, 0]])
    patients = len(times)

    def slices_of(label: int) -> scipy.sparse.csr_matrix:
        """Slices with a label, by patient and step."""
        which = table.label == label
        place = (step[which], table.patient[which])
        ones = np.ones(int(which.sum()))
        return scipy.sparse.csr_matrix((ones, place), shape=(len(pairs), patients))

    positives, negatives = slices_of(1), slices_of(0)

    def auc_of(times: np.ndarray) -> np.ndarray:
        return _auc((positives @ times).T, (negatives @ times).T, fold_starts)

    auc = float(auc_of(np.ones((patients, 1)))[0])
    if np.isnan(auc):
        return None
    low, high = np.nanquantile(auc_of(times), (0.025, 0.975))
    return auc, float(low), float(high)


def _draw_patients(patients: int) -> np.ndarray:
    """How often each patient is drawn, float64 [patients, draws]: as many as there are a draw."""
    generator = np.random.default_rng(_SEED)
    drawn = generator.integers(patients, size=(_DRAWS, patients))
    times = [np.bincount(one, minlength=patients) for one in drawn]
    return np.ascontiguousarray(np.array(times, np.float64).T)


def _contrast(positive: float, negative: float) -> str:
    """Two shares, of the positives and of the negatives, the larger first."""
    shares = sorted([(positive, "positives"), (negative, "negatives")], reverse=True)
    return " but ".join(f"{100 * part:.0f} % of the {name}" for part, name in shares)


def _explain_category(name: str, values: np.ndarray, label: np.ndarray) -> str:
    """In which value the classes differ most."""
    found = sorted(set(values.tolist()))
    if found == [_RARE]:
        return "no value is shared by enough patients to be learned"
    shares = {
        one: (float((values[label == 1] == one).mean()), float((values[label == 0] == one).mean()))
        for one in found
    }
    most = max(found, key=lambda one: abs(shares[one][0] - shares[one][1]))
    title = _FEATURES[name].title
    if most == _RARE:
        what = f"a {title} that only a patient or two share"
    elif most == "":
        what = f"no {title}"
    else:
        what = _VALUE_NAMES.get(name, {}).get(most) or f"{title} {printable(most)}"
    return f"{_contrast(*shares[most])} have {what}"


def _explain_number(name: str, values: np.ndarray, label: np.ndarray) -> str:
    """In which range of values the classes differ most.

    The range lies between the points where the cumulative shares of the classes are farthest
    apart in either direction (those of Kuiper's statistic).
    """
    title, unit = _FEATURES[name].title, _FEATURES[name].unit
    positive, negative = label == 1, label == 0
    unknown = np.isnan(values)
    missing = float(unknown[positive].mean()), float(unknown[negative].mean())
    if abs(missing[0] - missing[1]) > _MISSING_APART or unknown[positive].all():
        return f"{_contrast(*missing)} have no known {title}"
    steps = np.unique(values[~unknown])
    with np.errstate(invalid="ignore"):
        shares = [
            np.searchsorted(np.sort(values[which & ~unknown]), steps, side="right")
            / np.sum(which & ~unknown)
            for which in (positive, negative)
        ]
    apart = shares[0] - shares[1]
    first, last = sorted((int(apart.argmin()), int(apart.argmax())))
    # Below the first step nothing is counted yet: the classes are equal there.
    if apart.min() >= 0.0 or apart.max() <= 0.0:
        first, last = -1, int(np.abs(apart).argmax())
    within = (values > (steps[first] if first >= 0 else -np.inf)) & (values <= steps[last])
    if first < 0:
        where = f"up to {_figure(steps[last])}{unit}"
    elif last == len(steps) - 1:
        where = f"of {_figure(steps[first + 1])}{unit} or more"
    else:
        where = f"from {_figure(steps[first + 1])} to {_figure(steps[last])}{unit}"
    part = float(within[positive].mean()), float(within[negative].mean())
    return f"{_contrast(*part)} have a {title} {where}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _judge(name: str, measured: tuple[float, float, float] | None, why: str) -> Confound:
    feature = _FEATURES[name]
    if measured is None:
        note = "too few patients to say"
        return Confound(name, feature.title, None, None, None, suspicious=False, note=note)
    auc, low, high = measured
    suspicious = low > 0.5 and auc > SUSPICIOUS_AUC
    if suspicious:
        note = f"{why}: a model can learn {feature.learned} instead of the lungs"
    elif low > 0.5:
        note = "predicts the label, but weakly"
    else:
        note = "no sign that it predicts the label"
    return Confound(name, feature.title, auc, low, high, suspicious, note)


def _matrix(table: _Table, names: list[str]) -> tuple[np.ndarray, int]:
    """Features float64 [n, features], codes of categories first, and how many those are."""
    categories = [table.categories[name] for name in names if name in table.categories]
    columns = [table.numbers[name] for name in names if name in table.numbers]
    if categories:
        codes = OrdinalEncoder().fit_transform(np.column_stack(categories))
        columns = [*codes.T, *columns]
    return np.column_stack(columns), len(categories)


def _sets_of(names: list[str]) -> dict[str, list[str]]:
    """The sets of features that are tried together."""
    sets = {}
    if len(names) > 1:
        sets[TOGETHER] = names
    if "source" in names and len(names) > 2:
        sets[NO_SOURCE] = [name for name in names if name != "source"]
    return sets


def find_confounds(sample: Sample) -> list[Confound]:
    """What the file alone predicts: features together first, then each alone, the strongest first.

    Slices without a label are left out, and so are features that have one value. The split does
    not matter here: this is about the data set.
    """
    table = _table(sample)
    names = [name for name in _FEATURES if name in table.categories or name in table.numbers]
    sets = _sets_of(names)
    patients = [len(set(table.patient[table.label == label].tolist())) for label in (0, 1)]
    if not names or min(patients) < FEWEST_PATIENTS:
        return [_judge(name, None, "") for name in (*sets, *names)]
    splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=_SEED)
    nothing = np.zeros(len(table.label))
    folds = [held for _, held in splitter.split(nothing, table.label, table.patient)]
    fold = np.zeros(len(table.label), int)
    for number, held in enumerate(folds):
        fold[held] = number
    times = _draw_patients(int(table.patient.max()) + 1)

    def measure(predict: _Predict, features: np.ndarray) -> tuple[float, float, float] | None:
        return _interval(_held_out(predict, features, table, folds), fold, table, times)

    together = []
    for name, members in sets.items():
        matrix, categories = _matrix(table, members)
        why = "these features together tell the classes apart"
        together.append(_judge(name, measure(_by_all(categories), matrix), why))
    alone = []
    for name in names:
        if name in table.categories:
            values = table.categories[name]
            measured = measure(_by_category, values.reshape(-1, 1))
            why = _explain_category(name, values, table.label)
        else:
            values = table.numbers[name]
            measured = measure(_by_number, values.reshape(-1, 1))
            why = _explain_number(name, values, table.label)
        alone.append(_judge(name, measured, why))
    alone.sort(key=lambda one: -(one.auc or 0.0))
    return [*together, *alone]
