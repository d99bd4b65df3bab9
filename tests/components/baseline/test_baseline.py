"""Which model a candidate is compared with, on real artifacts in a real metadata store."""

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2
from ml_metadata.proto.metadata_store_pb2 import Event, Execution, ExecutionType
from tfx.types import artifact_utils, standard_artifacts

from components.baseline.rollback_record import EXECUTION_TYPE, Rollback, as_execution
from components.baseline.strategy import CANDIDATE, MODEL, MODEL_BLESSING, LastOtherBlessedModel

_GONE = 999


class History:
    """Models and their blessings, in the order in which they were made."""

    def __init__(self, store):
        self.store = store

    def _saved(self, artifact):
        artifact.uri = "somewhere"
        types = self.store.put_artifact_type(artifact.artifact_type)
        artifact.mlmd_artifact.type_id = types
        (artifact.id,) = self.store.put_artifacts([artifact.mlmd_artifact])
        return artifact

    def train(self):
        return self._saved(standard_artifacts.Model())

    def push(self, model, pushed=True):
        """What the Pusher leaves, in an execution of its own."""
        left = standard_artifacts.PushedModel()
        left.set_int_custom_property("pushed", int(pushed))
        self._saved(left)
        type_id = self.store.put_execution_type(ExecutionType(name="AtomicPusher"))
        execution = Execution(type_id=type_id, last_known_state=Execution.COMPLETE)
        pairs = []
        for kind, key, artifact in (
            (Event.INPUT, "model", model),
            (Event.OUTPUT, "pushed_model", left),
        ):
            event = Event(type=kind, artifact_id=artifact.id)
            event.path.steps.add().key = key
            pairs.append((artifact.mlmd_artifact, event))
        self.store.put_execution(execution, pairs, [])

    def judge(self, model, blessed, pushed=None):
        """What the gate leaves, and the Pusher, which pushes what is blessed if not told else."""
        if model.id != _GONE:
            self.push(model, blessed if pushed is None else pushed)
        blessing = standard_artifacts.ModelBlessing()
        blessing.set_int_custom_property("blessed", int(blessed))
        blessing.set_int_custom_property("current_model_id", model.id)
        return self._saved(blessing)

    def roll_back(self, model, from_model, state=Execution.COMPLETE):
        type_id = self.store.put_execution_type(ExecutionType(name=EXECUTION_TYPE))
        rollback = Rollback(model.id, "3", from_model.id, "2", state)
        self.store.put_executions([as_execution(rollback, type_id)])
        if state == Execution.COMPLETE:
            self.judge(model, blessed=True, pushed=False)

    def _all(self, artifact_class):
        (stored_type,) = (
            one for one in self.store.get_artifact_types() if one.name == artifact_class.TYPE_NAME
        )
        found = []
        # The store promises no order.
        for one in reversed(self.store.get_artifacts_by_type(artifact_class.TYPE_NAME)):
            artifact = artifact_utils.deserialize_artifact(stored_type, one)
            found.append(artifact)
        return found

    def baseline(self, candidate):
        """The id of the baseline for a candidate, or None."""
        for artifact_class in (standard_artifacts.Model, standard_artifacts.ModelBlessing):
            self.store.put_artifact_type(artifact_class().artifact_type)
        resolved = LastOtherBlessedModel().resolve_artifacts(
            self.store,
            {
                CANDIDATE: [candidate],
                MODEL: self._all(standard_artifacts.Model),
                MODEL_BLESSING: self._all(standard_artifacts.ModelBlessing),
            },
        )
        assert [one.id for one in resolved[CANDIDATE]] == [candidate.id]
        assert len(resolved[MODEL]) == len(resolved[MODEL_BLESSING]) <= 1
        for model, blessing in zip(resolved[MODEL], resolved[MODEL_BLESSING], strict=True):
            assert blessing.get_int_custom_property("current_model_id") == model.id
            assert blessing.get_int_custom_property("blessed") == 1
        return resolved[MODEL][0].id if resolved[MODEL] else None


