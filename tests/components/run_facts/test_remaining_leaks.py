import dataclasses

import tfx.v1  # noqa: F401 before anything of TFMA

from components.ct_example_gen.outcome import IngestOutcome
from components.run_facts.leaks import remaining_leaks

LEAKING = IngestOutcome({}, {}, {"test+train": 2}, {"eval+test": 1})


def test_leaks_that_were_found_are_named_by_split():
    assert remaining_leaks(LEAKING) == [
        "2 patients stand in test and train.",
        "1 group of patients with a picture in common stands in eval and test.",
    ]


def test_leaks_whose_slices_were_dropped_are_none_any_more():
    dropped = dataclasses.replace(LEAKING, quarantined={"leaked_patient": 3})
    assert remaining_leaks(dropped) == []


def test_leaks_that_were_found_are_warned_of(refused):
    leaking = dataclasses.replace(refused, outcome=LEAKING)
    assert "2 patients stand in test and train." in leaking.warnings
    assert refused.warnings == []
