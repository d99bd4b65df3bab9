import dataclasses

import tfx.v1  # noqa: F401 before anything of TFMA

from components.ct_example_gen.outcome import IngestOutcome
from components.run_facts.leaks import remaining_leaks, touch_the_test

LEAKING = IngestOutcome({}, {}, {"test+train": 2}, {"eval+test": 1})


def test_leaks_that_were_found_are_named_by_split():
    assert remaining_leaks(LEAKING) == [
        "2 patients stand in test and train.",
        "1 group of patients with a picture in common stands in eval and test.",
    ]


def test_leaks_whose_slices_were_dropped_are_none_any_more():
    dropped = dataclasses.replace(LEAKING, quarantined={"leaked_patient": 3})
    assert remaining_leaks(dropped) == []


def test_only_a_leak_that_names_the_test_split_touches_it():
    assert touch_the_test(LEAKING)
    assert touch_the_test(dataclasses.replace(LEAKING, leaks={}))
    assert not touch_the_test(IngestOutcome({}, {}, {"eval+train": 2}, {"eval+train": 1}))
    assert not touch_the_test(dataclasses.replace(LEAKING, quarantined={"leaked_group": 3}))


def test_leaks_that_were_found_are_warned_of(refused):
    leaking = dataclasses.replace(refused, outcome=LEAKING)
    assert "2 patients stand in test and train." in leaking.warnings
    assert refused.warnings == []
