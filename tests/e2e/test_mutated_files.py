"""Two thousand damaged files: none crashes, hangs or swells the ingestion, and none is lost."""

import csv
import io
import json
import random
import subprocess
import sys
import warnings

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from transform.phantom import draw_patient, render_slice

pytestmark = pytest.mark.e2e

FILES = 2000
SIZE = 64
TWO_GIB = 2 * 2**20  # of getrusage's KiB
HEADER = 400


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_written(dataset):
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def dicom_files(hounsfield):
    shipped = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    shipped.Rows = shipped.Columns = SIZE
    shipped.PixelData = hounsfield.astype("<i2").tobytes()
    shipped.RescaleIntercept = 0
    yield as_written(shipped)
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        compressed = pydicom.dcmread(io.BytesIO(as_written(shipped)))
        compressed.compress(syntax)
        yield as_written(compressed)
    shipped.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    yield as_written(shipped)
    yield with_frames(hounsfield)
    for name in ("JPEG-LL.dcm", "emri_small.dcm", "eCT_Supplemental.dcm"):
        path = get_testdata_file(name, download=False)
        if path:
            with open(path, "rb") as file:
                yield file.read()


def with_frames(hounsfield):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.Rows = dataset.Columns = SIZE
    dataset.RescaleIntercept = 0
    dataset.NumberOfFrames = 3
    dataset.PixelData = np.stack([hounsfield] * 3).astype("<i2").tobytes()
    return as_written(dataset)


def volumes(hounsfield, folder):
    volume = np.stack([hounsfield] * 4, axis=-1).astype(np.int16)
    for name in ("volume.nii", "volume.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.0, 1.0, 5.0, 1.0])), folder / name)
        yield (folder / name).read_bytes()


def pictures(hounsfield):
    grey = np.clip((hounsfield + 1000.0) / 1400.0 * 255.0, 0, 255).astype(np.uint8)
    image = Image.fromarray(grey)
    yield encoded(image, "PNG")
    yield encoded(image.convert("RGB"), "PNG")
    yield encoded(image.convert("P"), "PNG")
    yield encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")
    yield encoded(image, "JPEG", quality=80)
    yield encoded(image.convert("RGB"), "JPEG", quality=80, progressive=True)


def mutate(generator, whole, other):
    """Bytes flipped, in the header or anywhere; cut; or the head of another file put on it."""
    kind = generator.choice(("anywhere", "header", "cut", "swap"))
    if kind == "cut":
        return whole[: generator.randrange(len(whole))]
    if kind == "swap":
        at = generator.randrange(HEADER)
        return other[:at] + whole[at:]
    damaged = bytearray(whole)
    last = len(damaged) if kind == "anywhere" else min(HEADER, len(damaged))
    for _ in range(generator.randint(1, 8)):
        damaged[generator.randrange(last)] = generator.randrange(256)
    return bytes(damaged)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A manifest of FILES mutated files."""
    folder = tmp_path_factory.mktemp("damaged")
    hounsfield = render_slice(draw_patient(3, 0, "severe"), 3, 8, SIZE).hu
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = [*dicom_files(hounsfield), *volumes(hounsfield, folder), *pictures(hounsfield)]
    generator = random.Random(20201122)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "patient_id"))
        for number in range(FILES):
            name = f"{number:04d}"
            content = mutate(generator, generator.choice(whole), generator.choice(whole))
            (folder / name).write_bytes(content)
            writer.writerow((name, number % 2, f"p{number}"))
    return folder / "manifest.csv"


# A process begins with the peak of the one that started it, and that of pytest may be gigabytes:
# a small one stands in between.
MEASURE = """
import pathlib, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
pathlib.Path(sys.argv[1]).write_text(str(peak))
sys.exit(code)
"""


def test_two_thousand_mutated_files_run_through(damaged, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-c", MEASURE, tmp_path / "peak"),
            *(sys.executable, "-m", "pipeline.cli", "inspect", damaged),
            *("--out", tmp_path / "out", "--json", "--set", "ingest.on_conflict=keep"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int((tmp_path / "peak").read_text()) < TWO_GIB
    found = json.loads(done.stdout)
    listed = {one["path"] for one in (*found["accepted"], *found["quarantined"])}
    assert listed == {f"{number:04d}" for number in range(FILES)}
    ids = [one["id"] for one in (*found["accepted"], *found["quarantined"])]
    assert len(ids) == len(set(ids))
    # Neither all nor nothing is read: the mutations bite, and do not bite everywhere.
    assert len(found["accepted"]) > 100
    assert len(found["quarantined"]) > 500
    assert not [one for one in found["quarantined"] if not one["detail"].strip()]
