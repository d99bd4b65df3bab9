import dataclasses
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from components.report_gen.answered import collect
from components.report_gen.curves import draw_precision_recall, draw_roc
from components.report_gen.figures import draw_pictures
from components.report_gen.picture import BLUE
from components.report_gen.render import render_page
from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figures import FIGURES
from components.slice_evaluator.measured import Figure
from components.slice_evaluator.predictions import SlicePrediction
from transform.training_record import LEARNING_CURVES


def all_pictures(content):
    return [picture for pictures in draw_pictures(content).values() for picture in pictures]


def picture(content, name):
    return next(picture for picture in all_pictures(content) if picture.name == name)


def with_answers(content, **columns):
    """Content with other columns of the answers."""
    return dataclasses.replace(content, answers=dataclasses.replace(content.answers, **columns))


def with_facts(content, **values):
    return dataclasses.replace(content, facts=dataclasses.replace(content.facts, **values))


def no_predictions(content):
    return dataclasses.replace(content, answers=collect([]))


def one_class(content):
    return with_answers(content, label=np.ones_like(content.answers.label))


def undefined_figures(content):
    nowhere = Figure(math.nan, math.nan, math.nan)
    overall = content.facts.evaluation.overall
    slices, patients = (
        dataclasses.replace(unit, figures=dict.fromkeys(FIGURES, nowhere))
        for unit in (overall.slices, overall.patients)
    )
    undefined = dataclasses.replace(overall, slices=slices, patients=patients)
    evaluation = dataclasses.replace(
        content.facts.evaluation, overall=undefined, groups={"sex": {"F": undefined}}
    )
    return with_facts(content, evaluation=evaluation)


def undefined_probabilities(content):
    return with_answers(content, probability=np.full(len(content.answers), math.nan))


def no_groups(content):
    return with_facts(content, evaluation=dataclasses.replace(content.facts.evaluation, groups={}))


def of_an_older_release(content):
    training = dataclasses.replace(content.facts.training, operating_point=None)
    return dataclasses.replace(with_facts(content, training=training), training_pictures={})


