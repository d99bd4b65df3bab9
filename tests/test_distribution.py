"""What Beam ships to remote workers with --setup_file."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "components", "trainer", "transform", "serving", "configs")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    # As apache_beam.runners.portability.stager calls it; egg-info stays out of the checkout.
    commands = ["egg_info", "--egg-base", folder, "sdist", "--dist-dir", folder]
    subprocess.run(
        [sys.executable, "setup.py", "-q", *commands],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (archive,) = folder.glob("ctnet-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return next(path for path in folder.glob("ctnet-*") if path.is_dir())


def test_the_sdist_holds_every_source_file_and_its_data(unpacked):
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*"):
            if file.suffix in (".py", ".pbtxt", ".yaml", ".j2"):
                assert (unpacked / file.relative_to(ROOT)).exists(), file


@pytest.mark.slow
def test_a_worker_can_import_what_the_sdist_holds(unpacked):
    code = (
        "import components.ct_example_gen.ingestion as module, transform.preprocessing, "
        "trainer.model, serving.client, pipeline.config; print(module.__file__)"
    )
    # PYTHONPATH comes before the editable install of this checkout.
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=unpacked.parent,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(str(unpacked))
