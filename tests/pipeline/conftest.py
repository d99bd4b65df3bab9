"""Runs that ended long ago: a real metadata store, with the files that their steps left."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.slice_evaluator.answers import IdentifiedAnswers, by_patient
from components.slice_evaluator.confidence_intervals import confidence_intervals
from components.slice_evaluator.evaluation import FILE, Evaluation
from components.slice_evaluator.figures import COUNTS, FIGURES, figures
from components.slice_evaluator.gate import Bounds, Minimum, judge, judge_alarm
from components.slice_evaluator.measured import Figure, Part, UnitFigures
from components.slice_evaluator.predictions import SlicePrediction
from pipeline import cli
from pipeline.run_folder.workdir import Workdir

STEPS = {
    "CTExampleGen": {"examples": "Examples"},
    "StatisticsGen": {"statistics": "ExampleStatistics"},
    "SliceValidator": {"anomalies": "ExampleAnomalies"},
    "Trainer": {"model": "Model"},
    "Baseline": {},
    "SliceEvaluator": {"evaluation": "ModelEvaluation", "blessing": "ModelBlessing"},
    "ServingValidator": {"blessing": "InfraBlessing"},
    "AtomicPusher": {"pushed_model": "PushedModel"},
    "ReportGen": {"report": "ctnet.Report"},
}
RESOLVER = "tfx.dsl.components.common.resolver.Resolver"
STATES = mlmd.Execution.State


def _predict(seed=0, patients=30, slices=2, better=0.0, threshold=0.5, key="", folder=""):
    """A model's answers for slices whose labels depend on their number alone."""
    generator = np.random.default_rng(seed)
    predictions = []
    for number in range(patients * slices):
        patient, label = number // slices, number // slices % 2
        score = generator.normal() + (1.0 + better) * (2 * label - 1)
        probability = float(np.round(1.0 / (1.0 + np.exp(-score)), 2))
        predictions.append(
            SlicePrediction(
                id=f"{folder}slice-{number:03d}.png",
                patient_id=f"p{key}{patient:02d}",
                label=label,
                probability=probability,
                decision=int(probability >= threshold),
                threshold=threshold,
                groups={},
            )
        )
    generator.shuffle(predictions)
    return predictions


def _unit(answers):
    found, ends = figures(answers), confidence_intervals(answers, 20, 0)
    return UnitFigures(
        len(answers),
        {name: int(found[name]) for name in COUNTS},
        {name: Figure(found[name], *ends[name]) for name in FIGURES},
    )


