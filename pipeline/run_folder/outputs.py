"""What the steps of a run left: their artifacts, read through ML Metadata."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from components.atomic_pusher.executor import publish_unless_newest
from components.ct_example_gen.outcome import IngestOutcome, read_outcome
from components.traceable_trainer import origin
from pipeline.run_folder.workdir import Workdir
from transform.ct_example import SPLITS

_OUTPUT_EVENTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)


def open_store(workdir: Workdir) -> MetadataStore:
    """The ML Metadata store of a run's folder."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(workdir.metadata)
    return MetadataStore(connection)


@dataclasses.dataclass(frozen=True)
class StepOutputs:
    """The artifacts of one run.

    Attributes:
      store: the metadata.
      executions: execution ids by step.
    """

    store: MetadataStore
    executions: dict[str, int]

    def artifact(self, step: str, key: str) -> metadata_store_pb2.Artifact:
        """The artifact that a step put out under a key."""
        events = self.store.get_events_by_execution_ids([self.executions[step]])
        ids = [
            event.artifact_id
            for event in events
            if event.type in _OUTPUT_EVENTS and event.path.steps[0].key == key
        ]
        (artifact,) = self.store.get_artifacts_by_id(ids[-1:])
        return artifact

    def folder(self, step: str, key: str) -> Path:
        """The folder of such an artifact."""
        return Path(self.artifact(step, key).uri)


@dataclasses.dataclass(frozen=True)
class PushedVersion:
    """A model in the serving folder.

    Attributes:
      folder: the version's.
      version: its number.
      again: whether that is not the number that it was pushed under first, which is the one that
        the run's artifacts and the report among them know.
    """

    folder: Path
    version: str
    again: bool


def read_start(outputs: StepOutputs) -> str:
    """What the run's training began with: the parent model's artifact, or backbone weights."""
    properties = outputs.artifact("Trainer", "model").custom_properties
    name = origin.PARENT_URI if origin.PARENT_URI in properties else origin.WEIGHTS
    return properties[name].string_value


def read_ingest_outcome(outputs: StepOutputs) -> IngestOutcome:
    """What came of the run's manifest."""
    return read_outcome(outputs.folder("CTExampleGen", "quarantine"))


def count_examples(outcome: IngestOutcome) -> dict[str, dict[str, int]]:
    """Slices by split and class."""
    return {
        split: {
            "positive": outcome.accepted[split]["1"],
            "negative": outcome.accepted[split]["0"],
        }
        for split in SPLITS
    }


def find_pushed(outputs: StepOutputs, workdir: Workdir) -> PushedVersion | None:
    """The version that the run pushed, None where it did not.

    A cached run pushes nothing anew. A model that was rolled back from stays unpushed: the Pusher
    said so, see `components.atomic_pusher`. Where another version has become the newest since, or
    its own is gone, the model is pushed again as the newest, from the archive that the Pusher
    keeps: what a run calls pushed is what a server takes up.
    """
    artifact = outputs.artifact("AtomicPusher", "pushed_model")
    properties = artifact.custom_properties
    if properties["pushed"].int_value != 1:
        return None
    version = publish_unless_newest(artifact.uri, str(workdir.serving))
    first = properties["pushed_version"].string_value
    return PushedVersion(workdir.serving / version, version, again=version != first)
