import dataclasses
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from components.report_gen.content import in_columns
from components.report_gen.figures import confusion_counts, draw_pictures
from components.report_gen.render import render_page
from components.slice_evaluator.figures import FIGURES
from components.slice_evaluator.measured import Figure
from components.slice_evaluator.predictions import SlicePrediction
from transform.training_record import LEARNING_CURVES


def picture(content, name):
    return next(picture for picture in draw_pictures(content) if picture.name == name)


def with_facts(content, **values):
    return dataclasses.replace(content, facts=dataclasses.replace(content.facts, **values))


def no_predictions(content):
    return dataclasses.replace(content, predictions=in_columns([]))


def one_class(content):
    predictions = content.predictions
    ones = np.ones_like(predictions.label)
    return dataclasses.replace(content, predictions=dataclasses.replace(predictions, label=ones))


def undefined_figures(content):
    nowhere = Figure(math.nan, math.nan, math.nan)
    overall = content.facts.evaluation.overall
    slices = dataclasses.replace(overall.slices, figures=dict.fromkeys(FIGURES, nowhere))
    return with_facts(
        content,
        evaluation=dataclasses.replace(
            content.facts.evaluation, overall=dataclasses.replace(overall, slices=slices)
        ),
    )


def undefined_probabilities(content):
    predictions = content.predictions
    nan = np.full_like(predictions.probability, math.nan)
    return dataclasses.replace(
        content, predictions=dataclasses.replace(predictions, probability=nan)
    )


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
        of_an_older_release,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_a_report_is_written_whatever_a_run_leaves(not_pushed, spoil):
    assert "Not pushed" in render_page(spoil(not_pushed))


def test_a_curve_that_cannot_be_drawn_says_why(not_pushed):
    assert "one class only" in picture(one_class(not_pushed), "roc").svg
    assert "no prediction was made" in picture(no_predictions(not_pushed), "confusion").svg


def test_the_confusion_matrix_counts_every_slice_once(not_pushed):
    predictions = not_pushed.predictions
    counts = confusion_counts(predictions)
    assert counts.sum() == len(predictions)
    assert counts[1, 0] == ((predictions.label == 1) & (predictions.decision == 0)).sum()
    assert f"{counts[0, 1]} false positive" in picture(not_pushed, "confusion").alt


def test_the_roc_marks_the_operating_point_of_the_models_own_decisions(not_pushed):
    predictions = not_pushed.predictions
    sensitivity = predictions.decision[predictions.label == 1].mean()
    specificity = 1 - predictions.decision[predictions.label == 0].mean()
    alt = picture(not_pushed, "roc").alt
    assert f"sensitivity is {sensitivity:.3f} and specificity {specificity:.3f}" in alt


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


def test_pictures_are_well_formed_transparent_and_carry_no_date(not_pushed):
    for drawn in draw_pictures(not_pushed):
        ElementTree.fromstring(drawn.svg)
        assert "fill: #ffffff" not in drawn.svg
        assert "metadata" not in drawn.svg
        assert "<style" not in drawn.svg


def test_a_picture_stays_small_however_many_slices_there_are(not_pushed):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 50_000)
    probability = generator.uniform(size=50_000)
    names = np.array([f"{number}" for number in range(50_000)], object)
    many = dataclasses.replace(
        not_pushed.predictions,
        id=names,
        patient_id=names,
        label=labels.astype(np.int8),
        probability=probability,
        decision=(probability > 0.5).astype(np.int8),
    )
    for drawn in draw_pictures(dataclasses.replace(not_pushed, predictions=many)):
        assert len(drawn.svg) < 60_000


def test_the_order_in_which_predictions_were_written_does_not_matter(not_pushed):
    rows = [SlicePrediction(name, "p", 1, 0.5, 1, 0.5) for name in "abc"]
    assert list(in_columns(rows[::-1]).id) == list(in_columns(rows).id) == ["a", "b", "c"]
