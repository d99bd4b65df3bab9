"""A row may name a folder or a volume: its slices are examples, and each is accounted for."""

import shutil

import nibabel
import numpy as np
import pydicom
import pytest

from components.ct_example_gen.ingestion import count_shards
from components.ct_example_gen.manifest import ManifestFacts
from transform.phantom import write_cohort
from transform.reading import Reason

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A folder of six DICOM slices for each of twelve patients."""
    folder = tmp_path_factory.mktemp("series")
    write_cohort(folder, patients=12, slices=6, size=64, severity="severe")
    return folder


def rows_of(folder, splits=("train", "eval", "test")):
    """A row a patient, every split with both classes."""
    rows = []
    for number, patient in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        rows.append(
            {
                "path": patient.name,
                # Patients alternate between positive and negative.
                "label": str(number % 2),
                "patient_id": patient.name,
                "split": splits[number // 2 % 3],
            }
        )
    return rows


@pytest.fixture
def study_of_series(study, series):
    shutil.copytree(series, study.folder, dirs_exist_ok=True)
    return study


def test_a_folder_gives_a_slice_for_each_of_its_files(study_of_series, ingest):
    rows = rows_of(study_of_series.folder)
    ingested = ingest(study_of_series.write(rows, pictures=False))
    found = ingested.features()
    expected = {f"{row['path']}/{number + 1:04d}.dcm" for row in rows for number in range(6)}
    assert set(found) == expected
    assert not ingested.quarantined
    for image_id, values in found.items():
        assert values["patient_id"].decode() == image_id.split("/")[0]


@pytest.mark.parametrize(("slices", "count"), [("middle:2", 2), ("every:4", 2)])
def test_only_the_slices_that_are_asked_for_are_taken(study_of_series, ingest, slices, count):
    rows = rows_of(study_of_series.folder)
    ingested = ingest(study_of_series.write(rows, pictures=False), slices=slices)
    assert len(ingested.features()) == count * len(rows)
    assert not ingested.quarantined


def test_a_series_with_a_gap_goes_to_quarantine_slice_by_slice(study_of_series, ingest):
    rows = rows_of(study_of_series.folder)
    broken = study_of_series.folder / rows[0]["path"]
    (broken / "0003.dcm").unlink()
    ingested = ingest(study_of_series.write(rows, pictures=False))
    reasons = ingested.reasons()
    assert set(reasons.values()) == {Reason.GAP_IN_SERIES.value}
    assert set(reasons) == {f"{broken.name}/{name:04d}.dcm" for name in (1, 2, 4, 5, 6)}


def test_a_file_in_a_folder_that_is_a_row_too_is_taken_once(study_of_series, ingest):
    rows = rows_of(study_of_series.folder)
    for number, row in enumerate(rows[:4]):
        path = f"{row['path']}/0001.dcm"
        rows.append({"path": path, "label": row["label"], "patient_id": f"other-{number}"})
        rows[-1]["split"] = "test"
    ingested = ingest(study_of_series.write(rows, pictures=False), on_leak="drop_from_train")
    assert len(ingested.features()) == 6 * 12
    assert set(ingested.reasons().values()) == {Reason.DUPLICATE_ID.value}
    assert len(ingested.quarantined) == 4


def test_a_header_that_makes_frames_up_is_one_unreadable_file(study_of_series, ingest):
    rows = rows_of(study_of_series.folder)
    path = study_of_series.folder / "frames.dcm"
    dataset = pydicom.dcmread(study_of_series.folder / rows[0]["path"] / "0001.dcm")
    dataset.NumberOfFrames = 60000
    dataset.save_as(path)
    rows.append({"path": path.name, "label": "1", "patient_id": "frames", "split": "train"})
    ingested = ingest(study_of_series.write(rows, pictures=False))
    assert ingested.reasons() == {"frames.dcm": Reason.UNREADABLE.value}


def test_two_series_in_one_folder_go_to_quarantine(study_of_series, ingest):
    rows = rows_of(study_of_series.folder)
    first, second = (study_of_series.folder / row["path"] for row in rows[:2])
    shutil.copy(second / "0001.dcm", first / "other.dcm")
    ingested = ingest(study_of_series.write(rows, pictures=False))
    reasons = ingested.reasons()
    assert set(reasons.values()) == {Reason.MIXED_SERIES.value}
    assert len(reasons) == 7


def test_a_nifti_volume_gives_its_axial_slices(study_of_series, ingest):
    rows = rows_of(study_of_series.folder)
    generator = np.random.default_rng(1)
    volume = generator.integers(-1000, 300, (32, 40, 12)).astype(np.int16)
    path = study_of_series.folder / "volume.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([2.0, 2.0, 5.0, 1.0])), path)
    rows.append({"path": path.name, "label": "1", "patient_id": "nifti", "split": "train"})
    found = ingest(study_of_series.write(rows, pictures=False)).features()
    ids = sorted(one for one in found if one.startswith("volume"))
    assert ids == [f"volume.nii.gz#{number:02d}" for number in range(1, 13)]
    assert found[ids[0]]["image/calibrated"] == 1
    assert found[ids[0]]["stats/spacing"] == pytest.approx(2.0)
    assert (found[ids[0]]["stats/height"], found[ids[0]]["stats/width"]) == (40.0, 32.0)


def test_slices_with_little_lung_are_left_out_and_do_not_count_as_faults(study_of_series, ingest):
    rows = rows_of(study_of_series.folder)
    manifest = study_of_series.write(rows, pictures=False)
    all_of_them = ingest(manifest).features()
    shares = sorted(values["stats/lung_fraction"] for values in all_of_them.values())
    least = shares[len(shares) // 3]
    ingested = ingest(manifest, min_lung_fraction=least, max_quarantined=0.0)
    assert set(ingested.reasons().values()) == {Reason.LITTLE_LUNG.value}
    assert len(ingested.features()) == len(shares) - len(ingested.quarantined)
    assert all(v["stats/lung_fraction"] >= least for v in ingested.features().values())


def test_a_row_of_many_slices_makes_more_shards():
    assert count_shards(ManifestFacts(10, 0, 1000, "")) == 1
    assert count_shards(ManifestFacts(1000, 0, 1000, "")) == 4
    assert count_shards(ManifestFacts(10, 0, 10 * 2**30, "")) == 10
