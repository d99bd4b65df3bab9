import math

import pytest

from components.run_facts.numbers import has_spread, interval, number, p_value


@pytest.mark.parametrize(
    ("value", "says"),
    [(0.0, "below 0.001"), (0.00099, "below 0.001"), (0.001, "0.001"), (1.0, "1.000")],
)
def test_a_small_p_value_is_not_called_zero(value, says):
    assert p_value(value) == says


def test_what_is_undefined_is_called_so():
    assert number(math.nan) == p_value(math.nan) == "undefined"
    assert interval(math.nan, 1.0) == interval(0.0, math.nan) == "no interval"


@pytest.mark.parametrize("end", [0.0, 0.5, 1.0])
def test_an_interval_without_width_is_no_certainty(end):
    assert interval(end, end) == interval(end, end + 1e-12) == "no spread in the resamples"
    assert not has_spread(end, end)
    assert not has_spread(math.nan, end)


def test_an_interval_has_its_ends():
    assert interval(-0.0421, 0.9) == "\N{MINUS SIGN}0.042 to 0.900"
    assert interval(0.25, 0.5, digits=1) == "0.2 to 0.5"
    assert has_spread(0.25, 0.2501)
