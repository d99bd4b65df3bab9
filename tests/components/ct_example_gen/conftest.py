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

from components.ct_example_gen import ingestion as job
from components.ct_example_gen.executor import Executor
from components.ct_example_gen.findings import ACCEPTED_FILE, read_duplicates, read_leaks
from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.quarantine import Quarantine, read_quarantine
from components.ct_example_gen.settings import IngestSettings, SplitBy
from components.ct_example_gen.spans import ManifestFile
from components.ct_example_gen.splitting import SplitShares
from transform.ct_example import SPLITS

SETTINGS = IngestSettings(
    window=(-1000.0, 400.0),
    split=SplitShares(by="patient", train=0.5, eval=0.25, test=0.25),
    max_quarantined=1.0,
)


def tiny_png(name):
    """A small picture like no other: no two names give near-identical ones."""
    pixels = np.random.default_rng(list(name.encode())).integers(0, 256, (18, 20))
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
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
        path.write_bytes(tiny_png(name))
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
      duplicates: groups of near-identical slices.
      leaks: groups in two splits.
      examples: the Examples artifact.
    """

    records: dict
    quarantined: list
    duplicates: list
    leaks: list
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


def run_executor(data, output, *, findings_copy=None, **settings):
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
            "data": str(data),
            "input_fingerprint": "",
            "code_version": "",
            "settings": dataclasses.replace(SETTINGS, **settings).to_json(),
            "findings_copy": findings_copy,
        },
    )
    records = {}
    for split in SPLITS:
        shards = sorted((output / "examples" / f"Split-{split}").glob("*"))
        data = tf.data.TFRecordDataset([str(shard) for shard in shards], "GZIP")
        records[split] = [record.numpy() for record in data]
    found = Path(quarantined.uri)
    return Ingested(
        records,
        list(read_quarantine(found)),
        list(read_duplicates(found)),
        list(read_leaks(found)),
        examples,
    )


def read_and_group(manifest, output, **settings):
    """The Beam job alone, without examples and without a verdict: accepted rows and reasons."""
    manifests = [ManifestFile(manifest)]
    facts = survey_manifests(manifests)
    split_by = SplitBy.MANIFEST if facts.rows_with_split else SplitBy.HASH
    output.mkdir()
    with beam.Pipeline(argv=["--runner=FnApiRunner", "--direct_num_workers=1"]) as pipeline:
        job.ingest(
            pipeline,
            dataclasses.replace(SETTINGS, **settings),
            job.IngestInput(manifests, job.count_shards(facts), split_by),
            key_reference=None,
            findings_uri=str(output),
            temporary_uri=str(output / "temporary"),
            examples_uri=None,
        )
    lines = (output / ACCEPTED_FILE).read_text().splitlines()
    accepted = {row["id"]: row for row in map(json.loads, lines)}
    return accepted, {one.id: one.reason for one in read_quarantine(output)}


@pytest.fixture
def judge(tmp_path):
    """`(manifest, **settings) -> (accepted rows by id, reasons by id)`, without a verdict."""
    runs = iter(range(1000))

    def run(manifest, **settings):
        return read_and_group(manifest, tmp_path / f"judged-{next(runs)}", **settings)

    return run


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
