"""File features: what of a slice's file, and nothing of its pixels, says of its label."""

from __future__ import annotations

import collections

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from components.shortcut_probes.slice_table import NUMBERS, SliceTable
from transform.ct_example import HEIGHT, WIDTH

# A source of fewer patients cannot be learned from some and tried on others; of more sources than
# this the rarest are one.
_FEWEST_PATIENTS_OF_A_SOURCE = 3
_MOST_SOURCES = 50


def _source_codes(train: SliceTable, test: SliceTable) -> tuple[np.ndarray, np.ndarray]:
    """Sources as numbers; rare ones and those that training does not know are all 0.

    That a source is rare may say of the label what the source does not: a few pictures each from
    many papers, all of them of the one class.
    """
    pairs = set(zip(train.source.tolist(), train.patient_id.tolist(), strict=True))
    patients = collections.Counter(source for source, _ in pairs)
    often = [
        source
        for source in sorted(patients, key=lambda one: (-patients[one], one))
        if patients[source] >= _FEWEST_PATIENTS_OF_A_SOURCE
    ]
    code_of = {source: code for code, source in enumerate(often[:_MOST_SOURCES], start=1)}
    seen, asked = (
        np.array([code_of.get(source, 0) for source in table.source], np.float64)
        for table in (train, test)
    )
    return seen, asked


def _numbers(table: SliceTable) -> np.ndarray:
    """Numbers float64 [n, k], with the shape and the resolution of the picture."""
    height, width = (table.numbers[:, NUMBERS.index(name)] for name in (HEIGHT, WIDTH))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(height > 0.0, width / height, np.nan)
    return np.column_stack([table.numbers, ratio, width * height])


def score_by_file(
    train: SliceTable, test: SliceTable, *, with_source: bool = True
) -> np.ndarray | None:
    """Say from their files which test slices are positive.

    A small gradient-boosted classifier learns source, calibration, height, width and spacing of the
    training slices.

    Args:
      train: slices with labels.
      test: slices of other patients.
      with_source: whether to tell the source, which often says the label outright, and hides what
        the rest says.

    Returns:
      float64 [n of test] in [0, 1]; None where a class is missing in training.
    """
    if len(set(train.label.tolist())) < 2:
        return None
    seen, asked = _numbers(train), _numbers(test)
    if with_source:
        codes = _source_codes(train, test)
        seen, asked = np.column_stack([codes[0], seen]), np.column_stack([codes[1], asked])
    classifier = HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=8,
        # A leaf of fewer slices would know one patient again.
        min_samples_leaf=max(10, len(train) // 100),
        early_stopping=False,
        categorical_features=[0] if with_source else None,
        random_state=0,
    )
    # Threads that wait for each other cost more than so small a model takes.
    with threadpool_limits(1):
        scores = classifier.fit(seen, train.label).predict_proba(asked)
    return np.asarray(scores[:, 1], np.float64)
