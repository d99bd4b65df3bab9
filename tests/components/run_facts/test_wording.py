import math

import pytest
import tfx.v1  # noqa: F401 before anything of TFMA

from components.run_facts.gate_reasons import why_refused
from components.run_facts.wording import interval, p_value, with_interval
from components.shortcut_probes.outcome import LUNGS_BLANKED, SUSPICIOUS_AUC, Probe
from components.slice_evaluator.gate import SHORTCUT, BoundResult
from components.slice_evaluator.measured import Figure


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "below 0.001"),
        (0.00099, "below 0.001"),
        (0.001, "0.001"),
        (0.0214, "0.021"),
        (1.0, "1.000"),
        (math.nan, "undefined"),
    ],
)
def test_a_p_value_is_never_zero(value, said):
    assert p_value(value) == said


def test_an_interval_without_width_is_not_written_as_a_range():
    assert interval(0.761, 0.922) == "0.761 to 0.922"
    assert interval(1.0, 1.0) == "no spread in the resamples"
    assert interval(1.0 - 1e-16, 1.0) == "no spread in the resamples"
    assert interval(0.9996, 0.9999, 4) == "0.9996 to 0.9999"
    assert interval(math.nan, 1.0) == "no interval"
    assert with_interval(Figure(1.0, 1.0, 1.0)) == "1.000 (no spread in the resamples)"
    assert with_interval(Figure(math.nan, math.nan, math.nan)) == "undefined"


def test_the_bound_on_a_shortcut_is_true_of_answers_that_are_the_wrong_way_round(refused, changed):
    # The lower end of this interval is 0.10, which is not what the bound was held against.
    probe = Probe(LUNGS_BLANKED, "No lungs", 60, 30, 0.2, 0.1, 0.3, True, "A shortcut.")
    bound = BoundResult(
        f"{SHORTCUT}[{LUNGS_BLANKED}]", None, probe.auc_at_least, False, at_most=SUSPICIOUS_AUC
    )
    (reason,) = why_refused(changed(refused, bounds=[bound]))
    assert reason == (
        "AUC without the lungs, either way round, at the least by its 95 % interval "
        "(lungs_blanked) is 0.700; it must be at most 0.600."
    )
    assert "lower end" not in reason
