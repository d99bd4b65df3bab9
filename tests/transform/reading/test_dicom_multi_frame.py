"""DICOM files of many frames: Enhanced CT, legacy converted CT, and plain frames in one file."""

import tracemalloc

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels import apply_modality_lut
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from transform.reading.dicom import DicomFile, dicom_frames, read_dicom
from transform.reading.unusable import Reason, UnusableSliceError

SIZE = 48


def item(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def sequence(**elements):
    return Sequence([item(**elements)])


def frames_of(count, size=SIZE):
    generator = np.random.default_rng(3)
    steps = np.arange(count)[:, None, None] * 100
    return (generator.integers(0, 1000, (count, size, size)) + steps).astype("<u2")


def plain(stored):
    """Frames one after another, with one rescale for all."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.NumberOfFrames = len(stored)
    dataset.Rows, dataset.Columns = stored.shape[1:]
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.tobytes()
    del dataset.PixelPaddingValue
    return dataset


def transformation(slope, intercept):
    return sequence(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")


def enhanced(stored, shared_rescale):
    """Enhanced CT: what belongs to a frame is in functional groups."""
    dataset = plain(stored)
    for keyword in (
        "RescaleSlope",
        "RescaleIntercept",
        "PixelSpacing",
        "ImagePositionPatient",
        "ImageOrientationPatient",
    ):
        del dataset[keyword]
    shared = item(
        PixelMeasuresSequence=sequence(PixelSpacing=["0.5", "0.5"]),
        PlaneOrientationSequence=sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    groups = []
    for index in range(len(stored)):
        own = item(
            PlanePositionSequence=sequence(ImagePositionPatient=[0, 0, 5.0 * index]),
            FrameContentSequence=sequence(FrameComments="SECRET"),
        )
        if not shared_rescale:
            own.PixelValueTransformationSequence = transformation("2", f"{-1000 - index}")
        groups.append(own)
    if shared_rescale:
        shared.PixelValueTransformationSequence = transformation("1", "-1024")
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return dataset


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize("shared_rescale", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_each_frame_has_the_hounsfield_units_of_its_own_functional_groups(
    tmp_path, shared_rescale, compressed, undefined_length
):
    stored = frames_of(5)
    dataset = enhanced(stored, shared_rescale)
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        dataset[keyword].is_undefined_length = undefined_length
        for group in dataset[keyword].value:
            group.is_undefined_length_sequence_item = undefined_length
            for element in group:
                element.is_undefined_length = undefined_length
    groups = dataset.PerFrameFunctionalGroupsSequence
    if compressed:
        dataset.compress(JPEG2000Lossless)
    path = tmp_path / "volume.dcm"
    dataset.save_as(path)
    assert dicom_frames(path) == 5
    with DicomFile(path) as file:
        assert file.frames == 5
        for index in (3, 0, 4, 1, 2):
            place = dataset.SharedFunctionalGroupsSequence[0] if shared_rescale else groups[index]
            lut = place.PixelValueTransformationSequence[0]
            found = file.read(index)
            expected = apply_modality_lut(stored[index], lut)
            np.testing.assert_array_equal(found.hounsfield(), expected)
            assert found.spacing == 0.5


def test_frames_with_one_rescale_for_all_are_read(tmp_path):
    stored = frames_of(3)
    path = tmp_path / "volume.dcm"
    plain(stored).save_as(path)
    with DicomFile(path) as file:
        for index in range(3):
            np.testing.assert_array_equal(file.read(index).hounsfield(), stored[index] - 1024.0)


def test_a_frame_that_is_a_localizer_or_not_axial_is_refused_alone(tmp_path):
    dataset = enhanced(frames_of(3), shared_rescale=True)
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[1].CTImageFrameTypeSequence = sequence(FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    groups[2].PlaneOrientationSequence = sequence(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    path = tmp_path / "volume.dcm"
    dataset.save_as(path)
    with DicomFile(path) as file:
        assert file.read(0).calibrated
        for index in (1, 2):
            with pytest.raises(UnusableSliceError) as caught:
                file.read(index)
            assert caught.value.reason is Reason.NOT_AXIAL


def test_a_volume_is_no_slice(tmp_path):
    path = tmp_path / "volume.dcm"
    plain(frames_of(2)).save_as(path)
    with pytest.raises(UnusableSliceError) as caught:
        read_dicom(path)
    assert caught.value.reason is Reason.MULTI_FRAME


def test_a_plain_slice_is_one_frame():
    assert dicom_frames(get_testdata_file("CT_small.dcm")) == 1


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("layout", ["basic table", "no table", "fragments", "extended table"])
def test_the_frames_of_compressed_volumes_are_found_however_they_are_laid_out(
    tmp_path, syntax, layout
):
    if syntax == RLELossless and layout == "fragments":
        pytest.skip("an RLE frame is one fragment")
    stored = frames_of(4)
    codestreams = []
    for frame in stored:
        dataset = plain(frame[None])
        dataset.compress(syntax)
        codestreams.append(pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1))
    dataset = plain(stored)
    dataset.compress(syntax)
    if layout == "extended table":
        parts = encapsulate_extended(codestreams)
        dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = parts
    else:
        count = 3 if layout == "fragments" else 1
        dataset.PixelData = encapsulate(codestreams, count, has_bot=layout == "basic table")
    path = tmp_path / "volume.dcm"
    dataset.save_as(path)
    with DicomFile(path) as file:
        for index in (2, 0, 3, 1):
            np.testing.assert_array_equal(file.read(index).hounsfield(), stored[index] - 1024.0)


def test_a_large_volume_is_read_frame_by_frame(tmp_path):
    stored = frames_of(40, size=512)
    path = tmp_path / "volume.dcm"
    plain(stored).save_as(path)
    with DicomFile(path) as file:
        file.read(0)
        tracemalloc.start()
        for index in range(40):
            file.read(index)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert stored.nbytes > 20e6
    assert peak < 8e6


@pytest.mark.parametrize("says", [4, 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_other_frames_than_the_header_says_are_refused(tmp_path, compressed, says):
    dataset = plain(frames_of(3))
    if compressed:
        dataset.compress(JPEG2000Lossless)
    dataset.NumberOfFrames = says
    path = tmp_path / "volume.dcm"
    dataset.save_as(path)
    with pytest.raises(UnusableSliceError) as caught, DicomFile(path) as file:
        file.read(0)
    assert caught.value.reason is Reason.UNREADABLE
