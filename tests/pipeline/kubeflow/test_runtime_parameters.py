"""How a step takes up what a run was given."""

import json

import pytest

from pipeline.config import parse_config
from pipeline.dag import gate_bounds
from pipeline.kubeflow.runtime_parameters import RUNTIME_PARAMETERS, take_up
from transform.errors import ConfigError

CONFIG = parse_config({"gate": {"min_sensitivity": {"lower_bound": 0.7}}})
SETTINGS = json.dumps({"name": "x", "config": CONFIG.model_dump(mode="json"), "leaks": []})


def test_a_bound_takes_its_place_among_the_bounds():
    given = {"bounds": gate_bounds(CONFIG).to_json(), "min_sensitivity": 0.9, "resamples": 7.0}
    taken = take_up("SliceEvaluator", given)
    bounds = json.loads(taken.pop("bounds"))
    assert taken == {"resamples": 7.0}
    assert bounds["min_sensitivity"]["at_least"] == 0.9
    assert bounds["min_sensitivity"]["of_lower_end"]
    assert bounds["min_specificity"]["at_least"] == 0.8


def test_epochs_take_their_place_in_training():
    given = {"custom_config": json.dumps({"fit": {"epochs": 3, "x": 1}}), "epochs": 5.0}
    taken = take_up("Trainer", given)
    assert json.loads(taken["custom_config"]) == {"fit": {"epochs": 5, "x": 1}}
    # TFX would read 5.0 as a number that is no integer.
    assert "5.0" not in taken["custom_config"]


def test_data_and_span_reach_ingestion():
    given = {"data": "s.csv", "settings": json.dumps({"span": "newest"}), "span": "last:2"}
    taken = take_up("CTExampleGen", given)
    assert taken == {"data": "s.csv", "settings": json.dumps({"span": "last:2"})}


@pytest.mark.parametrize("step", ["ModelCardGen", "ReportGen"])
def test_the_report_tells_what_the_run_was_given(step):
    given = {"settings": SETTINGS, "min_sensitivity": 0.9, "epochs": 5.0, "span": "7"}
    config = json.loads(take_up(step, given)["settings"])["config"]
    assert config["gate"]["min_sensitivity"]["lower_bound"] == 0.9
    assert config["train"]["epochs"] == 5
    assert config["ingest"]["span"] == "7"
    assert parse_config(config)


@pytest.mark.parametrize(
    ("step", "name", "value"),
    [
        ("SliceEvaluator", "min_sensitivity", 1.5),
        ("SliceEvaluator", "min_specificity", "high"),
        ("Trainer", "epochs", 0),
        ("Trainer", "epochs", 2.5),
        ("CTExampleGen", "span", "yesterday"),
        ("CTExampleGen", "data", " "),
    ],
)
def test_a_value_that_cannot_be_is_one_line_at_the_step(step, name, value):
    given = {"bounds": "{}", "custom_config": "{}", "settings": "{}", name: value}
    with pytest.raises(ConfigError, match=f"runtime parameter {name}: ") as caught:
        take_up(step, given)
    assert "\n" not in str(caught.value)


def test_defaults_are_those_of_the_configuration():
    found = {one.name: one.default(CONFIG, "m.csv") for one in RUNTIME_PARAMETERS}
    assert found == {
        "data": "m.csv",
        "span": "newest",
        "epochs": CONFIG.train.epochs,
        "min_sensitivity": 0.7,
        "min_specificity": 0.8,
    }
