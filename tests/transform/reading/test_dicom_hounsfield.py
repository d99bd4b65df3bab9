"""What stored values mean: padding, lookup tables, kinds of rescale, and what does not count."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from pydicom.sequence import Sequence

from transform.reading.dicom import DicomFile, read_dicom
from transform.reading.unusable import Reason, UnusableSliceError

SIZE = 32
SHARED = (Path(__file__).resolve().parents[3] / ".." / "shared" / "dicom").resolve()


def ct(stored, **elements):
    """A CT data set of these stored values (signed where their type is)."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    dataset.PixelData = stored.tobytes()
    del dataset.PixelPaddingValue
    for keyword, value in elements.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


@pytest.fixture
def hounsfield(tmp_path):
    """HU of a data set once it is written and read."""

    def read(dataset):
        path = tmp_path / "slice.dcm"
        dataset.save_as(path)
        return read_dicom(path).hounsfield()

    return read


def ramp(kind="<i2", low=0, high=2000):
    return np.linspace(low, high, SIZE * SIZE).reshape(SIZE, SIZE).astype(kind)


@pytest.mark.parametrize("kind", ["<i2", "<u2"])
def test_padding_becomes_air(hounsfield, kind):
    stored = ramp(kind)
    padding = -2000 if kind == "<i2" else 63536
    stored[:4] = padding
    dataset = ct(stored)
    dataset.add_new("PixelPaddingValue", "SS" if kind == "<i2" else "US", padding)
    found = hounsfield(dataset)
    np.testing.assert_array_equal(found[:4], -1000)
    np.testing.assert_array_equal(found[4:], stored[4:] - 1024.0)


@pytest.mark.parametrize(("value", "limit"), [(-2000, -1990), (-1990, -2000)])
def test_a_range_of_padding_becomes_air_in_either_order(hounsfield, value, limit):
    stored = ramp()
    stored[0, :12] = np.arange(-2001, -1989)
    dataset = ct(stored)
    dataset.add_new("PixelPaddingValue", "SS", value)
    dataset.add_new("PixelPaddingRangeLimit", "SS", limit)
    found = hounsfield(dataset)
    np.testing.assert_array_equal(found[0, 1:12], -1000)
    assert found[0, 0] == -3025
    np.testing.assert_array_equal(found[1:], stored[1:] - 1024.0)


def test_padding_is_as_near_to_air_as_sixteen_bit_allow(hounsfield):
    stored = ramp("<u2", 0, 65000)
    stored[0] = 1
    dataset = ct(stored, RescaleSlope="0.03125", RescaleIntercept="0")
    dataset.add_new("PixelPaddingValue", "US", 1)
    found = hounsfield(dataset)
    assert found[0, 0] == (65000 - 65535) * 0.03125
    np.testing.assert_array_equal(found[1:], stored[1:] * np.float32(0.03125))


def test_a_slice_of_padding_alone_is_constant(hounsfield):
    dataset = ct(ramp())
    dataset.add_new("PixelPaddingValue", "SS", -10)
    dataset.add_new("PixelPaddingRangeLimit", "SS", 3000)
    with pytest.raises(UnusableSliceError) as caught:
        hounsfield(dataset)
    assert caught.value.reason is Reason.CONSTANT


def test_a_padding_value_that_no_pixel_has_changes_nothing(hounsfield):
    dataset = ct(ramp())
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    np.testing.assert_array_equal(hounsfield(dataset), ramp() - 1024.0)


def test_monochrome1_changes_how_a_slice_is_shown_not_what_it_means(hounsfield):
    dataset = ct(ramp(), PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(hounsfield(dataset), ramp() - 1024.0)


def with_table(dataset, first, entries, vr="US", kind="HU"):
    item = Dataset()
    signed = dataset.PixelRepresentation == 1
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries), first, 16])
    item.ModalityLUTType = kind
    value = np.asarray(entries, "<u2").tobytes() if vr == "OW" else list(map(int, entries))
    item.add_new("LUTData", vr, value)
    dataset.ModalityLUTSequence = Sequence([item])
    del dataset.RescaleSlope, dataset.RescaleIntercept
    return dataset


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize(("kind", "low", "first"), [("<u2", 0, 100), ("<i2", -500, -200)])
def test_a_lookup_table_gives_what_pydicom_gives(hounsfield, vr, kind, low, first):
    stored = ramp(kind, low, 1500)
    entries = (np.sqrt(np.arange(1000)) * 60).astype(int)
    dataset = with_table(ct(stored), first, entries, vr)
    np.testing.assert_array_equal(hounsfield(dataset), apply_modality_lut(stored, dataset))


def test_a_lookup_table_of_something_else_is_refused(hounsfield):
    with pytest.raises(UnusableSliceError) as caught:
        hounsfield(with_table(ct(ramp()), 0, np.arange(100), kind="OD"))
    assert caught.value.reason is Reason.NOT_RESCALED


def test_a_lookup_table_that_is_too_short_is_refused(hounsfield):
    dataset = with_table(ct(ramp("<u2")), 0, np.arange(100))
    dataset.ModalityLUTSequence[0].LUTDescriptor = [200, 0, 16]
    with pytest.raises(UnusableSliceError) as caught:
        hounsfield(dataset)
    assert caught.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize("kind", ["HU", "HU_MOD", "US", ""])
def test_hounsfield_units_by_any_of_their_names_are_read(hounsfield, kind):
    np.testing.assert_array_equal(hounsfield(ct(ramp(), RescaleType=kind)), ramp() - 1024.0)


@pytest.mark.parametrize("kind", ["OD", "Z_EFF", "ED", "MGML", "PCT", "PATIENT NAME"])
def test_values_of_something_else_than_hounsfield_units_are_refused(hounsfield, kind):
    with pytest.raises(UnusableSliceError) as caught:
        hounsfield(ct(ramp(), RescaleType=kind))
    assert caught.value.reason is Reason.NOT_RESCALED
    assert "PATIENT" not in caught.value.detail


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        (["0.5", "0.7"], 0.6),
        (None, None),
        (["0", "0.7"], None),
        (["-1", "0.7"], None),
        (["60", "60"], None),
        (["1e9", "0.7"], None),
        (["0.5"], None),
    ],
)
def test_spacing_is_the_mean_of_both_directions_where_it_can_be(tmp_path, spacing, expected):
    dataset = ct(ramp())
    if spacing is None:
        del dataset.PixelSpacing
    else:
        dataset.PixelSpacing = spacing
    dataset.save_as(tmp_path / "slice.dcm")
    found = read_dicom(tmp_path / "slice.dcm").spacing
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_file_says_its_syntax_series_and_patient(tmp_path):
    first, second = ct(ramp(), PatientID="A 7 "), ct(ramp(), SeriesInstanceUID="1.2.3")
    facts = []
    for index, dataset in enumerate((first, second, first)):
        path = tmp_path / f"{index}.dcm"
        dataset.save_as(path)
        with DicomFile(path) as file:
            facts.append(file.facts)
            assert file.facts.bytes == path.stat().st_size
    assert (facts[0].format, facts[0].mode) == ("dicom", "ExplicitVRLittleEndian")
    assert facts[0].patient_id == "A 7"
    assert facts[0].series == facts[2].series != facts[1].series
    assert first.SeriesInstanceUID not in facts[0].series


@pytest.mark.shared
def test_a_real_series_is_read_with_its_spacing():
    paths = sorted(SHARED.rglob("*.dcm"))
    if not paths:
        pytest.skip(f"no DICOM series at {SHARED}")
    assert {read_dicom(path).spacing for path in paths} == {0.646484375}
