"""What the newest span brings is compared for itself: a rolling window would hide it."""

import pytest

from transform import ct_example

OLD, NEW, EVAL, LAST = range(30), range(30, 45), range(45, 60), range(60, 80)


@pytest.fixture
def last_run(phantoms):
    return {"train": phantoms(LAST), "eval": phantoms(EVAL)}


def window(phantoms, **changes):
    """Two older spans, and a newest one that gave a third of the training split."""
    first, second = OLD[:15], OLD[15:]
    return {
        "train": [
            *phantoms(first, span=2),
            *phantoms(second, span=9),
            *phantoms(NEW, span=10, **changes),
        ],
        "eval": phantoms(EVAL),
        # Of a reference set.
        "test": phantoms(LAST),
    }


@pytest.mark.slow
def test_a_newest_span_of_other_images_is_told_where_the_window_hides_it(
    validate, phantoms, last_run
):
    last_run["train"] = [*phantoms(LAST[:10], span=2), *phantoms(LAST[10:], span=9)]
    drift = validate(window(phantoms, noise=30.0), last_run=last_run).drift
    assert {(one.span, one.splits) for one in drift.since_last_run} == {(10, ("train", "train"))}
    (noise,) = (one for one in drift.since_last_run if one.feature == ct_example.NOISE)
    assert noise.line.startswith(
        "stats/noise differs between span 10 in the train split and the train split of the last "
        "accepted run: median "
    )
    assert noise.line in drift.lines


@pytest.mark.slow
def test_a_newest_span_like_the_last_run_raises_no_alarm(validate, phantoms, last_run):
    found = validate(window(phantoms), last_run=last_run)
    assert found.drift.lines == []
    assert found.drift.has_last_run
    # The number of the span itself is no anomaly, and no drift.
    assert not any(one.anomaly_info for one in found.anomalies.values())


@pytest.mark.slow
def test_a_run_of_the_newest_span_alone_is_told_of_once(validate, phantoms, last_run):
    noisy = {"train": phantoms(NEW, noise=30.0, span=3), "eval": phantoms(OLD)}
    drift = validate(noisy, last_run=last_run).drift
    found = [one for one in drift.since_last_run if one.feature == ct_example.NOISE]
    assert [(one.span, one.splits) for one in found] == [(None, ("train", "train"))]


@pytest.mark.slow
def test_an_older_span_of_other_images_is_not_laid_at_the_newest_ones_door(
    validate, phantoms, last_run
):
    spans = window(phantoms)
    spans["train"] = [*phantoms(OLD, span=9), *phantoms(NEW, span=8, noise=60.0)]
    drift = validate(spans, last_run=last_run).drift
    assert all(one.span is None for one in drift.since_last_run)
