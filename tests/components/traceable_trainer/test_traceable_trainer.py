"""What a trained model says of its origin, through real steps and a real metadata store."""

import dataclasses
import importlib.metadata
import platform
from pathlib import Path

import pytest
import tfx.v1 as tfx
from ml_metadata.proto.metadata_store_pb2 import Execution, ExecutionType
from tfx.types import standard_artifacts
from tfx.utils import json_utils

from components.baseline.rollback_record import EXECUTION_TYPE, Rollback, as_execution
from components.baseline.strategy import MODEL, MODEL_BLESSING
from components.traceable_trainer.component import TraceableTrainer
from components.traceable_trainer.origin import origin
from components.traceable_trainer.parent_strategy import EXAMPLES, LastBlessedParent
from pipeline.run_folder.outputs import StepOutputs, open_store, read_start
from pipeline.run_folder.workdir import Workdir
from pipeline.runners.local_runner import Listener, run_pipeline

CONFIG = {"seed": 7, "code_version": "c0de", "data_fingerprint": "da7a", "weights": "none"}


def run_fn(fn_args):
    """Trains nothing."""
    Path(fn_args.serving_model_dir).mkdir(parents=True)
    (Path(fn_args.serving_model_dir) / "parent").write_text(str(fn_args.base_model))


@tfx.dsl.components.component
def Judge(  # noqa: N802 the class that TFX makes of it
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    blessing: tfx.dsl.components.OutputArtifact[standard_artifacts.ModelBlessing],
    pushed_model: tfx.dsl.components.OutputArtifact[standard_artifacts.PushedModel],
    blessed: tfx.dsl.components.Parameter[int],
    pushed: tfx.dsl.components.Parameter[int],
):
    """Bless and push as told, as the Evaluator and the Pusher mark what they put out."""
    pushed_model.set_int_custom_property("pushed", pushed)
    blessing.set_int_custom_property("blessed", blessed)
    blessing.set_int_custom_property("current_model_id", model.id)


@dataclasses.dataclass
class Trained:
    """One run.

    Attributes:
      model: the artifact.
      cached: whether training came from the cache.
      started_from: what the summary will say.
    """

    model: object
    cached: bool
    started_from: str

    @property
    def properties(self):
        return {
            name: value.string_value or value.int_value
            for name, value in self.model.custom_properties.items()
        }

    @property
    def parent(self):
        """What run_fn was given."""
        return (Path(self.model.uri) / "Format-Serving" / "parent").read_text()


@dataclasses.dataclass
class Workshop:
    """A workdir in which pipelines of one name run."""

    workdir: Workdir

    def run(self, *, data="a", blessed=True, refused=False, warm=True, killed=False, **changes):
        for split in ("train", "eval"):
            (self.workdir.root / "data" / data / f"Split-{split}").mkdir(
                parents=True, exist_ok=True
            )
        config = {**CONFIG, **changes}
        examples = tfx.dsl.Importer(
            source_uri=str(self.workdir.root / "data" / data),
            artifact_type=standard_artifacts.Examples,
            properties={"split_names": '["train", "eval"]'},
        ).with_id("Examples")
        nodes = [examples]
        base_model = None
        if warm:
            parent = tfx.dsl.Resolver(
                strategy_class=LastBlessedParent,
                config={"custom_config": json_utils.dumps(config)},
                **{
                    EXAMPLES: examples.outputs["result"],
                    MODEL: tfx.dsl.Channel(type=standard_artifacts.Model),
                    MODEL_BLESSING: tfx.dsl.Channel(type=standard_artifacts.ModelBlessing),
                },
            ).with_id("Parent")
            nodes.append(parent)
            base_model = parent.outputs[MODEL]
        trainer = TraceableTrainer(
            run_fn=f"{__name__}.run_fn",
            examples=examples.outputs["result"],
            base_model=base_model,
            custom_config=config,
        ).with_id("Trainer")
        nodes.append(trainer)
        if not killed:
            pushed = int(blessed and not refused)
            nodes.append(Judge(model=trainer.outputs["model"], blessed=int(blessed), pushed=pushed))
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="workshop",
            pipeline_root=str(self.workdir.artifacts),
            components=nodes,
            enable_cache=True,
            metadata_connection_config=(
                tfx.orchestration.metadata.sqlite_metadata_connection_config(
                    str(self.workdir.metadata)
                )
            ),
        )
        cached = {}

        def ended(step):
            cached[step.name] = step.cached

        executions = run_pipeline(pipeline, Listener(lambda *_: None, ended))
        outputs = StepOutputs(open_store(self.workdir), executions)
        return Trained(outputs.artifact("Trainer", "model"), cached["Trainer"], read_start(outputs))


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Workdir(tmp_path))


