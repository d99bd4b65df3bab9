"""What a user relies on in a phantom on disk: its manifest, its DICOM files and its fairness."""

import csv
import dataclasses
import hashlib

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from transform.errors import ConfigError
from transform.phantom import draw_patient, render_slice, write_cohort
from transform.phantom.dicom import SeriesWriter
from transform.phantom.patient import Scanner

SIZE = 48
SLICES = 3
PATIENTS = 6
SEED = 9


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "made" / "on the way"
    return write_cohort(
        out, patients=PATIENTS, slices=SLICES, seed=SEED, severity="severe", size=SIZE
    ).parent


def _rows(folder):
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _write(out, **changes):
    arguments = {"patients": 2, "slices": 1, "seed": SEED, "severity": "severe", "size": SIZE}
    return write_cohort(out, **{**arguments, **changes})


def test_the_manifest_names_every_file_relative_to_its_folder(cohort):
    header = (cohort / "manifest.csv").read_text().splitlines()[0]
    assert header == "path,label,patient_id,age,sex,source,study_date"
    rows = _rows(cohort)
    assert {row["path"] for row in rows} == {
        path.relative_to(cohort).as_posix() for path in cohort.rglob("*.dcm")
    }
    assert len(rows) == PATIENTS * SLICES
    assert len({row["patient_id"] for row in rows}) == PATIENTS


def test_half_of_the_patients_are_positive_and_a_patient_has_one_label(cohort):
    labels = {}
    for row in _rows(cohort):
        labels.setdefault(row["patient_id"], set()).add(row["label"])
    assert all(len(label) == 1 for label in labels.values())
    assert sum(label == {"1"} for label in labels.values()) == PATIENTS // 2


def test_the_order_of_positives_is_shuffled_by_the_seed():
    first = [[draw_patient(seed, 2 * k).positive for k in range(3)] for seed in range(6)]
    assert len({tuple(order) for order in first}) > 1


def test_the_manifest_says_what_the_dicom_says(cohort):
    for row in _rows(cohort):
        dataset = pydicom.dcmread(cohort / row["path"])
        assert row["patient_id"] == dataset.PatientID
        assert f"{int(row['age']):03d}Y" == dataset.PatientAge
        assert row["sex"] == dataset.PatientSex
        assert row["study_date"].replace("-", "") == dataset.StudyDate
        assert row["source"] == "phantom"


def test_the_same_seed_writes_the_same_bytes(cohort, tmp_path):
    write_cohort(
        tmp_path, patients=PATIENTS, slices=SLICES, seed=SEED, severity="severe", size=SIZE
    )
    assert _digests(tmp_path) == _digests(cohort)


def test_another_seed_writes_other_patients(cohort, tmp_path):
    _write(tmp_path, seed=SEED + 1)
    assert not {row["patient_id"] for row in _rows(tmp_path)} & {
        row["patient_id"] for row in _rows(cohort)
    }


def test_a_patients_files_and_rows_do_not_depend_on_how_many_patients_there_are(cohort, tmp_path):
    write_cohort(tmp_path, patients=3, slices=SLICES, seed=SEED, severity="severe", size=SIZE)
    assert _rows(tmp_path) == _rows(cohort)[: 3 * SLICES]
    few, many = _digests(tmp_path), _digests(cohort)
    del few["manifest.csv"]
    assert few.items() <= many.items()


def test_pydicom_gives_back_the_rendered_hounsfield_units(cohort):
    for number in range(PATIENTS):
        patient = draw_patient(SEED, number, "severe")
        for index in range(SLICES):
            dataset = pydicom.dcmread(cohort / patient.id / f"{index + 1:04d}.dcm")
            read = apply_modality_lut(dataset.pixel_array, dataset)
            np.testing.assert_array_equal(
                read, render_slice(patient, index, SLICES, SIZE).hu.astype(float)
            )


@pytest.mark.parametrize(("signed", "intercept"), [(False, -1024), (True, 0), (True, -1024)])
def test_every_way_of_storing_gives_back_the_extremes(signed, intercept, tmp_path):
    patient = draw_patient(0, 0)
    scanner = Scanner(signed, intercept, 16, "SOFT", 0.25, 10.0, 120, 1.0)
    patient = dataclasses.replace(patient, scanner=scanner)
    hu = np.linspace(-1024, 3071, SIZE * SIZE).astype(np.int16).reshape(SIZE, SIZE)
    SeriesWriter(patient, 1, SIZE).write(tmp_path / "a.dcm", 0, hu)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    np.testing.assert_array_equal(apply_modality_lut(dataset.pixel_array, dataset), hu)


def test_patients_are_stored_signed_and_unsigned_and_with_several_intercepts():
    scanners = [draw_patient(1, number).scanner for number in range(40)]
    assert {(scanner.signed, scanner.intercept) for scanner in scanners} == {
        (False, -1024),
        (True, 0),
        (True, -1024),
    }


def test_files_are_complete_ct_image_storage(cohort):
    # Attributes of type 1 and 2 of the CT Image IOD, DICOM PS3.3 A.3.3.
    required = [
        "ImageType",
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "Modality",
        "Manufacturer",
        "ReferringPhysicianName",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "KVP",
        "SliceThickness",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "StudyID",
        "SeriesNumber",
        "AcquisitionNumber",
        "InstanceNumber",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "Rows",
        "Columns",
        "PixelSpacing",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "RescaleIntercept",
        "RescaleSlope",
        "PixelData",
        "PatientPosition",
    ]
    never_empty = set(required) - {
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientBirthDate",
        "PositionReferenceIndicator",
    }
    for row in _rows(cohort):
        dataset = pydicom.dcmread(cohort / row["path"])
        missing = [name for name in required if name not in dataset]
        assert not missing
        assert not [name for name in never_empty if dataset[name].is_empty]
        assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
        assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert (dataset.Rows, dataset.Columns) == (SIZE, SIZE)
        assert dataset.HighBit == dataset.BitsStored - 1
        assert dataset.pixel_array.max() < 2**dataset.BitsStored


