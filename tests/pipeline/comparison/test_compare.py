"""What `ctnet compare` says of two models, against direct computation on the same rows."""

import collections
import dataclasses
import io
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from sklearn import metrics as sklearn_metrics

from components.slice_evaluator.predictions import SlicePrediction
from pipeline.comparison import compare as compare_module
from pipeline.comparison.choice import choose
from pipeline.comparison.compare import compare_models
from pipeline.comparison.conclusion import conclude
from pipeline.comparison.terminal import print_comparison
from pipeline.config import RunConfig
from pipeline.history.index import read_run_index
from transform.errors import ConfigError

FIRST, SECOND, THIRD = (f"2025-06-{day}T08:31:07.12345{day % 10}" for day in (14, 15, 16))


@dataclasses.dataclass
class Rows:
    """What one model said, a row a slice or a patient, made without the code under test."""

    label: np.ndarray
    probability: np.ndarray
    decision: np.ndarray
    patient: np.ndarray

    @classmethod
    def of_slices(cls, predictions):
        rows = sorted(predictions, key=lambda one: one.id)
        return cls(
            *(
                np.array([getattr(one, name) for one in rows])
                for name in ("label", "probability", "decision", "patient_id")
            )
        )

    @classmethod
    def of_patients(cls, predictions):
        by_patient = collections.defaultdict(list)
        for one in predictions:
            by_patient[one.patient_id].append(one)
        patients = sorted(by_patient)
        mean = np.array([np.mean([one.probability for one in by_patient[p]]) for p in patients])
        return cls(
            np.array([max(one.label for one in by_patient[p]) for p in patients]),
            mean,
            (mean >= predictions[0].threshold).astype(int),
            np.array(patients),
        )

    def figure(self, name):
        if name == "auc":
            return sklearn_metrics.roc_auc_score(self.label, self.probability)
        positive = int(name == "sensitivity")
        return sklearn_metrics.recall_score(self.label, self.decision, pos_label=positive)

    def of_draw(self, rows):
        """AUC, sensitivity and specificity of some of the rows; fast, for a bootstrap."""
        positive = self.label[rows] == 1
        above = self.probability[rows][positive][:, None]
        below = self.probability[rows][~positive]
        decided = self.decision[rows]
        return np.array(
            [
                np.mean(above > below) + 0.5 * np.mean(above == below),
                np.mean(decided[positive]),
                np.mean(1 - decided[~positive]),
            ]
        )


def delong(a, b):
    """DeLong's equations over all pairs."""
    kernels = []
    for one in (a, b):
        positive, negative = one.probability[one.label == 1], one.probability[one.label == 0]
        above = positive[:, None] > negative[None, :]
        kernels.append(above + 0.5 * (positive[:, None] == negative[None, :]))
    difference = kernels[1] - kernels[0]
    positives, negatives = difference.shape
    variance = (
        difference.mean(axis=1).var(ddof=1) / positives
        + difference.mean(axis=0).var(ddof=1) / negatives
    )
    normal = stats.norm(difference.mean(), math.sqrt(variance))
    p_value = 2 * stats.norm.sf(abs(difference.mean()) / math.sqrt(variance))
    return difference.mean(), *normal.interval(0.95), p_value


def drawn_differences(a, b, resamples=2000):
    """Ends of intervals by plain bootstrap over patients, both models on the same draw."""
    generator = np.random.default_rng(1)
    rows_of = [np.flatnonzero(a.patient == one) for one in np.unique(a.patient)]
    found = []
    while len(found) < resamples:
        draw = generator.integers(len(rows_of), size=len(rows_of))
        rows = np.concatenate([rows_of[one] for one in draw])
        if len(set(a.label[rows])) == 2:
            found.append(b.of_draw(rows) - a.of_draw(rows))
    ends = np.percentile(found, [2.5, 97.5], axis=0)
    return dict(zip(("auc", "sensitivity", "specificity"), ends.T, strict=True))


