"""What is said of a model whose answers to the validation split cannot be relied on."""

import numpy as np
import pytest

from trainer.calibration import fit_temperature
from trainer.validation import Rule, Validation

LABELS = np.arange(100) % 2


def validated(logits, temperature=None):
    temperature = temperature or fit_temperature(logits, LABELS)
    return Validation.answered(
        logits, LABELS, np.arange(100).astype(str), Rule("youden", 0.9, 20, 1), temperature
    )


def test_a_model_that_tells_the_classes_apart_needs_no_caution():
    logits = np.random.default_rng(1).normal(2.0 * LABELS - 1.0, 1.0)
    assert validated(logits).cautions() == []


def test_an_auc_that_chance_gives_too_is_named():
    """Of 100 random answers, 97 or 98 are below the upper end of their 95 % interval."""
    named = 0
    for seed in range(100):
        logits = np.random.default_rng(seed).normal(0.0, 1.0, 100)
        named += any("chance alone" in one for one in validated(logits).cautions())
    assert named >= 93


@pytest.mark.parametrize("temperature", [0.05, 20.0])
def test_a_temperature_at_its_bound_is_named(temperature):
    logits = np.random.default_rng(1).normal(2.0 * LABELS - 1.0, 1.0)
    (caution,) = validated(logits, temperature).cautions()
    assert f"at its bound ({temperature:.3g})" in caution


def test_answers_against_their_labels_drive_the_temperature_to_its_bound():
    """What is named is what the fit really ends with."""
    logits = np.random.default_rng(1).normal(1.0 - 2.0 * LABELS, 1.0)
    assert len(validated(logits).cautions()) == 2
