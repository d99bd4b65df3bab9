"""Files, folders, series and volumes: which slices are asked about, and whose they are."""

import shutil
from collections import Counter

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from serving.client import Client
from serving.patient_result import patient_results
from transform.prediction import PREDICT_IMAGE, SERVING_DEFAULT
from transform.reading import SlicePick

# The tiny model says how far the mean of a slice is from -1000 HU towards 400 HU.
AIR, WATER = -1000, 0
SIDE = 128


@pytest.fixture
def client(server):
    with Client(server.address) as connected:
        yield connected


def flat(hounsfield):
    """A slice of one value but for a corner, because a constant slice is refused."""
    pixels = np.full((SIDE, SIDE), hounsfield, np.int16)
    pixels[0, 0] = -1000 if hounsfield != -1000 else -999
    return pixels


def probability_of(pixels):
    return float(np.clip((pixels.astype(float) + 1000) / 1400, 0, 1).mean())


def write_dicom(path, pixels, height=0.0, **elements):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.PixelData = pixels.astype("<i2").tobytes()
    dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = 1, 1, 0
    dataset.ImagePositionPatient = [0, 0, height]
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path)


def write_volume(path, slices):
    """A NIfTI volume of slices [rows, columns] from feet to head, as DICOM shows them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.stack(slices).transpose(2, 1, 0)[::-1, ::-1]
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 5.0, 1.0])), path)


def probabilities(results):
    assert [result.error for result in results] == [None] * len(results)
    return [result.prediction.probability for result in results]


def test_a_folder_is_a_series_from_feet_to_head(client, tmp_path):
    heights = {"a": 20.0, "b": 0.0, "c": 10.0}
    for name, height in heights.items():
        write_dicom(tmp_path / name, flat(-1000 + 40 * int(height)), height)
    results = list(client.predict_files([tmp_path]))
    assert [result.path.name for result in results] == ["b", "c", "a"]
    expected = [probability_of(flat(value)) for value in (-1000, -600, -200)]
    assert probabilities(results) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_every_slice_of_a_volume_is_asked_about_in_its_hounsfield_units(client, tmp_path, name):
    slices = [flat(value) for value in range(-900, 400, 100)]
    write_volume(tmp_path / name, slices)
    results = list(client.predict_files([tmp_path / name], batch_size=4))
    assert [result.number for result in results] == list(range(1, 14))
    assert {result.path for result in results} == {tmp_path / name}
    assert results[2].name == f"{tmp_path / name}#3"
    expected = [probability_of(pixels) for pixels in slices]
    assert probabilities(results) == pytest.approx(expected, abs=1e-5)


def test_frames_of_one_dicom_file_are_slices(client, tmp_path):
    frames = np.stack([flat(-800), flat(-300)])
    write_dicom(tmp_path / "frames.dcm", frames, NumberOfFrames=2)
    results = list(client.predict_files([tmp_path / "frames.dcm"]))
    assert [result.number for result in results] == [1, 2]
    expected = [probability_of(frame) for frame in frames]
    assert probabilities(results) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("pick", "numbers"),
    [
        (SlicePick("every", 4), [1, 5, 9]),
        (SlicePick("middle", 3), [4, 5, 6]),
        (SlicePick("middle", 99), list(range(1, 10))),
    ],
)
def test_only_the_slices_that_are_picked_are_asked_about(client, tmp_path, pick, numbers):
    write_volume(tmp_path / "scan.nii", [flat(value) for value in range(-900, 0, 100)])
    found = []
    results = list(client.predict_files([tmp_path], slices=pick, found=found.append))
    assert [result.number for result in results] == numbers
    assert found == [len(numbers)]


def test_folders_within_a_folder_are_asked_about_too(client, tmp_path, picture):
    for place, name in enumerate(("p2/scan", "p10/scan", ".hidden", "p2/.cache")):
        folder = tmp_path / "all" / name
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(picture(51 * place))
    (tmp_path / "all" / "empty").mkdir()
    (tmp_path / "all" / "p2" / "round").symlink_to(tmp_path / "all")
    results = list(client.predict_files([tmp_path / "all"]))
    found = [result.path.relative_to(tmp_path / "all").as_posix() for result in results]
    assert found == ["p10/scan/1.png", "p2/scan/1.png"]
    assert probabilities(results) == pytest.approx([0.2, 0.0], abs=1e-3)


def test_a_folder_of_nothing_is_an_error_and_the_rest_is_predicted(client, tmp_path, picture):
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    (tmp_path / "one.png").write_bytes(picture(255))
    empty, one = client.predict_files([tmp_path / "empty", tmp_path / "one.png"])
    assert "holds no file that could be a slice" in empty.error
    assert one.prediction.decision == 1


def test_a_folder_of_two_series_is_refused_whole_and_the_next_is_not(client, tmp_path):
    write_dicom(tmp_path / "two" / "1", flat(-500), 0, SeriesInstanceUID="1.2.3")
    write_dicom(tmp_path / "two" / "2", flat(-500), 5, SeriesInstanceUID="1.2.4")
    write_dicom(tmp_path / "one" / "1", flat(-500), 0)
    refused, predicted = client.predict_files([tmp_path / "two", tmp_path / "one"])
    assert "2 series" in refused.error
    assert refused.path == tmp_path / "two"
    assert predicted.error is None


def test_text_in_a_folder_is_passed_over_unless_it_is_named_like_a_slice(client, tmp_path, picture):
    series = tmp_path / "series"
    for height in range(2):
        write_dicom(series / f"IM{height}", flat(-500), height)
    texts = {"a.csv": "path,label\n", "LICENSE": "ä" * 5000, "later.bin": "text"}
    for name, text in texts.items():
        (series / name).write_text(text)
    bad = {"x.png": b"text", "y.DCM": b"text", "empty": b"", "nul": b"a\0b", "z.nii.gz": b"text"}
    for name, content in {**bad, "latin": b"\xe4\xf6"}.items():
        (series / name).write_bytes(content)
    told = []
    results = list(client.predict_files([tmp_path], warned=told.append))
    assert {result.path.name for result in results if result.error} == {*bad, "latin"}
    assert [result.path.name for result in results if not result.error] == ["IM0", "IM1"]
    assert told == [f"{series}: passed over what is text and no slice: LICENSE, a.csv, later.bin"]
    (named,) = client.predict_files([series / "a.csv"], warned=told.append)
    assert "neither PNG" in named.error
    assert len(told) == 1


def test_a_folder_of_nothing_but_text_is_empty(client, tmp_path, caplog):
    (tmp_path / "results.csv").write_text("path")
    (only,) = client.predict_files([tmp_path])
    assert "holds no file that could be a slice" in only.error
    assert "no slice: results.csv" in caplog.text


def test_a_damaged_file_of_a_series_leaves_the_others_predicted(client, tmp_path):
    for height in range(4):
        write_dicom(tmp_path / f"{height}.dcm", flat(-500), height, PatientID="MRN-7")
    whole = (tmp_path / "3.dcm").read_bytes()
    (tmp_path / "3.dcm").write_bytes(whole[: len(whole) // 2])
    results = list(client.predict_files([tmp_path]))
    assert Counter(result.error is None for result in results) == {True: 3, False: 1}
    (patient,) = patient_results(results)
    assert (patient.patient.id, patient.slices, patient.failed) == ("MRN-7", 3, 1)


def test_a_cut_off_volume_gives_its_error(client, tmp_path, picture):
    write_volume(tmp_path / "scan.nii", [flat(-500), flat(-400)])
    whole = (tmp_path / "scan.nii").read_bytes()
    (tmp_path / "scan.nii").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "one.png").write_bytes(picture(0))
    cut, *others = client.predict_files([tmp_path / "scan.nii", tmp_path / "one.png"])
    assert "cut off" in cut.error
    assert others[-1].prediction.decision == 0


def test_one_file_is_not_taken_for_the_volume_that_it_is(client, tmp_path):
    write_volume(tmp_path / "scan.nii", [flat(-500), flat(-400)])
    assert "several slices" in client.predict_file(tmp_path / "scan.nii").error


def test_a_patient_is_the_mean_of_the_slices_of_one_patient_id(client, tmp_path):
    for folder, patient, value in [("a", "P1", -900), ("b", "P2", -200), ("c", "P1", 0)]:
        series = f"1.2.{ord(folder)}"
        for height in range(2):
            path = tmp_path / folder / f"{height}.dcm"
            pixels = flat(value + 100 * height)
            write_dicom(path, pixels, height, PatientID=patient, SeriesInstanceUID=series)
    first, second = patient_results(client.predict_files([tmp_path]))
    assert (first.patient.id, first.slices, first.series) == ("P1", 4, 2)
    means = [probability_of(flat(value)) for value in (-900, -800, 0, 100)]
    assert first.probability == pytest.approx(np.mean(means), abs=1e-5)
    assert (second.patient.id, second.slices, second.series) == ("P2", 2, 1)
    assert (first.decision, second.decision) == (0, 1)


def test_without_a_patient_id_the_folder_the_volume_or_the_file_is_the_patient(
    client, tmp_path, picture
):
    write_volume(tmp_path / "scan.nii", [flat(-500), flat(-400), flat(-300)])
    write_dicom(tmp_path / "series" / "1", flat(-500), 0, PatientID="")
    write_dicom(tmp_path / "series" / "2", flat(-500), 5, PatientID="")
    write_volume(tmp_path / "folder" / "scan.nii", [flat(-500), flat(-400)])
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_bytes(picture(0))
    (tmp_path / "pictures").mkdir()
    shutil.copy(tmp_path / "x.png", tmp_path / "pictures" / "1.png")
    shutil.copy(tmp_path / "y.png", tmp_path / "pictures" / "2.png")
    paths = [
        tmp_path / name for name in ("scan.nii", "series", "folder", "x.png", "y.png", "pictures")
    ]
    patients = patient_results(client.predict_files(paths))
    assert [one.patient.id for one in patients] == [str(path) for path in paths]
    assert not any(one.patient.in_header for one in patients)
    assert [one.slices for one in patients] == [3, 2, 2, 1, 1, 2]
    assert [one.pictures for one in patients] == [0, 0, 0, 1, 1, 2]


def test_pictures_and_hounsfield_units_go_to_their_own_signatures(
    client, tmp_path, picture, monkeypatch
):
    (tmp_path / "a.png").write_bytes(picture(51))
    write_dicom(tmp_path / "b.dcm", flat(-500))
    write_volume(tmp_path / "c.nii", [flat(-400)])
    asked = []
    ask = Client._ask

    def recorded(self, signature, values):
        asked.append((signature, len(values)))
        return ask(self, signature, values)

    monkeypatch.setattr(Client, "_ask", recorded)
    results = list(client.predict_files(tmp_path / name for name in ("a.png", "b.dcm", "c.nii")))
    assert asked == [(SERVING_DEFAULT, 2), (PREDICT_IMAGE, 1)]
    expected = [0.2, probability_of(flat(-500)), probability_of(flat(-400))]
    assert probabilities(results) == pytest.approx(expected, abs=1e-3)


def test_no_more_slices_are_read_than_one_request_takes(client, tmp_path, picture):
    path = tmp_path / "one.png"
    path.write_bytes(picture(0))
    taken = []

    def endless():
        while True:
            taken.append(path)
            yield path

    results = client.predict_files(endless(), batch_size=4)
    for _ in range(8):
        next(results)
    # The slice that did not fit any more into the second batch has been read.
    assert len(taken) == 9
