"""One small cohort, one run of the whole pipeline on it, and a way to run the command line."""

import contextlib
import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import RawDataElement
from pydicom.pixels import apply_modality_lut
from pydicom.tag import BaseTag

from transform.phantom import write_cohort
from transform.reading import dicom_tags

# The architecture is not the point here, and neither is being right.
TINY = """
name: tiny
transform: {image_size: 32}
model: {backbone: tiny, weights: none, batch_norm_momentum: 0.8}
train: {epochs: 2, head_epochs: 1, early_stopping: 0, augmentation: {flip: true, rotation: 5}}
gate: {min_sensitivity: 0.0, min_specificity: 0.0}
"""


@dataclasses.dataclass
class Done:
    """A finished command."""

    code: int
    out: str
    err: str


def run_ctnet(*arguments, environment=None):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def ctnet():
    """The command line, in a process of its own, as a user runs it."""
    return run_ctnet


@pytest.fixture(scope="session")
def serving():
    """`ctnet serve` in a process of its own; gives the address, and stops it on leaving."""

    @contextlib.contextmanager
    def start(model_dir):
        server = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "serve", model_dir, "--port=0", "--no-rest"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()
            assert server.wait(60) == 0

    return start


@dataclasses.dataclass
class Run:
    """A finished `ctnet run`."""

    done: Done
    workdir: Path
    manifest: Path

    @property
    def summary(self):
        return json.loads((self.workdir / "summary.json").read_text())

    def predictions(self):
        """What the Evaluator noted of every test slice."""
        (file,) = self.artifact("SliceEvaluator", "evaluation").glob("predictions-*.jsonl")
        return [json.loads(line) for line in file.read_text().splitlines()]

    def artifact(self, step, key):
        """The newest artifact folder of a step."""
        return max((self.workdir / "pipeline" / step / key).iterdir(), key=lambda p: int(p.name))


def as_png_under_window(dicom: Path, png: Path) -> None:
    hounsfield = apply_modality_lut(pydicom.dcmread(dicom).pixel_array, pydicom.dcmread(dicom))
    grey = np.clip((hounsfield + 1000.0) / 1400.0, 0.0, 1.0) * 255.0
    Image.fromarray(np.round(grey).astype(np.uint8)).save(png)


SECRET = "JANEDOE1965"
TEXT_VRS = (
    "AE",
    "AS",
    "CS",
    "DA",
    "DS",
    "DT",
    "IS",
    "LO",
    "LT",
    "PN",
    "SH",
    "ST",
    "TM",
    "UC",
    "UT",
)


def plant_secrets(path: Path) -> None:
    """Write a name into every text element of a DICOM file that reading it does not need."""
    dataset = pydicom.dcmread(path)
    text = SECRET.encode() + b" "
    for number, (vr, *_) in DicomDictionary.items():
        tag = BaseTag(number)
        if vr in TEXT_VRS and number not in dicom_tags.DATA_SET and 0x0008 <= tag.group < 0x7FE0:
            dataset._dict[tag] = RawDataElement(tag, vr, len(text), text, 0, False, True)
    dataset.PatientID = SECRET
    dataset.save_as(path)


@pytest.fixture(scope="session")
def secret():
    """What stands in every text element of the cohort's DICOM files."""
    return SECRET


@pytest.fixture(scope="session")
def mixed_manifest(tmp_path_factory):
    """DICOM and PNG slices of 48 synthetic patients, and rows that cannot be used."""
    folder = tmp_path_factory.mktemp("cohort")
    manifest = write_cohort(folder, patients=48, slices=2, seed=3, severity="severe", size=64)
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        if number % 3 == 0:
            png = row["path"].replace(".dcm", ".png")
            as_png_under_window(folder / row["path"], folder / png)
            row["path"] = png
        else:
            plant_secrets(folder / row["path"])
    odd = pydicom.dcmread(folder / rows[1]["path"])
    odd._dict[BaseTag(0x00080060)] = RawDataElement(
        BaseTag(0x00080060), "CS", 12, b"JANEDOE1965 ", 0, False, True
    )
    odd.save_as(folder / "odd.dcm")
    rows.append({**rows[1], "path": "odd.dcm"})
    (folder / "broken.dcm").write_bytes((folder / rows[1]["path"]).read_bytes()[:2000])
    rows.append({**rows[1], "path": "broken.dcm"})
    rows.append({**rows[1], "path": "missing.dcm"})
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return manifest


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def run_pipeline(tiny_config):
    """`ctnet run` with the tiny configuration."""

    def run(manifest, workdir, *arguments, environment=None):
        done = run_ctnet(
            *("run", "--config", tiny_config, "--data", manifest, "--workdir", workdir),
            *arguments,
            environment=environment,
        )
        return Run(done, workdir, manifest)

    return run


@pytest.fixture(scope="session")
def temporary_folder(tmp_path_factory):
    """What the first run has for its temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="session")
def first_run(run_pipeline, mixed_manifest, tmp_path_factory, temporary_folder):
    folder = tmp_path_factory.mktemp("run")
    return run_pipeline(mixed_manifest, folder, environment={"TMPDIR": str(temporary_folder)})