def _write_evaluation(folder, predictions, at_least=0.1):
    """An evaluation as SliceEvaluator leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = IdentifiedAnswers.of(predictions).answers
    part = Part(False, _unit(answers), _unit(by_patient(answers)), 0)
    bounds = Bounds(Minimum(at_least), Minimum(0.1), 0.02, leak_alarm=None)
    alarm = judge_alarm(part, bounds)
    results = judge(part, {}, alarm, bounds)
    passed = all(one.passed for one in results)
    record = Evaluation(passed, answers.threshold, 0.95, 20, 0, results, alarm, part, {})
    (folder / FILE).write_text(record.to_json())
    lines = [json.dumps(dataclasses.asdict(one)) + "\n" for one in predictions]
    for shard in (0, 1):
        (folder / f"predictions-0000{shard}-of-00002.jsonl").write_text("".join(lines[shard::2]))
    return passed


class Past:
    """A run's folder, to which runs are added as TFX and the steps note them."""

    def __init__(self, root):
        self.workdir = Workdir(root)
        root.mkdir(exist_ok=True)
        connection = mlmd.ConnectionConfig()
        connection.sqlite.filename_uri = str(self.workdir.metadata)
        self.store = MetadataStore(connection)
        self.artifacts = {}

    def _context(self, kind, name):
        type_id = self.store.put_context_type(mlmd.ContextType(name=kind))
        there = self.store.get_context_by_type_and_name(kind, name)
        if there is not None:
            return there
        context = mlmd.Context(type_id=type_id, name=name)
        (context.id,) = self.store.put_contexts([context])
        return context

    def _artifact(self, kind, uri, **said):
        type_id = self.store.put_artifact_type(mlmd.ArtifactType(name=kind))
        artifact = mlmd.Artifact(type_id=type_id, uri=str(uri), state=mlmd.Artifact.LIVE)
        for name, value in said.items():
            field = "int_value" if isinstance(value, int) else "string_value"
            setattr(artifact.custom_properties[name], field, value)
        (artifact.id,) = self.store.put_artifacts([artifact])
        return artifact

    def _execute(self, contexts, step, state, outputs, inputs, parameters):
        kind = RESOLVER if step == "Baseline" else f"components.{step}"
        type_id = self.store.put_execution_type(mlmd.ExecutionType(name=kind))
        execution = mlmd.Execution(type_id=type_id, last_known_state=state)
        for name, value in parameters.items():
            execution.custom_properties[name].string_value = value
        pairs = []
        for kind, artifacts in ((mlmd.Event.INPUT, inputs), (mlmd.Event.OUTPUT, outputs)):
            for key, artifact in artifacts.items():
                event = mlmd.Event(type=kind, artifact_id=artifact.id)
                event.path.steps.add().key = key
                event.path.steps.add().index = 0
                pairs.append((artifact, event))
        self.store.put_execution(execution, pairs, contexts)

    def run(
        self,
        when,
        *,
        predictions=None,
        at_least=0.1,
        until="ReportGen",
        state=STATES.COMPLETE,
        cached=(),
        data="/data/manifest.csv",
        span=None,
        choice="newest",
        parent=None,
        baseline=None,
        refused=None,
        version=None,
    ):
        """Add a run; `cached` steps put out what they did last, and `until` ends in `state`.

        Returns:
          Its artifacts by step and key.
        """
        run = [self._context("pipeline", "tiny"), self._context("pipeline_run", when)]
        made = {}
        blessed = True
        for step, keys in STEPS.items():
            last = step == until
            ended = not last or state == STATES.COMPLETE
            outputs = {}
            for key, kind in keys.items() if ended else ():
                name = (step, key)
                if step in cached:
                    outputs[key] = self.artifacts[name]
                    continue
                # TFX calls it by the execution, which is noted when the step has ended.
                folder = self.workdir.artifacts / step / key / str(self._next_execution())
                folder.mkdir(parents=True)
                said = {}
                if name == ("SliceEvaluator", "evaluation"):
                    blessed = _write_evaluation(folder, predictions or _predict(), at_least)
                elif name == ("SliceEvaluator", "blessing"):
                    trained = made[("Trainer", "model")]
                    said = {"blessed": int(blessed), "current_model_id": trained.id}
                    said["current_model"] = trained.uri
                elif step == "ServingValidator":
                    said = {"blessed": int(refused is None)}
                    outcome = {"reason": refused, "questions": 16}
                    (folder / "serving_validation.json").write_text(json.dumps(outcome))
                elif step == "AtomicPusher":
                    said = {"pushed": int(version is not None)}
                    if version is not None:
                        said["pushed_version"] = version
                        for place in (folder, self.workdir.serving / version):
                            self.export(place, version)
                elif key == "anomalies":
                    said = {"statistics_id": made[("StatisticsGen", "statistics")].id}
                elif step == "CTExampleGen" and span is not None:
                    said = {"span": span}
                elif step == "Trainer" and parent is None:
                    said = {"weights": "imagenet"}
                outputs[key] = self._artifact(kind, folder, **said)
            made.update({(step, key): one for key, one in outputs.items()})
            inputs = {}
            if step == "Trainer" and parent is not None:
                inputs = {"base_model": parent}
            if step == "AtomicPusher":
                inputs = {"model": made[("Trainer", "model")]}
            if step == "SliceEvaluator" and baseline is not None:
                inputs = {"baseline_model": baseline}
            parameters = {}
            if step == "CTExampleGen":
                settings = json.dumps({"span": choice})
                fingerprint = when[-2:] * 32 + "of the key"
                parameters = {"data": data, "input_fingerprint": fingerprint, "settings": settings}
            how = state if last else STATES.COMPLETE
            how = STATES.CACHED if step in cached else how
            contexts = [*run, self._context("node", f"tiny.{step}")]
            self._execute(contexts, step, how, outputs, inputs, parameters)
            if last:
                break
        self.artifacts.update(made)
        return made

    def export(self, folder, fingerprint):
        """A SavedModel, by the files that tell one from another."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text("")
        (folder / "fingerprint.pb").write_text(fingerprint)

    def _next_execution(self):
        return max((one.id for one in self.store.get_executions()), default=0) + 1


EVERY_STEP = tuple(step for step in STEPS if step != "Baseline")


@pytest.fixture
def past(tmp_path):
    """`past.run(...)` adds a run to the folder `past.workdir.root`."""
    return Past(tmp_path / "work")


@pytest.fixture
def another_past(tmp_path):
    """Another folder."""
    return Past(tmp_path / "other")


@pytest.fixture(scope="session")
def predict():
    """`predict(seed, better=...)`: a model's answers for test slices."""
    return _predict


@pytest.fixture(scope="session")
def write_evaluation():
    """`write_evaluation(folder, predictions)`: what SliceEvaluator leaves."""
    return _write_evaluation


@pytest.fixture(scope="session")
def every_step():
    """Names of the steps that may come from the cache."""
    return EVERY_STEP


@pytest.fixture
def ctnet_main(monkeypatch, capfd):
    """`ctnet_main(argument, ...)`: the command line; gives exit code, output and errors."""

    def ask(*arguments):
        monkeypatch.setattr(sys, "argv", ["ctnet", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return ask
