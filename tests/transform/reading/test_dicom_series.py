"""A folder as a series: in the order of the body, whole, of one kind, and nothing lost."""

import os
import random
import threading
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from transform.reading.dicom import DicomFile, read_dicom
from transform.reading.dicom_series import find_series
from transform.reading.unusable import Reason, UnusableSeriesError, UnusableSliceError

SHARED = (Path(__file__).resolve().parents[3] / ".." / "shared" / "dicom").resolve()
TILTED = [1, 0, 0, 0, 0.9272, -0.3746]


def write(path, position, **elements):
    """A slice at a height (mm, or three coordinates)."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    place = position if isinstance(position, list) else [0, 0, position]
    dataset.ImagePositionPatient = place
    for keyword, value in elements.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


@pytest.fixture
def folder(tmp_path):
    """A folder of slices at these heights, in files whose names say nothing about them."""

    def make(heights, **elements):
        names = [f"{index:03}" for index in range(len(heights))]
        random.Random(3).shuffle(names)
        for name, height in zip(names, heights, strict=True):
            write(tmp_path / name, height, **elements)
        return tmp_path, [f"/{name}" for name in names]

    return make


def found(folder):
    files = list(folder.iterdir())
    random.Random(4).shuffle(files)
    return find_series(files, folder)


def names(slices):
    return [one.name for one in slices]


def test_slices_come_from_feet_to_head_whatever_their_names(folder):
    where, ordered = folder([-30.0, -25.0, -20.5, -15.0, -10.0])
    slices = found(where)
    assert names(slices) == ordered
    assert all(one.frame is None and one.path == where / one.name[1:] for one in slices)


def test_the_order_is_along_the_normal_of_a_tilted_plane(folder):
    # Steps across the plane: along y alone they would run the other way.
    heights = [[0, -0.3746 * 5 * step, 0.9272 * -5 * step] for step in (4, 3, 2, 1, 0)]
    where, ordered = folder(heights, ImageOrientationPatient=TILTED)
    assert names(found(where)) == ordered


def test_a_body_that_lies_the_other_way_round_is_in_the_same_order(folder):
    # Feet first and prone turn rows and columns around, not the direction to the head.
    where, ordered = folder([0.0, 5.0, 10.0], ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])
    assert names(found(where)) == ordered


def test_without_positions_the_instance_number_orders(tmp_path):
    for name, number in (("a", 10), ("b", 9), ("c", 100), ("d", None)):
        write(tmp_path / name, 0.0, ImagePositionPatient=None, InstanceNumber=number)
    assert names(found(tmp_path)) == ["/b", "/a", "/c", "/d"]


@pytest.mark.parametrize(
    ("heights", "elements", "reason"),
    [
        ([0.0, 5.0, 15.0, 20.0], {}, Reason.GAP_IN_SERIES),
        ([0.0, 5.0, 5.0, 10.0], {}, Reason.MIXED_SERIES),
        ([0.0, 5.0, 10.0], {"SeriesInstanceUID": "1.2.3"}, Reason.MIXED_SERIES),
        ([0.0, 5.0, 10.0], {"ImageOrientationPatient": TILTED}, Reason.MIXED_SERIES),
    ],
)
def test_what_is_no_one_whole_series_is_refused_with_all_its_members(
    folder, heights, elements, reason
):
    where, _ = folder(heights)
    if elements:
        write(where / "other", 15.0, **elements)
    (where / "broken").write_bytes(b"nothing")
    with pytest.raises(UnusableSeriesError) as caught:
        found(where)
    assert caught.value.reason is reason
    assert {one.path for one in caught.value.members} == set(where.iterdir())
    assert "1.2.3" not in caught.value.detail


def test_distances_that_differ_a_little_are_no_gap(folder):
    where, ordered = folder([0.0, 5.0, 10.4, 15.0, 21.0])
    assert names(found(where)) == ordered


def test_what_is_no_axial_slice_comes_last_and_says_so_when_it_is_read(folder):
    where, ordered = folder([0.0, 5.0, 10.0])
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesInstanceUID": "1.9"}
    write(where / "x-scout", 7.0, **scout)
    write(where / "x-coronal", 8.0, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    write(where / "x-report", 9.0, Modality="SR")
    (where / "x-cut").write_bytes((where / "000").read_bytes()[:2000])
    slices = found(where)
    assert names(slices) == [*ordered, "/x-coronal", "/x-cut", "/x-report", "/x-scout"]
    reasons = []
    for one in slices[3:]:
        with pytest.raises(UnusableSliceError) as caught:
            read_dicom(one.path)
        reasons.append(caught.value.reason)
    assert reasons == [
        Reason.NOT_AXIAL,
        Reason.UNREADABLE,
        Reason.NOT_CT,
        Reason.NOT_AXIAL,
    ]


def test_the_frames_of_a_volume_in_a_folder_are_ordered_by_their_positions(tmp_path):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.NumberOfFrames = 3
    dataset.PixelData = dataset.PixelData * 3
    groups = []
    for height in (10.0, 0.0, 5.0):
        plane = Dataset()
        plane.ImagePositionPatient = [0, 0, height]
        group = Dataset()
        group.PlanePositionSequence = Sequence([plane])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.save_as(tmp_path / "volume")
    write(tmp_path / "slice", 15.0)
    slices = found(tmp_path)
    assert names(slices) == ["/volume#2", "/volume#3", "/volume#1", "/slice"]
    assert [one.frame for one in slices] == [1, 2, 0, None]
    with DicomFile(slices[0].path) as file:
        assert file.frames == 3


def test_a_pipe_blocks_nothing(folder):
    where, ordered = folder([0.0, 5.0, 10.0])
    os.mkfifo(where / "x-pipe")
    outcome = []
    reader = threading.Thread(target=lambda: outcome.append(found(where)), daemon=True)
    reader.start()
    reader.join(20)
    assert names(outcome[0]) == [*ordered, "/x-pipe"]
    with pytest.raises(UnusableSliceError, match="no regular file") as caught:
        read_dicom(where / "x-pipe")
    assert caught.value.reason is Reason.UNREADABLE


def test_a_folder_without_any_slice_gives_what_is_in_it(tmp_path):
    (tmp_path / "b").write_bytes(b"nothing")
    (tmp_path / "a").write_bytes(b"")
    assert names(found(tmp_path)) == ["/a", "/b"]
    assert find_series([], tmp_path) == []


@pytest.mark.shared
def test_a_real_series_is_in_the_order_of_the_body():
    files = sorted(SHARED.rglob("*.dcm"))
    if not files:
        pytest.skip(f"no DICOM series at {SHARED}")
    slices = find_series(files, files[0].parent)
    heights = [
        float(pydicom.dcmread(one.path, stop_before_pixels=True).ImagePositionPatient[2])
        for one in slices
    ]
    assert len(heights) == len(files)
    assert heights == sorted(heights)
