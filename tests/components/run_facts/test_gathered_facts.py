"""Facts are read from the artifacts that the steps of a run leave."""

import json

import pytest
import tfx.v1  # noqa: F401 before anything of TFMA
from tfx.types import standard_artifacts

from components.ct_example_gen.quarantine import Quarantine
from components.run_facts.facts import gather_facts
from components.shortcut_probes.artifact import ShortcutProbes
from components.shortcut_probes.outcome import Probe, ProbeResults


@pytest.fixture
def inputs(refused, tmp_path):
    """What the steps of the run of `refused` leave."""

    def artifact(artifact_type, name):
        made = artifact_type()
        made.uri = str(tmp_path / name)
        (tmp_path / name).mkdir()
        return made

    quarantine = artifact(Quarantine, "quarantine")
    counts = [
        ("accepted", split, label, count)
        for split, of_split in refused.outcome.accepted.items()
        for label, count in of_split.items()
    ]
    counts.append(("quarantined", "unreadable", "", 1))
    (tmp_path / "quarantine/counts.jsonl").write_text("\n".join(map(json.dumps, counts)))
    model_run = artifact(standard_artifacts.ModelRun, "model_run")
    refused.training.write(model_run.uri)
    evaluation = artifact(standard_artifacts.ModelEvaluation, "evaluation")
    (tmp_path / "evaluation/evaluation.json").write_text(refused.evaluation.to_json())
    blessing = artifact(standard_artifacts.ModelBlessing, "blessing")
    blessing.set_int_custom_property("blessed", 0)
    model = artifact(standard_artifacts.Model, "model")
    for name in ("data_fingerprint", "code_version", "weights"):
        model.set_string_custom_property(name, getattr(refused.lineage, name))
    return {
        "quarantine": [quarantine],
        "model": [model],
        "model_run": [model_run],
        "evaluation": [evaluation],
        "blessing": [blessing],
    }


def test_the_facts_are_those_of_the_steps(inputs, refused):
    found = gather_facts(inputs, refused.settings)
    assert found.outcome == refused.outcome
    assert found.training == refused.training
    assert found.lineage == refused.lineage
    assert found.gate.bounds == refused.gate.bounds
    assert not found.blessed
    # What is optional and is not there, nobody invents.
    assert found.probes is None
    assert found.splits == {}


def test_probes_and_statistics_are_among_the_facts_where_a_run_has_them(
    inputs, refused, statistics, slices, tmp_path
):
    probes = ShortcutProbes()
    probes.uri = str(tmp_path / "probes")
    results = ProbeResults((Probe("plain", "Plain", 4, 2, 0.9, 0.8, 1.0, False, "."),), 4, 0, 0.1)
    results.write(probes.uri)
    inputs["probes"] = [probes]
    inputs["statistics"] = [statistics({"test": slices(range(4), sex="F")})]
    found = gather_facts(inputs, refused.settings)
    assert found.probes == results
    assert found.splits["test"].patients == 2
