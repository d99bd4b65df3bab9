"""How `gate.shortcuts` reaches the step that judges."""

from pathlib import Path

import pytest
import yaml

from pipeline.config import load_config, parse_config
from pipeline.kubeflow.compiler import compile_for_kubeflow
from transform.errors import ConfigError

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "covid_ct.yaml"


def judges_inputs(output, *assignments):
    """The artifacts that the compiled pipeline gives to SliceEvaluator."""
    compile_for_kubeflow(
        load_config(CONFIG, ["ingest.patient_ids=keep", *assignments]),
        data="/mnt/data/manifest.csv",
        root="gs://bucket/ctnet",
        image="registry.example/ctnet:1",
        output=output,
    )
    tasks = yaml.safe_load(output.read_text())["root"]["dag"]["tasks"]
    return tasks["SliceEvaluator"]["inputs"]["artifacts"]


def test_probes_reach_the_judge_only_where_they_may_refuse(tmp_path):
    assert parse_config({}).gate.shortcuts == "report"
    assert "probes" not in judges_inputs(tmp_path / "reporting.yaml")
    given = judges_inputs(tmp_path / "refusing.yaml", "gate.shortcuts=refuse")
    assert given["probes"]["taskOutputArtifact"] == {
        "producerTask": "ShortcutProbes",
        "outputArtifactKey": "probes",
    }


def test_shortcuts_cannot_refuse_without_probes():
    values = {"gate": {"shortcuts": "refuse"}, "probes": {"slices": 0}}
    with pytest.raises(ConfigError, match=r"gate\.shortcuts: refuse needs the probes") as caught:
        parse_config(values)
    assert "\n" not in str(caught.value)
    assert parse_config({**values, "gate": {"shortcuts": "report"}}).probes.slices == 0
