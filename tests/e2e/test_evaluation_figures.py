"""The Evaluator's figures are those of what a client is answered, by scikit-learn."""

import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from serving.client import Client
from transform import ct_example

pytestmark = pytest.mark.e2e


def text_of(example, name):
    return example.features.feature[name].bytes_list.value[0].decode()


@pytest.fixture(scope="module")
def answers(first_run, serving):
    """Rows [n, 3] of label, probability and decision of every test slice, and whose it is [n]."""
    folder = first_run.artifact("CTExampleGen", "examples") / f"Split-{ct_example.TEST}"
    files = sorted(str(file) for file in folder.iterdir())
    records = tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    examples = [tf.train.Example.FromString(record) for record in records]
    with serving(first_run.workdir / "serving/ctnet") as address, Client(address) as client:
        said = client.predict_examples(examples)
    rows = [
        (
            example.features.feature[ct_example.LABEL].int64_list.value[0],
            answer.probability,
            answer.decision,
        )
        for example, answer in zip(examples, said, strict=True)
    ]
    patients = [text_of(example, ct_example.PATIENT_ID) for example in examples]
    return np.array(rows), np.array(patients), said[0].threshold


def of_patients(rows, patients, threshold):
    """The mean of a patient's probabilities, decided at the same threshold; any positive counts."""
    means = np.array([rows[patients == one].mean(axis=0)[1] for one in np.unique(patients)])
    labels = [rows[patients == one, 0].max() for one in np.unique(patients)]
    return np.column_stack([labels, means, means >= threshold])


def calibration_error(labels, probabilities):
    """Of Guo et al. 2017, bin by bin: scikit-learn has none."""
    bins = np.minimum((probabilities * 10).astype(int), 9)
    gaps = [
        np.sum(bins == one) * abs(probabilities[bins == one].mean() - labels[bins == one].mean())
        for one in np.unique(bins)
    ]
    return sum(gaps) / len(labels)


@pytest.mark.parametrize("unit", ["slices", "patients"])
def test_every_figure_is_scikit_learns_of_what_the_server_answers(first_run, answers, unit):
    folder = first_run.artifact("SliceEvaluator", "evaluation")
    told = json.loads((folder / "evaluation.json").read_text())["overall"][unit]
    rows, patients, threshold = answers
    if unit == "patients":
        rows = of_patients(rows, patients, threshold)
    label, probability, decision = rows.T
    tn, fp, fn, tp = metrics.confusion_matrix(label, decision, labels=[0, 1]).ravel()
    undefined = {"zero_division": np.nan}
    expected = {
        "sensitivity": metrics.recall_score(label, decision, **undefined),
        "specificity": metrics.recall_score(label, decision, pos_label=0, **undefined),
        "ppv": metrics.precision_score(label, decision, **undefined),
        "npv": metrics.precision_score(label, decision, pos_label=0, **undefined),
        "accuracy": metrics.accuracy_score(label, decision),
        "f1": metrics.f1_score(label, decision, **undefined),
        "f1_negative": metrics.f1_score(label, decision, pos_label=0, **undefined),
        "auc": metrics.roc_auc_score(label, probability),
        "average_precision": metrics.average_precision_score(label, probability),
        "brier": metrics.brier_score_loss(label, probability),
        "calibration_error": calibration_error(label, probability),
    }
    assert told["count"] == len(rows)
    assert told["confusion"] == {"tn": tn, "fp": fp, "fn": fn, "tp": tp}
    assert set(told["figures"]) == set(expected)
    for name, value in expected.items():
        # null, where there is nothing to divide by.
        found = told["figures"][name]["value"]
        assert (np.nan if found is None else found) == pytest.approx(
            value, abs=1e-6, nan_ok=True
        ), name
