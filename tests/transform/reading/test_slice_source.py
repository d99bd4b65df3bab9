"""What a path names: a slice, a volume or a folder, and that nothing in it is lost."""

import os
import shutil
import socket
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image
from pydicom.data import get_testdata_file

from transform.phantom import draw_patient, render_slice
from transform.phantom.dicom import SeriesWriter
from transform.reading import (
    FoundSlice,
    ReadingSettings,
    Reason,
    SlicePick,
    SliceReader,
    UnusableSeriesError,
    UnusableSliceError,
    find_slices,
    read_slice,
)
from transform.reading.slice_file import FileKind, file_kind, is_dicom, read_head

WINDOW = (-1000.0, 400.0)
ALL = SlicePick("all")
SIDE, COUNT = 32, 6


@pytest.fixture(autouse=True)
def _quiet_pydicom():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def phantom():
    """HU of one patient, int16 [slices, rows, columns], from feet to head."""
    patient = draw_patient(3, 1)
    from_head = [render_slice(patient, index, COUNT, SIDE).hu for index in range(COUNT)]
    return patient, np.stack(from_head[::-1])


@pytest.fixture
def series(tmp_path, phantom):
    """The phantom as a folder of DICOM files, whose names say nothing of their order."""
    patient, from_feet = phantom
    folder = tmp_path / "series"
    folder.mkdir()
    writer = SeriesWriter(patient, COUNT, SIDE)
    for index, hu in enumerate(from_feet[::-1]):
        writer.write(folder / f"{(index * 5) % COUNT:02d}", index, hu)
    return folder


def nifti_of(folder, from_feet, codes="RAS"):
    """The same volume as NIfTI, where the DICOM files say that it is."""
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    headers.sort(key=lambda header: header.ImagePositionPatient[2])
    first, second = (np.array(header.ImagePositionPatient, float) for header in headers[:2])
    affine = np.eye(4)
    affine[:3, :3] = np.diag([*headers[0].PixelSpacing, second[2] - first[2]])
    affine[:3, 3] = first
    # From DICOM's coordinates (left, back, head) to those of NIfTI (right, front, head).
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    array = from_feet.transpose(2, 1, 0)
    turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
    return nibabel.Nifti1Image(
        apply_orientation(array, turn), affine @ inv_ornt_aff(turn, array.shape)
    )


def picture(path, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return pixels


def volume_of(found):
    with SliceReader(ReadingSettings(WINDOW)) as reader:
        return np.stack([reader.read(one).stored_slice.hounsfield() for one in found])


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def reason_of(found):
    with (
        SliceReader(ReadingSettings(WINDOW)) as reader,
        pytest.raises(UnusableSliceError) as caught,
    ):
        reader.read(found)
    return caught.value.reason


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "LPI", "SPL", "PIR", "ILA"])
def test_a_volume_gives_the_same_slices_as_dicom_series_and_as_nifti(
    tmp_path, series, phantom, codes, extension
):
    path = tmp_path / f"volume{extension}"
    nibabel.save(nifti_of(series, phantom[1], codes), path)
    from_dicom, from_nifti = find_slices(series, ALL), find_slices(path, ALL)
    assert len(from_dicom) == len(from_nifti) == COUNT
    np.testing.assert_allclose(volume_of(from_dicom), phantom[1], atol=0.5)
    np.testing.assert_allclose(volume_of(from_nifti), phantom[1], atol=0.5)
    for pick in (SlicePick("every", 2), SlicePick("middle", 3)):
        np.testing.assert_allclose(
            volume_of(find_slices(series, pick)), volume_of(find_slices(path, pick)), atol=0.5
        )
    with SliceReader(ReadingSettings(WINDOW)) as reader:
        spacings = {
            round(reader.read(found[0]).stored_slice.spacing, 3)
            for found in (from_dicom, from_nifti)
        }
    assert len(spacings) == 1