def test_files_say_that_they_are_synthetic(cohort):
    dataset = pydicom.dcmread(next(cohort.rglob("*.dcm")))
    assert dataset.SyntheticData == "YES"
    assert dataset.ImageType[0] == "DERIVED"
    assert "SYNTHETIC" in dataset.SeriesDescription
    assert "synthetic" in dataset.Manufacturer


def test_uids_are_valid_unique_and_shared_within_a_series(cohort):
    datasets = [pydicom.dcmread(cohort / row["path"]) for row in _rows(cohort)]
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == len(datasets)
    for level in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({dataset[level].value for dataset in datasets}) == PATIENTS
        assert all(dataset[level].value.is_valid for dataset in datasets)


def test_two_different_images_of_a_patient_never_share_a_uid(cohort, tmp_path):
    known = {pydicom.dcmread(path).SOPInstanceUID for path in cohort.rglob("*.dcm")}
    for name, changes in {"fewer": {"slices": 1}, "mild": {"severity": "mild"}}.items():
        folder = _write(tmp_path / name, **{"slices": SLICES, **changes}).parent
        assert not known & {pydicom.dcmread(path).SOPInstanceUID for path in folder.rglob("*.dcm")}


def test_slices_are_stacked_from_head_to_feet(cohort):
    for folder in (path for path in cohort.iterdir() if path.is_dir()):
        datasets = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        assert [dataset.InstanceNumber for dataset in datasets] == list(range(1, SLICES + 1))
        heights = [float(dataset.ImagePositionPatient[2]) for dataset in datasets]
        assert np.all(np.diff(heights) < -10)
        middle = -0.5 * (SIZE - 1) * float(datasets[0].PixelSpacing[0])
        assert float(datasets[0].ImagePositionPatient[0]) == pytest.approx(middle, abs=0.01)


def test_headers_tell_no_more_about_the_label_than_chance():
    patients = [draw_patient(21, number) for number in range(600)]
    positive = np.array([patient.positive for patient in patients])
    facts = {
        "signed": [patient.scanner.signed for patient in patients],
        "intercept": [patient.scanner.intercept for patient in patients],
        "bits": [patient.scanner.bits_stored for patient in patients],
        "kernel": [patient.scanner.kernel_side for patient in patients],
        "noise": [patient.scanner.noise_hu for patient in patients],
        "kvp": [patient.scanner.kvp for patient in patients],
        "thickness": [patient.scanner.slice_thickness for patient in patients],
        "age": [patient.age for patient in patients],
        "sex": [patient.sex == "F" for patient in patients],
        "date": [patient.study_date.toordinal() for patient in patients],
        "spacing": [patient.anatomy.field_of_view for patient in patients],
        "width": [patient.anatomy.cage_half_width for patient in patients],
        "lung": [patient.anatomy.lung_hu for patient in patients],
        "number": [patient.number % 2 for patient in patients],
    }
    for name, values in facts.items():
        # Four standard errors of a correlation of nothing with nothing.
        correlation = np.corrcoef(np.array(values, dtype=float), positive)[0, 1]
        assert abs(correlation) < 4 / np.sqrt(len(patients)), name


def test_the_tags_of_both_classes_are_the_same(cohort):
    tags = {
        frozenset(element.keyword for element in pydicom.dcmread(cohort / row["path"]))
        for row in _rows(cohort)
    }
    assert len(tags) == 1


def test_progress_counts_every_slice(tmp_path):
    seen = []
    _write(tmp_path, slices=2, progress=seen.append)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patients": 0}, "patients is 0"),
        ({"slices": 0}, "slices is 0"),
        ({"size": 31}, "size is 31"),
        ({"seed": -1}, "seed is -1"),
        ({"severity": "awful"}, "mild, moderate, severe"),
    ],
)
def test_a_bad_argument_is_refused_in_one_line_before_anything_is_written(tmp_path, changes, said):
    with pytest.raises(ConfigError) as refused:
        _write(tmp_path / "out", **changes)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_manifest_is_left_alone_unless_overwriting(tmp_path):
    _write(tmp_path, patients=4)
    before = _digests(tmp_path)
    with pytest.raises(ConfigError, match=r"manifest\.csv exists"):
        _write(tmp_path)
    assert _digests(tmp_path) == before
    _write(tmp_path, overwrite=True)
    assert len(list(tmp_path.rglob("*.dcm"))) == len(_rows(tmp_path)) == 2


def test_overwriting_never_removes_what_is_not_a_phantom(tmp_path):
    (tmp_path / "manifest.csv").write_text("path,label,patient_id\nscan/1.dcm,1,scan\n")
    (tmp_path / "scan").mkdir()
    with pytest.raises(ConfigError, match="not a phantom's"):
        _write(tmp_path, overwrite=True)
    assert (tmp_path / "scan").exists()
    assert (tmp_path / "manifest.csv").exists()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        _write(tmp_path / "out")


def test_overwriting_never_follows_a_manifest_out_of_its_folder(tmp_path):
    victim = tmp_path / "other.dcm"
    victim.write_text("")
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.csv").write_text("path,label,patient_id,source\n../other.dcm,1,x,phantom\n")
    with pytest.raises(ConfigError, match="no phantom has"):
        _write(out, overwrite=True)
    assert victim.exists()
