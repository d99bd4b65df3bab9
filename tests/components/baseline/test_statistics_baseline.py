"""Which statistics a run's are compared with, on real artifacts in a real metadata store."""

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2
from ml_metadata.proto.metadata_store_pb2 import Execution
from tfx.types import artifact_utils, standard_artifacts

from components.baseline.rollback_record import EXECUTION_TYPE, Rollback, as_execution
from components.baseline.statistics_strategy import (
    ANOMALIES,
    CANDIDATE,
    STATISTICS,
    LastOtherAcceptedStatistics,
)
from components.slice_validator.executor import STATISTICS_ID

DECLARED = metadata_store_pb2.Event.DECLARED_OUTPUT
OUTPUT = metadata_store_pb2.Event.OUTPUT


class History:
    """Statistics and their validations, in the order in which they were made."""

    def __init__(self, store):
        self.store = store
        self.execution_type = store.put_execution_type(
            metadata_store_pb2.ExecutionType(name="SliceValidator")
        )
        for one in (standard_artifacts.ExampleStatistics, standard_artifacts.ExampleAnomalies):
            store.put_artifact_type(one().artifact_type)

    def _saved(self, artifact):
        artifact.uri = "somewhere"
        artifact.mlmd_artifact.type_id = self.store.put_artifact_type(artifact.artifact_type)
        (artifact.id,) = self.store.put_artifacts([artifact.mlmd_artifact])
        return artifact

    def statistics(self):
        return self._saved(standard_artifacts.ExampleStatistics())

    def _put_out(self, anomalies, kind):
        (execution,) = self.store.put_executions(
            [metadata_store_pb2.Execution(type_id=self.execution_type)]
        )
        self.store.put_events(
            [metadata_store_pb2.Event(artifact_id=anomalies.id, execution_id=execution, type=kind)]
        )

    def accept(self, statistics):
        anomalies = standard_artifacts.ExampleAnomalies()
        anomalies.set_int_custom_property(STATISTICS_ID, statistics.id)
        self._saved(anomalies)
        self._put_out(anomalies, OUTPUT)
        return anomalies

    def run(self, statistics, *, model=None):
        """A run that accepts statistics and pushes a model that it trains, or that is given."""
        self.accept(statistics)
        model = model or self._saved(standard_artifacts.Model())
        pushed = standard_artifacts.PushedModel()
        pushed.set_int_custom_property("pushed", 1)
        self._saved(pushed)
        kind = self.store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run"))
        context = metadata_store_pb2.Context(type_id=kind, name=f"run {pushed.id}")
        for outputs, inputs in (
            ({"statistics": statistics}, {}),
            ({"model": model}, {}),
            ({"pushed_model": pushed}, {"model": model}),
        ):
            pairs = []
            for how, artifacts in (
                (OUTPUT, outputs),
                (metadata_store_pb2.Event.INPUT, inputs),
            ):
                for key, artifact in artifacts.items():
                    event = metadata_store_pb2.Event(type=how, artifact_id=artifact.id)
                    event.path.steps.add().key = key
                    pairs.append((artifact.mlmd_artifact, event))
            execution = Execution(type_id=self.execution_type, last_known_state=Execution.COMPLETE)
            _, _, (context_id,) = self.store.put_execution(
                execution, pairs, [context], reuse_context_if_already_exist=True
            )
            context.id = context_id
        return model

    def roll_back(self, model, from_model):
        type_id = self.store.put_execution_type(
            metadata_store_pb2.ExecutionType(name=EXECUTION_TYPE)
        )
        rollback = Rollback(model.id, "3", from_model.id, "2", Execution.COMPLETE)
        self.store.put_executions([as_execution(rollback, type_id)])

    def accept_from_cache(self, anomalies):
        self._put_out(anomalies, DECLARED)

    def _all(self, artifact_class):
        stored_type = self.store.get_artifact_type(artifact_class.TYPE_NAME)
        return [
            artifact_utils.deserialize_artifact(stored_type, one)
            for one in reversed(self.store.get_artifacts_by_type(artifact_class.TYPE_NAME))
        ]

    def baseline(self, candidate):
        resolved = LastOtherAcceptedStatistics().resolve_artifacts(
            self.store,
            {
                CANDIDATE: [candidate],
                STATISTICS: self._all(standard_artifacts.ExampleStatistics),
                ANOMALIES: self._all(standard_artifacts.ExampleAnomalies),
            },
        )
        assert [one.id for one in resolved[CANDIDATE]] == [candidate.id]
        return resolved[STATISTICS][0].id if resolved[STATISTICS] else None


@pytest.fixture
def history():
    configuration = metadata_store_pb2.ConnectionConfig()
    configuration.fake_database.SetInParent()
    return History(ml_metadata.MetadataStore(configuration))


def test_the_first_run_has_nothing_to_be_compared_with(history):
    assert history.baseline(history.statistics()) is None


def test_the_run_that_was_accepted_last_is_the_baseline(history):
    first, second = history.statistics(), history.statistics()
    history.accept(first)
    history.accept(second)
    assert history.baseline(history.statistics()) == second.id


def test_a_repeated_run_finds_the_baseline_of_its_first_run(history):
    before, candidate = history.statistics(), history.statistics()
    history.accept(before)
    first = history.baseline(candidate)
    history.accept(candidate)
    assert history.baseline(candidate) == first == before.id


def test_a_run_whose_data_broke_the_schema_is_passed_over(history):
    accepted = history.statistics()
    history.accept(accepted)
    history.statistics()
    assert history.baseline(history.statistics()) == accepted.id


def test_a_run_that_came_from_the_cache_is_the_last_one_all_the_same(history):
    first, second = history.statistics(), history.statistics()
    of_first = history.accept(first)
    history.accept(second)
    history.accept_from_cache(of_first)
    assert history.baseline(history.statistics()) == first.id


def test_statistics_that_are_gone_are_passed_over(history):
    kept, gone = history.statistics(), standard_artifacts.ExampleStatistics()
    gone.id = 999
    history.accept(kept)
    history.accept(gone)
    assert history.baseline(history.statistics()) == kept.id


def test_data_whose_model_was_rolled_back_from_is_no_measure_of_drift(history):
    good, bad = history.statistics(), history.statistics()
    first, second = history.run(good), history.run(bad)
    assert history.baseline(history.statistics()) == bad.id
    history.roll_back(first, second)
    assert history.baseline(history.statistics()) == good.id
    # A repeated run of either has the baseline of its first time.
    assert history.baseline(bad) == good.id
    assert history.baseline(good) is None
    history.roll_back(second, first)
    assert history.baseline(history.statistics()) == bad.id


def test_data_of_which_another_model_stands_is_one_though_the_first_was_rolled_back_from(history):
    before, data = history.statistics(), history.statistics()
    first, bad = history.run(before), history.run(data)
    history.roll_back(first, bad)
    history.run(data)
    assert history.baseline(history.statistics()) == data.id