def test_the_model_says_what_it_was_made_from(workshop):
    properties = workshop.run(warm=False).properties
    assert properties["seed"] == 7
    assert properties["code_version"] == "c0de"
    assert properties["data_fingerprint"] == "da7a"
    assert properties["weights"] == "none"
    assert properties["python"] == platform.python_version()
    for package in ("tensorflow", "tf-keras", "tfx", "tensorflow-transform", "numpy"):
        assert properties[package] == importlib.metadata.version(package)
    assert "parent_uri" not in properties


def test_data_that_was_not_known_beforehand_has_no_fingerprint():
    assert "data_fingerprint" in origin(CONFIG, parent=None)
    assert "data_fingerprint" not in origin({**CONFIG, "data_fingerprint": ""}, parent=None)


@pytest.mark.slow
def test_the_model_says_which_model_training_began_with(workshop):
    first = workshop.run(data="a")
    assert first.parent == "None"
    assert first.started_from == "none"
    second = workshop.run(data="b")
    assert second.properties["parent_uri"] == first.model.uri
    assert second.properties["parent_id"] == first.model.id
    assert second.started_from == first.model.uri
    assert second.parent == f"{first.model.uri}/Format-Serving"
    assert "weights" not in second.properties


@pytest.mark.slow
def test_a_repeated_run_comes_from_the_cache_though_its_model_was_blessed(workshop):
    first = workshop.run(data="a")
    second = workshop.run(data="b")
    for _ in range(2):
        again = workshop.run(data="b")
        assert again.cached
        assert again.model.id == second.model.id
        assert again.started_from == first.model.uri


@pytest.mark.slow
def test_the_first_run_of_all_is_repeated_from_the_cache_too(workshop):
    first = workshop.run()
    again = workshop.run()
    assert again.cached
    assert again.model.id == first.model.id
    assert again.started_from == "none"


@pytest.mark.slow
def test_going_back_to_earlier_data_finds_the_model_that_was_made_of_it(workshop):
    first = workshop.run(data="a")
    workshop.run(data="b")
    back = workshop.run(data="a")
    assert back.cached
    assert back.model.id == first.model.id


@pytest.mark.slow
def test_the_same_data_under_another_configuration_is_another_training(workshop):
    first = workshop.run(seed=7)
    second = workshop.run(seed=8)
    assert second.started_from == first.model.uri
    assert workshop.run(seed=8).cached


@pytest.mark.slow
def test_models_that_were_not_blessed_or_refused_by_the_server_are_no_parents(workshop):
    good = workshop.run(data="a")
    workshop.run(data="b", blessed=False)
    workshop.run(data="c", killed=True)
    refused = workshop.run(data="d", refused=True)
    assert workshop.run(data="e").started_from == good.model.uri
    again = workshop.run(data="d", refused=True)
    assert again.cached
    assert again.model.id == refused.model.id


@pytest.mark.slow
def test_a_model_that_was_rolled_back_from_is_no_parent_of_a_new_training(workshop):
    first = workshop.run(data="a")
    second = workshop.run(data="b")
    third = workshop.run(data="c")
    store = open_store(workshop.workdir)
    type_id = store.put_execution_type(ExecutionType(name=EXECUTION_TYPE))
    for model in (third, second):
        rollback = Rollback(first.model.id, "4", model.model.id, "3", Execution.COMPLETE)
        store.put_executions([as_execution(rollback, type_id)])
    assert workshop.run(data="d").started_from == first.model.uri
    # What was trained before keeps the parent that it had.
    assert workshop.run(data="c").cached


@pytest.mark.slow
def test_a_run_that_was_killed_after_training_goes_on_with_what_it_trained(workshop):
    first = workshop.run(data="a")
    killed = workshop.run(data="b", killed=True)
    again = workshop.run(data="b")
    assert again.cached
    assert again.model.id == killed.model.id
    assert again.started_from == first.model.uri


@pytest.mark.slow
def test_without_a_warm_start_history_changes_nothing(workshop):
    workshop.run(data="a", warm=False)
    workshop.run(data="b", warm=False)
    again = workshop.run(data="a", warm=False)
    assert again.cached
    assert again.started_from == "none"
