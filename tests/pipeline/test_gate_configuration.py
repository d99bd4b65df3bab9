"""How the gate's keys, and what a person accepted, reach the step that judges."""

import tfx.v1  # noqa: F401, I001 before everything that imports TFDV or TFMA

import pytest
from typer.testing import CliRunner

from components.slice_evaluator.gate import Bounds, Minimum
from pipeline import cli
from pipeline.retraining import retrain_command
from pipeline.config import parse_config
from pipeline.dag import gate_bounds
from pipeline.summary import Summary, Verdict


def test_the_gates_keys_are_the_bounds_that_are_judged():
    config = parse_config(
        {
            "gate": {
                "min_sensitivity": {"lower_bound": 0.75, "of": "patients", "every_group_of": 20},
                "min_specificity": 0.7,
                "max_regression": 0.05,
                "leak_alarm": None,
            }
        }
    )
    wanted = Bounds(
        Minimum(0.75, of_lower_end=True, unit="patients", every_group_of=20),
        Minimum(0.7),
        max_regression=0.05,
        leak_alarm=None,
    )
    assert gate_bounds(config) == wanted
    assert gate_bounds(config, accept_leak_alarm=True).accept_leak_alarm


def test_the_alarm_is_on_unless_it_is_turned_off():
    bounds = gate_bounds(parse_config({}))
    assert (bounds.leak_alarm, bounds.accept_leak_alarm) == (0.98, False)


@pytest.mark.parametrize(("command", "module"), [("run", cli), ("retrain", retrain_command)])
@pytest.mark.parametrize("accepted", [True, False])
def test_an_alarm_is_accepted_on_the_command_line(monkeypatch, tmp_path, command, module, accepted):
    requests = []

    def take(request, display, **_):
        requests.append(request)
        return Summary("tiny", Verdict.PUSHED)

    monkeypatch.setattr(module, command, take)
    config = tmp_path / "tiny.yaml"
    config.write_text("name: tiny\n")
    arguments = [command, "--config", str(config), "--data", "manifest.csv", "--json"]
    done = CliRunner().invoke(cli.app, arguments + ["--accept-leak-alarm"] * accepted)
    assert done.exit_code == 0, done.output
    assert [request.accept_leak_alarm for request in requests] == [accepted]
