"""What a user sees of data before training, and of requests after it, through the command line."""

import csv
import json
import shutil

import pydicom
import pytest
from pydicom.pixels import apply_modality_lut

from transform.phantom import write_cohort

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def inspected(ctnet, mixed_manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("inspection")
    done = ctnet("inspect", mixed_manifest, "--out", out, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out), out


def test_an_inspection_lists_every_slice_once(inspected, mixed_manifest):
    found, _ = inspected
    with mixed_manifest.open() as file:
        rows = [row["path"] for row in csv.DictReader(file)]
    listed = [one["id"] for one in (*found["accepted"], *found["quarantined"])]
    assert sorted(listed) == sorted(rows)
    reasons = {one["path"]: one["reason"] for one in found["quarantined"]}
    assert reasons == {
        "broken.dcm": "unreadable",
        "missing.dcm": "missing_file",
        "odd.dcm": "not_ct",
    }
    assert found["duplicates"] == found["conflicts"] == []


def test_the_hounsfield_units_listed_are_those_that_pydicom_gives(inspected, mixed_manifest):
    found, _ = inspected
    dicom = [one for one in found["accepted"] if one["format"] == "dicom"]
    assert len(dicom) == 64
    for one in dicom[::7]:
        dataset = pydicom.dcmread(mixed_manifest.parent / one["path"])
        hounsfield = apply_modality_lut(dataset.pixel_array, dataset)
        for name in ("min", "mean", "max"):
            assert one[f"{name}_hu"] == pytest.approx(getattr(hounsfield, name)(), abs=0.01)


def test_an_inspection_leaves_a_page_and_says_nothing_of_persons(inspected, secret):
    found, out = inspected
    page = (out / "index.html").read_text()
    assert str(out / "index.html") == found["page"]
    assert "not_ct" in page
    assert secret not in page + json.dumps(found)


def test_an_inspection_for_people_ends_with_the_page(ctnet, mixed_manifest, tmp_path):
    done = ctnet("inspect", mixed_manifest, "--out", tmp_path / "out")
    assert done.code == 0
    assert done.err == ""
    assert done.out.splitlines()[-1].startswith("page ")
    assert "missing_file" in done.out


def test_a_folder_is_inspected_without_labels(ctnet, mixed_manifest, tmp_path):
    shutil.copytree(mixed_manifest.parent, tmp_path / "data")
    done = ctnet("inspect", tmp_path / "data", "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    reasons = {one["path"]: one["reason"] for one in found["quarantined"]}
    assert reasons["manifest.csv"] == "unknown_format"
    # Every third DICOM has a picture beside it, which shows the same.
    assert len(found["accepted"]) == 96 + 32
    assert len(found["duplicates"]) == 32
    assert {one["label"] for one in found["accepted"]} == {None}


def test_nothing_to_inspect_is_one_line_and_exit_code_4(ctnet, tmp_path):
    done = ctnet("inspect", tmp_path, "--out", tmp_path / "out")
    assert done.code == 4
    assert done.err.splitlines() == [
        f"ctnet: {tmp_path}: the folder holds no file, so there is nothing to inspect"
    ]


def test_skew_tells_requests_like_the_training_data_from_others(ctnet, first_run, tmp_path):
    alike = write_cohort(tmp_path / "alike", patients=24, slices=1, severity="severe", size=64)
    assert ctnet("skew", first_run.workdir, alike.parent).code in (0, 3)
    for path in alike.parent.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.RescaleIntercept += 400
        dataset.save_as(path)
    done = ctnet("skew", first_run.workdir, alike.parent, "--json")
    assert done.code == 3, done.err
    assert "stats/mean_hu" in {one["feature"] for one in json.loads(done.out)["features"]}
