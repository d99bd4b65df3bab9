"""What a model is for, and what it is not for."""

from __future__ import annotations

from components.run_facts.facts import RunFacts

INTENDED_USE = (
    "An aid for professionals who read chest CT: for one axial slice it gives the probability "
    "that the slice shows COVID-19, to be weighed with the whole study, the patient and other "
    "tests.",
    "It is not a screening test, and not the sole way of diagnosing or ruling out COVID-19.",
    "It is research software, not a certified medical device.",
    "Before it is used anywhere, it has to be tested there, on slices of the scanners and patients "
    "that it would meet.",
)

_OUT_OF_SCOPE = (
    "Anything but axial CT slices of the chest: no radiographs, no other planes, no other parts of "
    "the body. The model does not notice them; it answers with a probability all the same.",
    "People who read its answer without the training to read the slice.",
    "Grading how ill somebody is, following a course, choosing a treatment, or triage without a "
    "reader: it was trained to tell two classes apart, and nothing else.",
    "Other diseases: a low probability does not say that a lung is healthy.",
)
_TINY = (
    "Any patient: the network is the small one that is there for trying a pipeline, not for "
    "reading slices."
)


def out_of_scope(facts: RunFacts) -> list[str]:
    """What the model of a run must not be used for, a sentence each."""
    tiny = facts.settings.config.get("model", {}).get("backbone") == "tiny"
    return [_TINY, *_OUT_OF_SCOPE] if tiny else list(_OUT_OF_SCOPE)