@pytest.fixture
def history():
    configuration = metadata_store_pb2.ConnectionConfig()
    configuration.fake_database.SetInParent()
    return History(ml_metadata.MetadataStore(configuration))


def test_the_first_candidate_has_no_baseline(history):
    assert history.baseline(history.train()) is None


def test_the_last_blessed_model_is_the_baseline(history):
    old, new = history.train(), history.train()
    history.judge(old, blessed=True)
    history.judge(new, blessed=True)
    assert history.baseline(history.train()) == new.id


def test_a_candidate_is_never_its_own_baseline(history):
    candidate = history.train()
    history.judge(candidate, blessed=True)
    assert history.baseline(candidate) is None


def test_a_repeated_run_finds_the_baseline_of_its_first_run(history):
    served, candidate = history.train(), history.train()
    history.judge(served, blessed=True)
    first = history.baseline(candidate)
    history.judge(candidate, blessed=True)
    assert history.baseline(candidate) == first == served.id


def test_models_that_were_not_blessed_are_passed_over(history):
    good, bad = history.train(), history.train()
    history.judge(good, blessed=True)
    history.judge(bad, blessed=False)
    assert history.baseline(history.train()) == good.id


def test_a_blessed_model_that_the_server_refused_is_passed_over(history):
    served, refused = history.train(), history.train()
    history.judge(served, blessed=True)
    history.judge(refused, blessed=True, pushed=False)
    assert history.baseline(history.train()) == served.id
    # Under another bound it is served after all.
    history.push(refused)
    assert history.baseline(history.train()) == refused.id


def test_models_that_were_never_judged_are_passed_over(history):
    good = history.train()
    history.judge(good, blessed=True)
    history.train()
    assert history.baseline(history.train()) == good.id


def test_it_is_the_order_of_blessing_that_counts_not_of_training(history):
    trained_first, trained_last = history.train(), history.train()
    history.judge(trained_last, blessed=True)
    history.judge(trained_first, blessed=True)
    assert history.baseline(history.train()) == trained_first.id


def test_an_old_candidate_meets_the_model_that_is_served_now(history):
    old, served = history.train(), history.train()
    history.judge(old, blessed=True)
    history.judge(served, blessed=True)
    assert history.baseline(old) == served.id


def test_a_blessing_whose_model_is_gone_is_passed_over(history):
    kept, gone = history.train(), standard_artifacts.Model()
    gone.id = _GONE
    history.judge(kept, blessed=True)
    history.judge(gone, blessed=True)
    assert history.baseline(history.train()) == kept.id


@pytest.fixture
def rolled_back(history):
    """Two blessed models, and a rollback to the first."""
    first, second = history.train(), history.train()
    history.judge(first, blessed=True)
    history.judge(second, blessed=True)
    history.roll_back(first, second)
    return first, second


def test_after_a_rollback_the_model_that_is_served_again_is_the_baseline(history, rolled_back):
    first, second = rolled_back
    assert history.baseline(history.train()) == first.id
    # Judged again, by other bounds, it is still not what is served.
    history.judge(second, blessed=True)
    assert history.baseline(history.train()) == first.id


def test_the_runs_around_a_rollback_have_the_baselines_of_their_first_time(history, rolled_back):
    first, second = rolled_back
    assert history.baseline(second) == first.id
    assert history.baseline(first) is None


def test_a_rollback_that_is_undone_changes_nothing(history, rolled_back):
    first, second = rolled_back
    history.roll_back(second, first)
    assert history.baseline(history.train()) == second.id


def test_a_rollback_that_did_not_come_to_its_end_counts_for_nothing(history):
    first, second = history.train(), history.train()
    history.judge(first, blessed=True)
    history.judge(second, blessed=True)
    history.roll_back(first, second, Execution.RUNNING)
    assert history.baseline(history.train()) == second.id
