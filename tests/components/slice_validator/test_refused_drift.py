"""Drift stops a run where it is told to, and only drift since the last accepted run."""

import pytest

from transform.errors import BadDataError

pytestmark = pytest.mark.slow


def test_drift_since_the_last_accepted_run_stops_the_run_and_is_named(validate, phantoms):
    before = {"train": phantoms(range(24))}
    drifted = {"train": phantoms(range(24), offset=300.0)}
    with pytest.raises(BadDataError) as caught:
        validate(drifted, last_run=before, refuse_drift=1)
    line = str(caught.value)
    assert line.startswith("the data has drifted from what was accepted last: ")
    assert "stats/mean_hu differs" in line
    assert "--accept-drift" in line
    assert len(line.splitlines()) == 1


def test_data_like_the_last_accepted_passes(validate, phantoms):
    before = {"train": phantoms(range(24))}
    found = validate({"train": phantoms(range(24, 48))}, last_run=before, refuse_drift=1)
    assert found.drift.since_last_run == ()


def test_the_first_run_of_all_passes_though_its_splits_differ(validate, phantoms):
    splits = {"train": phantoms(range(24)), "test": phantoms(range(24, 48), offset=300.0)}
    assert validate(splits, refuse_drift=1).drift.between_splits
