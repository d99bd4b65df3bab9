import numpy as np
import pytest

from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figures import ACCURACY, figures
from components.slice_evaluator.leak_alarm import (
    ADVICE,
    CONFIG_KEY,
    DEFAULT_ALARM,
    OPTION,
    REASONS,
    describe_alarm,
    is_suspicious,
)


def almost_perfect(slices, wrong):
    label = np.arange(slices) % 2
    decision = np.where(np.arange(slices) < wrong, 1 - label, label)
    return figures(Answers(label, decision.astype(float), decision, np.arange(slices), 0.5))


@pytest.mark.parametrize(
    ("slices", "wrong", "patients", "suspicious"),
    [
        (100, 0, 51, True),
        (100, 1, 51, True),
        (100, 2, 51, False),
        (100, 3, 51, False),
        (100, 0, 50, False),
        (100, 0, 1, False),
    ],
)
def test_more_than_98_percent_on_more_than_50_patients_is_suspicious(
    slices, wrong, patients, suspicious
):
    assert is_suspicious(almost_perfect(slices, wrong), patients, DEFAULT_ALARM) is suspicious


def test_the_alarm_can_be_set_elsewhere():
    assert is_suspicious(almost_perfect(100, 5), 60, alarm=0.9)
    assert not is_suspicious(almost_perfect(100, 0), 60, alarm=1.0)


def test_what_is_undefined_is_not_suspicious():
    assert not is_suspicious({ACCURACY: np.nan}, 60, DEFAULT_ALARM)


def test_the_alarm_says_what_was_found_and_what_to_do():
    line = describe_alarm(almost_perfect(200, 1), 77, DEFAULT_ALARM)
    for part in ("0.9950", "77 test patients", f"{CONFIG_KEY} (0.98)"):
        assert part in line
    # What was found is told of an alarm that was accepted, too; then there is nothing to do.
    assert OPTION not in line
    assert OPTION in ADVICE
    assert "\n" not in line


def test_the_reasons_are_sentences():
    assert len(set(REASONS)) == len(REASONS) >= 6
    for reason in REASONS:
        assert reason[0].isupper(), reason
        assert reason.endswith("."), reason