def multi_frame(path, frames=12):
    """One DICOM file of several frames, with one modality LUT for all."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    stored = np.random.default_rng(2).integers(0, 3000, (frames, SIDE, SIDE)).astype("<u2")
    dataset.Rows = dataset.Columns = SIDE
    dataset.NumberOfFrames = frames
    dataset.PixelRepresentation = 0
    if "PixelPaddingValue" in dataset:
        del dataset.PixelPaddingValue
    dataset.PixelData = stored.tobytes()
    dataset.save_as(path)
    return stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


def test_the_frames_of_a_dicom_file_are_slices(tmp_path):
    path = tmp_path / "frames.dcm"
    expected = multi_frame(path)
    found = find_slices(path, SlicePick("every", 5))
    assert found == [
        FoundSlice(path, "#01", 0),
        FoundSlice(path, "#06", 5),
        FoundSlice(path, "#11", 10),
    ]
    np.testing.assert_array_equal(volume_of(found), expected[::5])
    with pytest.raises(UnusableSliceError) as caught:
        read_slice(path, WINDOW)
    assert caught.value.reason is Reason.MULTI_FRAME


def test_a_file_of_one_slice_is_that_slice_whatever_is_picked(tmp_path, series):
    picture(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("what a scan")
    for path in (tmp_path / "a.png", series / "00", tmp_path / "notes.txt"):
        for pick in (ALL, SlicePick("every", 7), SlicePick("middle", 1)):
            assert find_slices(path, pick) == [FoundSlice(path)]
    assert reason_of(FoundSlice(tmp_path / "notes.txt")) is Reason.UNKNOWN_FORMAT


def test_pictures_of_a_folder_come_in_the_order_of_the_numbers_in_their_names(tmp_path):
    names = ["2.png", "10.png", "1.png", "b11.png", "b2.png", "B3.png", "no number"]
    for name in names:
        picture(tmp_path / name)
    in_order = ["/1.png", "/2.png", "/10.png", "/B3.png", "/b2.png", "/b11.png", "/no number"]
    found = find_slices(tmp_path, ALL)
    assert [one.name for one in found] == in_order
    assert [one.path for one in found] == [tmp_path / name[1:] for name in in_order]
    assert {one.frame for one in found} == {None}
    picked = find_slices(tmp_path, SlicePick("middle", 3))
    assert [one.name for one in picked] == in_order[2:5]


def test_files_of_no_known_format_are_never_left_out(tmp_path, series):
    for number in range(5):
        picture(tmp_path / f"{number}.png", number)
    (tmp_path / "notes.txt").write_text("what a scan")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = find_slices(tmp_path, SlicePick("middle", 1))
    assert [one.name for one in found] == ["/2.png", "/empty", "/gone", "/notes.txt", "/pipe"]
    assert [reason_of(one) for one in found[1:]] == [
        Reason.UNKNOWN_FORMAT,
        Reason.MISSING_FILE,
        Reason.UNKNOWN_FORMAT,
        Reason.UNREADABLE,
    ]
    (series / "notes.txt").write_text("what a scan")
    names = [one.name for one in find_slices(series, SlicePick("middle", 2))]
    assert len(names) == 3
    assert names[-1] == "/notes.txt"


def test_what_is_no_slice_of_a_series_does_not_count_and_is_never_left_out(series):
    scout = pydicom.dcmread(series / "00")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.save_as(series / "scout")
    (series / "cut").write_bytes((series / "00").read_bytes()[:400])
    everything = find_slices(series, ALL)
    assert len(everything) == COUNT + 2
    middle = find_slices(series, SlicePick("middle", 2))
    assert middle[:2] == everything[COUNT // 2 - 1 : COUNT // 2 + 1]
    assert {one.name for one in middle[2:]} == {"/cut", "/scout"}
    assert {reason_of(one) for one in middle[2:]} == {Reason.UNREADABLE, Reason.NOT_AXIAL}


def test_hidden_files_an_index_and_folders_are_left_out(tmp_path):
    picture(tmp_path / "a.png")
    for name in (".DS_Store", "._a.png", "DICOMDIR", "dicomdir"):
        (tmp_path / name).write_text("x")
    (tmp_path / "inner").mkdir()
    picture(tmp_path / "inner" / "b.png")
    (tmp_path / "link").symlink_to(tmp_path / "inner")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert [one.name for one in find_slices(tmp_path, ALL)] == ["/a.png", "/loop"]


def test_a_folder_of_nothing_is_a_missing_file_that_says_so(tmp_path):
    for name in (None, "inner", ".hidden"):
        if name:
            (tmp_path / name).mkdir()
        with pytest.raises(UnusableSliceError, match="has no file") as caught:
            find_slices(tmp_path, ALL)
        assert caught.value.reason is Reason.MISSING_FILE
        assert str(tmp_path) in caught.value.detail


def test_a_volume_in_a_folder_is_that_volume(tmp_path, series, phantom):
    folder = tmp_path / "folder"
    folder.mkdir()
    nibabel.save(nifti_of(series, phantom[1]), folder / "scan.nii.gz")
    (folder / "scan.json").write_text("{}")
    found = find_slices(folder, SlicePick("middle", 2))
    assert [one.name for one in found] == ["/scan.nii.gz#3", "/scan.nii.gz#4", "/scan.json"]
    np.testing.assert_array_equal(volume_of(found[:2]), phantom[1][2:4])


def test_a_damaged_volume_in_a_folder_is_not_lost_nor_what_lies_beside_it(
    tmp_path, series, phantom
):
    folder = tmp_path / "folder"
    folder.mkdir()
    nibabel.save(nifti_of(series, phantom[1]), folder / "scan.nii")
    (folder / "scan.json").write_text("{}")
    os.truncate(folder / "scan.nii", 5000)
    found = find_slices(folder, ALL)
    assert [one.name for one in found] == ["/scan.nii", "/scan.json"]
    assert reason_of(found[0]) is Reason.UNREADABLE


@pytest.mark.parametrize(
    "mixture", ["DICOM pictures", "DICOM NIfTI", "NIfTI pictures", "NIfTI NIfTI"]
)
def test_a_folder_of_several_kinds_is_no_series_and_none_of_it_is_lost(
    tmp_path, series, phantom, mixture
):
    folder = tmp_path / "mixed"
    folder.mkdir()
    volume = nifti_of(series, phantom[1])
    for number, kind in enumerate(mixture.split()):
        if kind == "DICOM":
            for path in series.iterdir():
                shutil.copy(path, folder)
        elif kind == "NIfTI":
            nibabel.save(volume, folder / f"{number}.nii")
        else:
            picture(folder / "a.png")
    (folder / "notes.txt").write_text("what a scan")
    with pytest.raises(UnusableSeriesError) as caught:
        find_slices(folder, ALL)
    assert caught.value.reason is Reason.MIXED_SERIES
    assert len(caught.value.detail.splitlines()) == 1
    members = [member.path for member in caught.value.members]
    assert sorted(members) == sorted(folder.iterdir())
    assert {member.name for member in caught.value.members} == {
        f"/{path.name}" for path in folder.iterdir()
    }


def test_what_lies_beside_a_series_with_a_gap_is_not_lost(series):
    (series / "notes.txt").write_text("what a scan")
    in_order = find_slices(series, ALL)
    in_order[2].path.unlink()
    with pytest.raises(UnusableSeriesError) as caught:
        find_slices(series, ALL)
    assert caught.value.reason is Reason.GAP_IN_SERIES
    assert {member.path for member in caught.value.members} == set(series.iterdir())


def test_what_cannot_be_opened_gets_its_reason_and_never_blocks(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    server = socket.socket(socket.AF_UNIX)
    short = Path(os.path.relpath(tmp_path))
    server.bind(str(short / "s"))
    expected = {
        tmp_path / "gone": Reason.MISSING_FILE,
        tmp_path / "gone" / "a.png": Reason.MISSING_FILE,
        tmp_path / "pipe": Reason.UNREADABLE,
        tmp_path / "loop": Reason.UNREADABLE,
        tmp_path / "s": Reason.UNREADABLE,
        Path("/dev/zero"): Reason.UNREADABLE,
        Path("no\0name"): Reason.UNREADABLE,
        tmp_path / ("x" * 300): Reason.UNREADABLE,
    }
    for path, reason in expected.items():
        with pytest.raises(UnusableSliceError) as caught:
            find_slices(path, ALL)
        assert caught.value.reason is reason
        assert reason_of(FoundSlice(path)) is reason
    server.close()


def test_names_that_are_no_text_become_ids_that_can_be_written(tmp_path):
    name = os.fsdecode(b"a\xff.png")
    pixels = picture(tmp_path / name)
    (found,) = find_slices(tmp_path, ALL)
    assert found.name == "/a\\xff.png"
    found.name.encode()
    np.testing.assert_allclose(volume_of([found])[0], pixels * (1400 / 255) - 1000, atol=1e-3)


def test_a_link_is_what_it_leads_to(tmp_path, series):
    (tmp_path / "link").symlink_to(series)
    assert [one.name for one in find_slices(tmp_path / "link", ALL)] == [
        one.name for one in find_slices(series, ALL)
    ]


def test_slices_can_be_read_in_any_order_and_nothing_stays_open(tmp_path, series, phantom):
    nibabel.save(nifti_of(series, phantom[1]), tmp_path / "a.nii")
    nibabel.save(nifti_of(series, phantom[1], "SPL"), tmp_path / "b.nii.gz")
    picture(tmp_path / "c.png")
    multi_frame(tmp_path / "d.dcm", COUNT)
    paths = [tmp_path / name for name in ("a.nii", "b.nii.gz", "c.png", "d.dcm")]
    found = [one for path in [*paths, series] for one in find_slices(path, ALL)]
    straight = {one: volume_of([one]) for one in found}
    before = open_files()
    with SliceReader(ReadingSettings(WINDOW)) as reader:
        for index in np.random.default_rng(4).permutation(len(found)):
            again = reader.read(found[index]).stored_slice.hounsfield()
            np.testing.assert_array_equal(again, straight[found[index]][0])
            assert open_files() <= before + 1
    assert open_files() == before


def test_any_error_of_a_decoder_is_a_reason_of_one_line_without_its_text(tmp_path, monkeypatch):
    picture(tmp_path / "a.png")

    def fail(path, settings):
        raise RuntimeError("DOE^JANE\nand more")

    monkeypatch.setattr("transform.reading.slice_reader.read_picture", fail)
    with pytest.raises(UnusableSliceError) as caught:
        read_slice(tmp_path / "a.png", WINDOW)
    assert caught.value.reason is Reason.UNREADABLE
    assert "DOE" not in caught.value.detail


def test_the_format_is_told_by_the_bytes(tmp_path, series, phantom):
    nibabel.save(nifti_of(series, phantom[1]), tmp_path / "a.nii")
    nibabel.save(nifti_of(series, phantom[1]), tmp_path / "a.nii.gz")
    picture(tmp_path / "a.png")
    kinds = {
        path.name: file_kind(read_head(path))
        for path in (*tmp_path.glob("a.*"), series / "00", Path(__file__))
    }
    assert kinds == {
        "a.nii": FileKind.NIFTI,
        "a.nii.gz": FileKind.NIFTI,
        "a.png": FileKind.PICTURE,
        "00": FileKind.DICOM,
        "test_slice_source.py": FileKind.UNKNOWN,
    }


@pytest.mark.parametrize("name", ["ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm"])
def test_a_data_set_without_a_preamble_is_told_as_dicom(name):
    assert is_dicom(read_head(Path(get_testdata_file(name, download=False))))


def test_an_implicit_data_set_without_a_preamble_is_told_as_dicom(tmp_path):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    bare = pydicom.Dataset()
    bare.update({element.tag: element for element in dataset if element.tag.group != 2})
    path = tmp_path / "bare"
    bare.save_as(path, implicit_vr=True, little_endian=True)
    assert path.read_bytes()[:2] == b"\x08\x00"
    assert is_dicom(read_head(path))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x08\x00\x05\x00",
        b"\x08\x00\x05\x00CS\x0a\x00",
        b"\x08\x00\x99\x00CS" + bytes(200),
        b"\x08\x00\x05\x00\xff\xff\xff\xff" + bytes(200),
        b"\x08\x00\x05\x00\x05\x00\x00\x00" + bytes(200),
        b"\x00\x08\x00\x05\x00\x00" + bytes(200),
        b"\x10\x00\x10\x00PN" + bytes(200),
        bytes(4096),
    ],
)
def test_other_bytes_are_not_taken_for_dicom(head):
    assert not is_dicom(head)


def test_every_file_that_pydicom_ships_is_read_or_refused_with_a_reason():
    folder = Path(get_testdata_file("CT_small.dcm")).parent
    outcomes = {"read": 0, "refused": 0}
    with SliceReader(ReadingSettings(WINDOW)) as reader:
        for path in sorted(folder.iterdir()):
            try:
                for found in find_slices(path, SlicePick("middle", 1)):
                    reader.read(found)
                    outcomes["read"] += 1
            except UnusableSliceError:
                outcomes["refused"] += 1
    assert outcomes["read"] >= 1
    assert outcomes["refused"] > 50