@pytest.mark.parametrize(
    "spoil",
    [
        no_predictions,
        one_class,
        undefined_figures,
        undefined_probabilities,
        no_groups,
        of_an_older_release,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_a_report_is_written_whatever_a_run_leaves(not_pushed, spoil):
    assert "Not pushed" in render_page(spoil(not_pushed))


def test_a_curve_that_cannot_be_drawn_says_why(not_pushed):
    assert "one class only" in picture(one_class(not_pushed), "roc").svg
    assert "no prediction was made" in picture(no_predictions(not_pushed), "histogram").svg
    assert "is undefined" in picture(undefined_figures(not_pushed), "predictive-values").svg


@pytest.mark.parametrize("unit", ["slices", "patients"])
def test_the_confusion_matrix_is_the_evaluations(not_pushed, unit):
    counts = not_pushed.facts.evaluation.overall.of(unit).confusion
    drawn = picture(not_pushed, f"confusion-{unit}")
    assert f"{counts['fp']} false positive" in drawn.alt
    assert f"{counts['tp']} true positive" in drawn.alt
    assert sum(counts.values()) == {"slices": 60, "patients": 30}[unit]


def test_the_roc_marks_the_operating_point_of_the_models_own_decisions(not_pushed):
    answers = not_pushed.answers
    sensitivity = answers.decision[answers.label == 1].mean()
    specificity = 1 - answers.decision[answers.label == 0].mean()
    alt = picture(not_pushed, "roc").alt
    assert f"sensitivity is {sensitivity:.3f} and specificity {specificity:.3f}" in alt


def drawn_area(drawn, colour):
    """The area below a curve in a picture whose axes go from -0.02 to 1.02."""
    element = ElementTree.fromstring(drawn.svg)

    def corners(path):
        numbers = [float(one) for one in re.findall(r"-?[\d.]+", path.get("d"))]
        return np.array(numbers).reshape(-1, 2)

    def part(name):
        return next(one for one in element.iter() if (one.get("id") or "").endswith(name))

    paths = [one for one in element.iter() if one.tag.endswith("path") and one.get("clip-path")]
    curves = [one for one in paths if f"stroke: {colour}" in (one.get("style") or "")]
    line = max((corners(one) for one in curves), key=len)
    (background,) = part("-patch_2")
    frame = corners(background)
    left, bottom = frame[:, 0].min(), frame[:, 1].max()
    across, up = np.ptp(frame, axis=0) / 1.04
    recall = (line[:, 0] - left) / across - 0.02
    precision = (bottom - line[:, 1]) / up - 0.02
    assert (recall.max(), recall.min()) == pytest.approx((1.0, 0.0), abs=1e-3)
    return -np.trapezoid(precision, recall)


@pytest.mark.parametrize("slices", [9, 30_000])
def test_the_area_below_the_precision_recall_curve_is_the_average_precision(not_pushed, slices):
    generator = np.random.default_rng(5)
    label = generator.integers(0, 2, slices)
    probability = 0.3 * label + generator.uniform(0.0, 0.7, slices)
    decision = (probability >= 0.5).astype(int)
    answers = Answers(label, probability, decision, np.zeros(slices, int), 0.5)
    drawn = draw_precision_recall(not_pushed.facts, answers)
    expected = average_precision_score(label, probability)
    assert drawn_area(drawn, BLUE) == pytest.approx(expected, abs=2e-3)


def test_the_threshold_in_the_histogram_is_the_one_that_was_evaluated(not_pushed):
    evaluation = dataclasses.replace(not_pushed.facts.evaluation, threshold=0.625)
    alt = picture(with_facts(not_pushed, evaluation=evaluation), "histogram").alt
    assert "the threshold is 0.625" in alt


def test_the_roc_names_the_readers_and_where_their_figures_come_from(not_pushed):
    drawn = picture(not_pushed, "roc")
    # The legend breaks its lines.
    assert "CO-RADS ≥ 4 readers" in drawn.svg
    assert "(PMC7808356)" in drawn.svg
    assert "sensitivity of 0.858 and a specificity of 0.846 (PMC7808356)" in drawn.alt


def test_patients_without_both_classes_leave_the_curve_of_slices(not_pushed):
    # Two slices of either label for each of two patients: both patients are positive.
    label = np.array([0, 1, 0, 1])
    probability = np.array([0.1, 0.9, 0.2, 0.8])
    decided = (probability >= 0.5).astype(int)
    answers = Answers(label, probability, decided, np.array([0, 0, 1, 1]), 0.5)
    alt = draw_roc(not_pushed.facts, answers).alt
    assert "Of slices" in alt
    assert "Of patients" not in alt


def test_groups_are_drawn_with_their_figures_and_unknown_ones_are_not(not_pushed):
    women = not_pushed.facts.evaluation.groups["sex"]["F"].slices.figures
    drawn = picture(not_pushed, "groups-picture")
    assert f"sex F: {women['sensitivity'].value:.2f} and {women['specificity'].value:.2f}" in (
        drawn.alt
    )
    assert "source" not in drawn.alt


def test_of_many_groups_the_largest_are_shown(not_pushed):
    whole = not_pushed.facts.evaluation.overall
    few = dataclasses.replace(whole, patients=dataclasses.replace(whole.patients, count=1))
    groups = {"source": {f"clinic {n:03d}": whole if n % 50 == 0 else few for n in range(100)}}
    evaluation = dataclasses.replace(not_pushed.facts.evaluation, groups=groups)
    page = render_page(with_facts(not_pushed, evaluation=evaluation))
    assert "clinic 000" in page
    assert "clinic 050" in page
    assert "clinic 099" not in page
    assert "80 smaller groups" in page


def test_a_picture_that_training_drew_stands_in_the_page_with_what_it_shows(not_pushed):
    drawn = picture(not_pushed, LEARNING_CURVES)
    assert drawn.alt == "AUC < 1 & > 0"
    element = ElementTree.fromstring(drawn.svg)
    assert element.get("aria-label") == drawn.alt
    # The pointer resting on it would show it, and the identifiers must be the page's only ones.
    assert "<title>" not in drawn.svg
    assert {one.get("id", LEARNING_CURVES)[: len(LEARNING_CURVES)] for one in element.iter()} == {
        LEARNING_CURVES
    }
    assert "Learning curves" in render_page(not_pushed)


def test_pictures_are_well_formed_transparent_and_carry_no_date(full_content):
    for drawn in all_pictures(full_content):
        ElementTree.fromstring(drawn.svg)
        assert "fill: #ffffff" not in drawn.svg
        assert "metadata" not in drawn.svg
        assert "<style" not in drawn.svg


def test_no_two_pictures_share_an_identifier(full_content):
    found = [
        one.get("id")
        for drawn in all_pictures(full_content)
        for one in ElementTree.fromstring(drawn.svg).iter()
        if one.get("id")
    ]
    assert len(found) == len(set(found))
    assert len(all_pictures(full_content)) == 12


def test_a_picture_stays_small_however_many_slices_there_are(not_pushed):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 50_000)
    probability = generator.uniform(size=50_000)
    many = Answers(
        labels, probability, (probability > 0.5).astype(int), np.arange(50_000) // 2, 0.5
    )
    for drawn in all_pictures(dataclasses.replace(not_pushed, answers=many)):
        assert len(drawn.svg) < 60_000


def test_the_order_in_which_predictions_were_written_does_not_matter(not_pushed):
    generator = np.random.default_rng(3)
    rows = [
        SlicePrediction(f"s{n}", f"p{n % 7}", n % 2, float(one), int(one > 0.5), 0.5)
        for n, one in enumerate(generator.uniform(size=50))
    ]
    first = collect(rows)
    second = collect([rows[n] for n in generator.permutation(50)])
    for field in dataclasses.fields(Answers):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))
    assert first.patients == 7


def test_answers_of_two_operating_points_are_refused():
    rows = [SlicePrediction("a", "p", 1, 0.5, 1, point) for point in (0.4, 0.5)]
    with pytest.raises(ValueError, match="one operating point, not 2"):
        collect(rows)
