"""A folder of tiny pictures with a manifest, and CTExampleGen's real executor on real Beam."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tfx.v1  # noqa: F401 TFX before what stands on it
from PIL import Image
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts

from components.ct_example_gen.executor import Executor
from components.ct_example_gen.quarantine import Quarantine, read_quarantine
from transform.ct_example import SPLITS

SETTINGS = {
    "window": [-1000.0, 400.0],
    "root": None,
    "on_leak": "stop",
    "max_quarantined": 1.0,
    "split": {"by": "patient", "train": 0.5, "eval": 0.25, "test": 0.25},
}


def tiny_png():
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(buffer, "PNG")
    return buffer.getvalue()


class Study:
    """Pictures and a manifest in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = folder / "manifest.csv"
        folder.mkdir(parents=True, exist_ok=True)

    def picture(self, name):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny_png())
        return path

    def write(self, rows, pictures=True):
        """Write the manifest of `rows` (dicts), and a picture for each path unless told not to."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with self.manifest.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        if pictures:
            for row in rows:
                self.picture(row["path"])
        return self.manifest


@dataclasses.dataclass
class Ingested:
    """What a run left behind.

    Attributes:
      records: serialised CT examples by split, in the order of the files.
      quarantined: of the artifact.
      examples: the Examples artifact.
    """

    records: dict
    quarantined: list
    examples: standard_artifacts.Examples

    def features(self):
        """Features of every example by image id, and `split`."""
        found = {}
        for split, records in self.records.items():
            for record in records:
                example = tf.train.Example.FromString(record)
                values = {"split": split}
                for name, feature in example.features.feature.items():
                    (value,) = getattr(feature, feature.WhichOneof("kind")).value
                    values[name] = value
                image_id = values["image/id"].decode()
                assert image_id not in found
                found[image_id] = values
        return found

    def splits_of_patients(self):
        splits = {}
        for values in self.features().values():
            splits.setdefault(values["patient_id"].decode(), set()).add(values["split"])
        return splits

    def reasons(self):
        """Reason by image id, for ids that are quarantined once."""
        return {one.id: one.reason for one in self.quarantined}


def run_executor(manifest, output, *, quarantine_copy=None, **settings):
    examples, quarantined = standard_artifacts.Examples(), Quarantine()
    examples.uri, quarantined.uri = str(output / "examples"), str(output / "quarantine")
    context = base_beam_executor.BaseBeamExecutor.Context(
        # Given as beam_pipeline_args, TFX would first pack itself for remote workers, for a second.
        make_beam_pipeline_fn=lambda: beam.Pipeline(
            argv=["--runner=FnApiRunner", "--direct_num_workers=1"]
        ),
        tmp_dir=str(output / "tmp"),
        unique_id="t",
    )
    Executor(context).Do(
        {},
        {"examples": [examples], "quarantine": [quarantined]},
        {
            "manifest": str(manifest),
            "input_fingerprint": "",
            "code_version": "",
            "settings": json.dumps({**SETTINGS, **settings}),
            "quarantine_copy": quarantine_copy,
        },
    )
    records = {}
    for split in SPLITS:
        shards = sorted((output / "examples" / f"Split-{split}").glob("*"))
        data = tf.data.TFRecordDataset([str(shard) for shard in shards], "GZIP")
        records[split] = [record.numpy() for record in data]
    return Ingested(records, list(read_quarantine(Path(quarantined.uri))), examples)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path / "study")


@pytest.fixture(scope="session")
def make_study():
    return Study


@pytest.fixture(scope="session")
def run_ct_example_gen():
    """`(manifest, output folder, **settings) -> Ingested`, through the real executor."""
    return run_executor


@pytest.fixture
def ingest(tmp_path):
    """`(manifest, **settings) -> Ingested` into a fresh folder."""
    runs = iter(range(1000))

    def run(manifest, **settings):
        return run_executor(manifest, tmp_path / f"output-{next(runs)}", **settings)

    return run


def rows_of_both_classes(patients_a_class=1):
    """Two slices a patient, patients of both classes in every split."""
    return [
        {
            "path": f"{split}-{label}-{patient}-{number}.png",
            "label": str(label),
            "patient_id": f"{split}-{label}-{patient}",
            "split": split,
        }
        for split in SPLITS
        for label in (0, 1)
        for patient in range(patients_a_class)
        for number in range(2)
    ]


@pytest.fixture
def sound_rows():
    return rows_of_both_classes()


@pytest.fixture(scope="session")
def make_sound_rows():
    return rows_of_both_classes