def printed(comparison, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_comparison(comparison, console)
    return console.file.getvalue()


@pytest.fixture
def two_models(past, predict):
    """Two runs' models on the same slices, under different thresholds."""
    predictions = predict(1, patients=40), predict(2, patients=40, better=0.3, threshold=0.45)
    past.run(FIRST, predictions=predictions[0], version="17")
    past.run(SECOND, predictions=predictions[1], version="18")
    return predictions


def named(past, number):
    return f"{past.workdir.root}@{number}"


@pytest.mark.slow
def test_every_figure_is_that_of_a_direct_computation_on_the_same_rows(past, two_models):
    found = compare_models(named(past, 1), named(past, 2), 1000, 0)
    assert found.thresholds == (0.5, 0.45)
    for of_unit, rows in ((found.slices, Rows.of_slices), (found.patients, Rows.of_patients)):
        a, b = (rows(one) for one in two_models)
        assert (of_unit.rows, of_unit.patients) == (len(a.label), 40)
        drawn = drawn_differences(a, b)
        for name, (lower, upper) in drawn.items():
            difference = getattr(of_unit, name)
            assert difference.baseline == pytest.approx(a.figure(name), abs=1e-12)
            assert difference.candidate == pytest.approx(b.figure(name), abs=1e-12)
            assert difference.difference == pytest.approx(
                b.figure(name) - a.figure(name), abs=1e-12
            )
            tolerance = 0.1 * (upper - lower)
            assert difference.lower == pytest.approx(lower, abs=tolerance)
            assert difference.upper == pytest.approx(upper, abs=tolerance)
        test = of_unit.delong
        assert (test.difference, test.lower, test.upper, test.p_value) == pytest.approx(
            delong(a, b), abs=1e-12
        )
        right = a.decision == a.label, b.decision == b.label
        only = int(np.sum(right[0] & ~right[1])), int(np.sum(right[1] & ~right[0]))
        mcnemar = of_unit.mcnemar
        assert (mcnemar.only_baseline_right, mcnemar.only_candidate_right) == only
        assert mcnemar.p_value == pytest.approx(stats.binomtest(only[0], sum(only), 0.5).pvalue)


def test_the_table_has_the_figures_of_both_patients_first(past, two_models):
    found = compare_models(named(past, 1), named(past, 2), 200, 0)
    for width in (80, 100):
        text = printed(found, width)
        lines = text.splitlines()
        assert "Differences are B - A." in lines
        heads = [line.split("  ")[0] for line in lines]
        assert heads.index("40 patients") < heads.index("80 slices")
        (first, second) = [line.split() for line in lines if line.startswith("AUC")]
        auc = found.patients.auc
        assert first[1:4] == [
            f"{auc.baseline:.3f}",
            f"{auc.candidate:.3f}",
            f"{auc.difference:+.3f}",
        ]
        assert first[4:] == [f"{auc.lower:+.3f}", "to", f"{auc.upper:+.3f}"]
        assert second[1] == f"{found.slices.auc.baseline:.3f}"
        assert text.count("McNemar") >= 2
        tables = lines[heads.index("40 patients") : heads.index("80 slices") + 7]
        assert max(map(len, tables)) <= 80
    assert "version 17" in lines[0]
    assert "operating point 0.450" in lines[1]


def test_a_better_model_is_said_to_be_better_with_its_interval(past, predict):
    past.run(FIRST, predictions=predict(1, patients=80, better=-0.9))
    past.run(SECOND, predictions=predict(2, patients=80, better=1.5))
    found = compare_models(named(past, 1), named(past, 2), 300, 0)
    auc = found.patients.auc
    assert auc.lower > 0
    said = conclude(found)
    assert said.startswith(
        f"B's AUC of patients is higher by {auc.difference:.3f} "
        f"(95 % interval {auc.lower:.3f} to {auc.upper:.3f}); B decides more patients rightly ("
    )
    assert printed(found).split()[-len(said.split()) :] == said.split()
    turned = compare_models(named(past, 2), named(past, 1), 300, 0)
    ends = turned.patients.auc
    # Which patients a seed draws depends on which model is the baseline.
    assert (ends.lower, ends.upper) == pytest.approx((-auc.upper, -auc.lower), abs=0.05)
    assert conclude(turned).startswith(
        f"B's AUC of patients is lower by {auc.difference:.3f} (95 % interval "
        f"{-ends.upper:.3f} to {-ends.lower:.3f}); B decides fewer patients rightly ("
    )


def test_models_that_chance_tells_apart_are_said_to_be_so(past, predict):
    past.run(FIRST, predictions=predict(1))
    past.run(SECOND, predictions=predict(2))
    found = compare_models(named(past, 1), named(past, 2), 200, 0)
    assert found.patients.delong.p_value > 0.05
    assert found.patients.mcnemar.p_value > 0.05
    said = conclude(found)
    assert said.startswith("No difference between A and B can be told from chance (")
    assert "95 % interval" in said
    assert "\n" not in said


def test_decisions_may_differ_where_the_order_does_not(past, predict):
    predictions = predict(1, patients=60)
    moved = [dataclasses.replace(one, threshold=1.0, decision=0) for one in predictions]
    past.run(FIRST, predictions=predictions)
    past.run(SECOND, predictions=moved)
    found = compare_models(named(past, 1), named(past, 2), 100, 0)
    assert found.patients.auc.difference == 0.0
    assert conclude(found).startswith("B decides fewer patients rightly (")
    assert "AUCs cannot be told apart from chance" in conclude(found)


def test_slices_alone_conclude_nothing(past, predict):
    """Ten slices of each of six patients, all alike: significant for slices, not for patients."""
    predictions = predict(3, patients=6, slices=10)
    wrong = {"p00", "p01"}
    worse = [
        dataclasses.replace(one, probability=(p := 0.99 - 0.98 * one.label), decision=int(p > 0.5))
        if one.patient_id in wrong
        else dataclasses.replace(
            one, probability=(p := 0.01 + 0.98 * one.label), decision=int(p > 0.5)
        )
        for one in predictions
    ]
    best = [
        dataclasses.replace(one, probability=(p := 0.01 + 0.98 * one.label), decision=int(p > 0.5))
        for one in predictions
    ]
    past.run(FIRST, predictions=worse)
    past.run(SECOND, predictions=best)
    found = compare_models(named(past, 1), named(past, 2), 200, 0)
    assert found.slices.mcnemar.p_value < 0.001
    assert conclude(found).startswith("No difference between A and B can be told from chance")


def test_a_model_and_itself_are_alike(past, predict):
    past.run(FIRST, predictions=predict(1))
    found = compare_models(named(past, 1), named(past, 1), 20, 0)
    assert conclude(found) == "A and B gave the same answer to every test slice."


def test_a_class_that_is_missing_leaves_figures_undefined(past, predict):
    past.run(FIRST, predictions=[one for one in predict(1) if one.label == 0])
    past.run(SECOND, predictions=[one for one in predict(2) if one.label == 0])
    found = compare_models(named(past, 1), named(past, 2), 20, 0)
    assert math.isnan(found.patients.auc.difference)
    assert conclude(found).startswith(
        "The AUCs of patients of A and B are not both defined; their decisions cannot be told "
    )
    assert "undefined" in printed(found)
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert values["patients"]["auc"]["difference"] is None
    assert values["patients"]["specificity"]["difference"] is not None


def slices_of(labels, probabilities):
    """One slice of each patient."""
    return [
        SlicePrediction(f"{row:03d}.png", f"p{row:03d}", label, value, int(value >= 0.5), 0.5)
        for row, (label, value) in enumerate(zip(labels, probabilities, strict=True))
    ]


def compared(tmp_path, write_evaluation, *both):
    for name, predictions in zip("ab", both, strict=True):
        write_evaluation(tmp_path / name, predictions)
    return compare_models(str(tmp_path / "a"), str(tmp_path / "b"), 100, 0)


def test_a_difference_without_any_test_is_not_called_chance(tmp_path, write_evaluation):
    label = [0, 1] * 20
    same, perfect = slices_of(label, [0.4] * 40), slices_of(label, [0.1, 0.9] * 20)
    found = compared(tmp_path, write_evaluation, same, perfect)
    assert math.isnan(found.patients.delong.p_value)
    assert (found.patients.auc.lower, found.patients.auc.upper) == (0.5, 0.5)
    said = conclude(found)
    assert said.startswith(
        "B's AUC of patients is higher by 0.500; neither test nor interval says how sure that is; "
        "B decides more patients rightly (20 "
    )
    assert "chance" not in said
    # Decisions that a test has compared may be chance's all the same.
    undecided = [dataclasses.replace(one, decision=0, threshold=1.0) for one in perfect]
    said = conclude(compared(tmp_path, write_evaluation, same, undecided))
    assert said == (
        "B's AUC of patients is higher by 0.500; neither test nor interval says how sure that is; "
        "their decisions cannot be told apart from chance (McNemar's p 1.000)."
    )
    said = conclude(compared(tmp_path, write_evaluation, undecided, same))
    assert said.startswith("B's AUC of patients is lower by 0.500; neither test nor interval says")


def test_one_patient_of_a_class_has_an_interval_but_no_test(tmp_path, write_evaluation):
    label = [1] + [0] * 30
    values = np.linspace(0.1, 0.3, 30).tolist()
    a, b = slices_of(label, [0.2, *values]), slices_of(label, [0.25, *values])
    found = compared(tmp_path, write_evaluation, a, b)
    auc = found.patients.auc
    assert auc.lower < auc.difference < auc.upper
    said = conclude(found)
    assert said.startswith(
        f"B's AUC of patients is higher by {auc.difference:.3f}; DeLong's test does not say how "
        f"sure that is (95 % interval {auc.lower:.3f} to {auc.upper:.3f})"
    )
    turned = conclude(compared(tmp_path, write_evaluation, b, a))
    assert f"is lower by {auc.difference:.3f}; DeLong's test does not" in turned


def test_one_resample_is_no_interval(past, predict):
    past.run(FIRST, predictions=predict(1, patients=80, better=-0.9))
    past.run(SECOND, predictions=predict(2, patients=80, better=1.5))
    found = compare_models(named(past, 1), named(past, 2), 1, 0)
    assert found.patients.delong.p_value < 0.001
    assert "no interval says how sure that is (DeLong's p below 0.001)" in conclude(found)


def test_an_interval_without_width_is_marked(tmp_path, write_evaluation):
    label = [0, 1] * 20
    same, perfect = slices_of(label, [0.4] * 40), slices_of(label, [0.1, 0.9] * 20)
    text = printed(compared(tmp_path, write_evaluation, same, perfect))
    rows = [line.split() for line in text.splitlines() if line.startswith("AUC")]
    assert rows == [["AUC", "0.500", "1.000", "+0.500", "no", "spread"]] * 2
    assert "no spread: all resamples gave this value, which is no certainty" in text
    moved = [dataclasses.replace(one, decision=1, threshold=0.0) for one in same]
    found = compared(tmp_path, write_evaluation, same, moved)
    assert "(AUC of patients +0.000, no spread in the resamples, DeLong's p 1.000" in conclude(
        found
    )


def test_an_interval_with_width_is_not_marked(past, two_models):
    assert "no spread" not in printed(compare_models(named(past, 1), named(past, 2), 200, 0))


def test_two_runs_of_a_folder_are_found_in_one_reading_and_without_records(
    past, two_models, monkeypatch
):
    read = []

    def counted(folder):
        read.append(folder)
        return read_run_index(folder)

    monkeypatch.setattr(compare_module, "read_run_index", counted)
    expected = compare_models(named(past, 1), named(past, 2), 20, 0)
    assert len(read) == 1
    for record in past.workdir.artifacts.rglob("evaluation.json"):
        record.write_text("{")
    assert compare_models(named(past, 1), named(past, 2), 20, 0) == expected


def test_every_way_of_naming_a_model_finds_its_evaluation(past, predict, every_step):
    made = [
        past.run(FIRST, predictions=predict(1), version="17"),
        past.run(SECOND, predictions=predict(2), version="18"),
    ]
    past.run(THIRD, until="Trainer")
    root = past.workdir.root
    first, second = (one[("SliceEvaluator", "evaluation")].uri for one in made)
    # The latest run that was evaluated.
    assert choose(str(root)).evaluation == second
    assert choose(str(root)).run == SECOND
    for said in (FIRST, FIRST[:19], "2025-06-14", "1"):
        chosen = choose(f"{root}@{said}")
        assert (chosen.evaluation, chosen.run, chosen.version) == (first, FIRST, "17")
    assert choose(str(root / "serving" / "ctnet" / "17")).evaluation == first
    assert choose(f"{root}/serving/ctnet/18/").evaluation == second
    assert choose(first).evaluation == first
    assert choose(first).run is None
    # A version that was deleted is in the metadata still, and one that was pushed again is known.
    shutil.rmtree(root / "serving" / "ctnet" / "17")
    assert choose(str(root / "serving" / "ctnet" / "17")).evaluation == first
    past.export(root / "serving" / "ctnet" / "19", "17")
    assert choose(str(root / "serving" / "ctnet" / "19")).evaluation == first


def test_neither_command_waits_for_tensorflow():
    modules = (
        *("comparison.compare", "comparison.conclusion", "comparison.terminal"),
        *("history.terminal", "terminal"),
    )
    loaded = ", ".join(f"pipeline.{module}" for module in modules)
    look = f"import sys, {loaded}; print('tensorflow' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_a_relative_path_will_do(past, predict, monkeypatch):
    past.run(FIRST, predictions=predict(1), version="17")
    monkeypatch.chdir(past.workdir.root)
    assert choose("@1").run == choose(".").run == choose("serving/ctnet/17").run == FIRST


def test_folders_with_keys_of_their_own_are_compared_by_whose_the_slices_are(
    past, another_past, predict
):
    past.run(FIRST, predictions=predict(1))
    another_past.run(SECOND, predictions=predict(2, key="other"))
    found = compare_models(str(past.workdir.root), str(another_past.workdir.root), 100, 0)
    past.run(SECOND, predictions=predict(2))
    same = compare_models(named(past, 1), named(past, 2), 100, 0)
    assert (found.patients, found.slices) == (same.patients, same.slices)


def test_the_evaluation_folder_alone_is_enough(tmp_path, predict, write_evaluation):
    for name, seed in (("a", 1), ("b", 2)):
        write_evaluation(tmp_path / name, predict(seed))
    found = compare_models(str(tmp_path / "a"), str(tmp_path / "b"), 20, 0)
    assert found.patients.rows == 30


def refusal(ctnet_main, *arguments):
    """The one line of a command that compares nothing."""
    code, out, err = ctnet_main("compare", *arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("ctnet: ")
    return line


def test_other_test_slices_are_counted_and_nothing_is_compared(past, predict, ctnet_main):
    past.run(FIRST, predictions=predict(1, patients=30))
    past.run(SECOND, predictions=predict(2, patients=25))
    relabelled = [
        dataclasses.replace(one, label=1 - one.label) if one.id == "slice-003.png" else one
        for one in predict(3, patients=31)
    ]
    past.run(THIRD, predictions=relabelled)
    line = refusal(ctnet_main, named(past, 1), named(past, 2))
    assert "50 are shared, 10 are of A alone, 0 of B alone" in line
    line = refusal(ctnet_main, named(past, 1), named(past, 3))
    assert "59 are shared, 0 are of A alone, 2 of B alone, and 1 have another label" in line
    assert "one test split" in line


def test_slices_that_changed_their_patient_are_not_compared(past, predict, ctnet_main):
    past.run(FIRST, predictions=predict(1))
    changed = [
        dataclasses.replace(one, patient_id="p07") if one.id == "slice-000.png" else one
        for one in predict(2)
    ]
    past.run(SECOND, predictions=changed)
    line = refusal(ctnet_main, named(past, 1), named(past, 2))
    assert "do not agree on whose the test slices are (30 and 30 patients, 31 pairs" in line


@pytest.mark.slow
def test_bad_names_are_one_line_each(past, another_past, predict, tmp_path, ctnet_main):
    root = past.workdir.root
    past.run(FIRST, predictions=predict(1), version="17")
    made = past.run(SECOND, predictions=predict(2))
    past.run(THIRD, until="Trainer")
    another_past.run(FIRST, until="Trainer")
    shutil.rmtree(made[("SliceEvaluator", "evaluation")].uri)
    (tmp_path / "nothing").mkdir()
    for said, words in (
        (tmp_path / "nowhere", "no such folder; give a run's folder, WORKDIR@RUN"),
        (tmp_path / "nothing", "holds neither an evaluation nor runs"),
        (tmp_path / "nothing" / "17", "no such folder"),
        (f"{tmp_path}/nothing@1", "no run has begun here"),
        (f"{root}@2025-06", "3 runs begin with 2025-06 (2025-06-14T08:31:07, "),
        (f"{root}@1999", "no run 1999; there are 2025-06-14T08:31:07"),
        (f"{root}@", "no run is named after the @"),
        (f"{root}@2", "was deleted"),
        (f"{root}@3", "did not get as far as its evaluation"),
        (another_past.workdir.root, "no run got as far as its evaluation"),
        (root / "serving" / "ctnet" / "99", "no run of"),
    ):
        assert words in refusal(ctnet_main, f"{root}@1", said)
        assert words in refusal(ctnet_main, said, f"{root}@1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "cannot be read"),
        ('{"colour": "red"}', "cannot be read"),
        ("again", "1 slices twice"),
        (None, "no answers"),
    ],
)
def test_damaged_predictions_are_one_line(
    tmp_path, predict, write_evaluation, ctnet_main, line, words
):
    for name, seed in (("a", 1), ("b", 2)):
        write_evaluation(tmp_path / name, predict(seed))
    (file, other) = sorted((tmp_path / "b").glob("predictions-*"))
    if line is None:
        file.unlink()
        other.unlink()
    else:
        first = file.read_text().splitlines()[0]
        with file.open("a") as predictions:
            predictions.write(first if line == "again" else line)
    assert words in refusal(ctnet_main, tmp_path / "a", tmp_path / "b")


def test_answers_of_two_operating_points_are_of_no_one_model(tmp_path, predict, write_evaluation):
    write_evaluation(tmp_path / "a", predict(1))
    mixed = tmp_path / "b"
    write_evaluation(mixed, predict(2))
    file = min(mixed.glob("predictions-*"))
    file.write_text(file.read_text().replace('"threshold": 0.5', '"threshold": 0.4', 1))
    with pytest.raises(ConfigError, match="one operating point, not 2"):
        compare_models(str(tmp_path / "a"), str(mixed), 20, 0)


def test_the_command_prints_the_same_as_data_under_the_configurations_defaults(
    past, two_models, ctnet_main
):
    both = named(past, 1), named(past, 2)
    code, out, err = ctnet_main("compare", *both, "--json")
    assert (code, err) == (0, "")
    defaults = RunConfig().evaluate.resamples, RunConfig().seed
    expected = compare_models(*both, *defaults)
    assert json.loads(out) == {
        **json.loads(json.dumps(expected.as_json())),
        "conclusion": conclude(expected),
    }
    assert (json.loads(out)["resamples"], json.loads(out)["seed"]) == defaults
    code, out, err = ctnet_main("compare", *both, "--resamples", 50, "--seed", 3)
    assert (code, err) == (0, "")
    other = compare_models(*both, 50, 3).patients.auc
    assert f"{other.lower:+.3f} to {other.upper:+.3f}" in out
    assert conclude(compare_models(*both, 50, 3)).split()[0] in out
