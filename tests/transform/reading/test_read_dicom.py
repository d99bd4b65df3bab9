"""Reading DICOM CT: true Hounsfield units from sound files, a reason for every other file."""

import random
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from google.protobuf import text_format
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_modality_lut
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian, RLELossless
from tensorflow_metadata.proto.v0 import schema_pb2

from transform.ct_example import MEAN_HU, STD_HU
from transform.reading import Reason, UnusableSliceError, read_slice
from transform.reading.plausibility import PLAUSIBLE_MEAN_HU, PLAUSIBLE_STD_HU
from transform.schema import SCHEMA_FILE

WINDOW = (-1000.0, 400.0)
SHARED = (Path(__file__).resolve().parents[3] / ".." / "shared" / "dicom").resolve()
SHIPPED = [
    "CT_small.dcm",
    "693_J2KI.dcm",
    "dicomdirtests/77654033/CT2/17106",
    "dicomdirtests/77654033/CT2/17136",
    "dicomdirtests/98892001/CT5N/2062",
]


@pytest.fixture(autouse=True)
def _quiet_pydicom():
    # Odd files are the point here, and pydicom warns of each oddity.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def small_ct(**elements):
    """pydicom's 128 x 128 CT slice, with some elements set, or removed where None."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for keyword, value in elements.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


@pytest.fixture
def reason_of(tmp_path):
    """The reason for which a data set is refused once it is saved."""

    def reason(dataset):
        path = tmp_path / "slice.dcm"
        dataset.save_as(path)
        with pytest.raises(UnusableSliceError) as caught:
            read_slice(path, WINDOW)
        assert caught.value.detail.startswith(str(path))
        assert len(caught.value.detail.splitlines()) == 1
        return caught.value.reason

    return reason


def assert_true_hounsfield(path):
    dataset = pydicom.dcmread(path)
    expected = apply_modality_lut(dataset.pixel_array, dataset).astype(np.float32)
    by_hand = dataset.pixel_array.astype(np.float64) * float(dataset.RescaleSlope)
    by_hand = (by_hand + float(dataset.RescaleIntercept)).astype(np.float32)
    np.testing.assert_array_equal(expected, by_hand)
    if "PixelPaddingValue" in dataset:
        padded = dataset.pixel_array == dataset.PixelPaddingValue
        if dataset.file_meta.TransferSyntaxUID == JPEG2000:
            # Padding is at -3024 HU there, and lossy compression smears it to half-way to air.
            padded = expected < -2012
        expected = np.where(padded, np.float32(-1000), expected)
    read = read_slice(Path(path), WINDOW)
    assert read.calibrated
    assert read.stored.dtype == np.uint16
    np.testing.assert_array_equal(read.hounsfield(), expected)


@pytest.mark.parametrize("name", SHIPPED)
def test_hounsfield_units_are_those_of_numpy_and_pydicom(name):
    assert_true_hounsfield(get_testdata_file(name, download=False))


def test_a_shipped_localizer_is_told_apart():
    with pytest.raises(UnusableSliceError) as caught:
        read_slice(Path(get_testdata_file("dicomdirtests/98892001/CT2N/6293")), WINDOW)
    assert caught.value.reason is Reason.NOT_AXIAL


@pytest.mark.shared
def test_hounsfield_units_of_a_real_series_are_those_of_numpy_and_pydicom():
    paths = sorted(SHARED.rglob("*.dcm"))
    if not paths:
        pytest.skip(f"no DICOM series at {SHARED}")
    for path in paths:
        assert_true_hounsfield(path)


@pytest.mark.parametrize(
    ("slope", "intercept"), [("1", "-1024"), ("0.5", "-512"), ("2", "0"), ("-1", "1000")]
)
@pytest.mark.parametrize("signed", [False, True])
def test_slope_intercept_and_sign_are_honoured(tmp_path, slope, intercept, signed):
    stored = np.arange(-600 if signed else 0, 1000, 10, dtype="<i2" if signed else "<u2")
    dataset = small_ct(
        Rows=16,
        Columns=16,
        PixelRepresentation=int(signed),
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        PixelData=np.resize(stored, (16, 16)).tobytes(),
    )
    path = tmp_path / "slice.dcm"
    dataset.save_as(path)
    expected = np.resize(stored, (16, 16)) * float(slope) + float(intercept)
    np.testing.assert_allclose(read_slice(path, WINDOW).hounsfield(), expected, atol=1e-3)
    assert_true_hounsfield(path)


def test_twelve_bits_in_sixteen_are_read_without_what_stands_above_them(tmp_path):
    stored = np.arange(4096, dtype="<u2").reshape(64, 64)
    dataset = small_ct(Rows=64, Columns=64, PixelRepresentation=0, BitsStored=12, HighBit=11)
    dataset.PixelData = stored.tobytes()
    path = tmp_path / "slice.dcm"
    dataset.save_as(path)
    np.testing.assert_array_equal(read_slice(path, WINDOW).stored, stored)


def test_the_name_of_the_file_is_not_looked_at(tmp_path):
    path = tmp_path / "looks-like.png"
    small_ct().save_as(path)
    assert read_slice(path, WINDOW).calibrated


def test_a_window_for_pictures_does_not_touch_dicom():
    path = Path(get_testdata_file("CT_small.dcm"))
    np.testing.assert_array_equal(
        read_slice(path, (0.0, 1.0)).hounsfield(), read_slice(path, WINDOW).hounsfield()
    )


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "MR"}, Reason.NOT_CT),
        ({"Modality": None}, Reason.NOT_CT),
        ({"PixelData": None}, Reason.NO_PIXELS),
        ({"NumberOfFrames": "2"}, Reason.MULTI_FRAME),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.UNSUPPORTED_PIXELS),
        ({"PhotometricInterpretation": "SOMETHING"}, Reason.UNSUPPORTED_PIXELS),
        ({"RescaleSlope": None}, Reason.NOT_RESCALED),
        ({"RescaleIntercept": None}, Reason.NOT_RESCALED),
        ({"RescaleSlope": ""}, Reason.NOT_RESCALED),
        ({"RescaleSlope": "0"}, Reason.NOT_RESCALED),
        ({"RescaleSlope": "1e9"}, Reason.IMPLAUSIBLE_HU),
        ({"RescaleIntercept": "-9024"}, Reason.IMPLAUSIBLE_HU),
        ({"RescaleIntercept": "90000"}, Reason.IMPLAUSIBLE_HU),
        ({"RescaleSlope": ["1", "2"]}, Reason.UNREADABLE),
        ({"Rows": 0}, Reason.UNREADABLE),
        ({"Columns": None}, Reason.UNREADABLE),
        ({"Rows": 129}, Reason.UNREADABLE),
        ({"Rows": 65535, "Columns": 65535}, Reason.TOO_LARGE),
        ({"PixelData": b""}, Reason.UNREADABLE),
        ({"BitsAllocated": 13}, Reason.UNREADABLE),
        ({"BitsAllocated": 1, "BitsStored": 1}, Reason.UNSUPPORTED_PIXELS),
        ({"BitsStored": 17}, Reason.UNREADABLE),
        ({"Columns": 127}, Reason.UNREADABLE),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN_ANNOTATION),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Reason.NOT_AXIAL),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, Reason.NOT_AXIAL),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, Reason.NOT_AXIAL),
        ({"RescaleType": "Z_EFF"}, Reason.NOT_RESCALED),
        ({"RescaleType": "OD"}, Reason.NOT_RESCALED),
        ({"Rows": 15, "Columns": 128, "PixelData": bytes(15 * 256)}, Reason.TOO_SMALL),
        ({"PixelData": bytes(128 * 256)}, Reason.CONSTANT),
    ],
    ids=str,
)
def test_what_cannot_be_used_gets_its_reason(reason_of, elements, reason):
    assert reason_of(small_ct(**elements)) is reason


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"nan ", Reason.NOT_RESCALED),
        (b"inf ", Reason.NOT_RESCALED),
        (b"-inf", Reason.NOT_RESCALED),
        (b"one ", Reason.UNREADABLE),
    ],
)
def test_a_damaged_modality_lut_is_never_used(tmp_path, keyword, text, reason):
    # pydicom refuses to write such numbers, scanners and disks do not.
    marker = {"RescaleSlope": b"5.25", "RescaleIntercept": b"-7.5"}[keyword]
    path = tmp_path / "slice.dcm"
    small_ct(**{keyword: marker.decode()}).save_as(path)
    damaged = path.read_bytes()
    assert damaged.count(marker) == 1
    path.write_bytes(damaged.replace(marker, text))
    with pytest.raises(UnusableSliceError) as caught:
        read_slice(path, WINDOW)
    assert caught.value.reason is reason


def test_colour_pixels_are_refused(reason_of):
    dataset = small_ct(SamplesPerPixel=3, PlanarConfiguration=0)
    dataset.PixelData = bytes(128 * 128 * 2 * 3)
    assert reason_of(dataset) is Reason.UNSUPPORTED_PIXELS


def test_thirty_two_bits_are_read_where_their_values_span_sixteen_and_refused_otherwise(
    tmp_path, reason_of
):
    dataset = small_ct(BitsAllocated=32, BitsStored=32, HighBit=31, PixelRepresentation=0)
    stored = np.arange(128 * 128, dtype="<u4").reshape(128, 128) // 8 + 70_000
    dataset.RescaleIntercept = "-71024"
    dataset.PixelData = stored.tobytes()
    path = tmp_path / "wide.dcm"
    dataset.save_as(path)
    np.testing.assert_array_equal(read_slice(path, WINDOW).hounsfield(), stored - 71_024.0)
    stored[0, 0] = 4
    dataset.PixelData = stored.tobytes()
    assert reason_of(dataset) is Reason.UNSUPPORTED_PIXELS


def test_compressed_pixels_are_read_and_a_foreign_compression_is_refused(tmp_path):
    path = tmp_path / "slice.dcm"
    dataset = small_ct()
    expected = dataset.pixel_array * 1.0 - 1024.0
    dataset.compress(RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_slice(path, WINDOW).hounsfield(), expected)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG-2 video
    dataset.save_as(path)
    with pytest.raises(UnusableSliceError) as caught:
        read_slice(path, WINDOW)
    assert caught.value.reason is Reason.UNSUPPORTED_PIXELS


def test_dicom_of_other_kinds_is_refused_with_a_reason():
    found = {}
    for name in ("MR_small.dcm", "rtplan.dcm", "SC_rgb_rle.dcm", "waveform_ecg.dcm", "rtdose.dcm"):
        with pytest.raises(UnusableSliceError) as caught:
            read_slice(Path(get_testdata_file(name, download=False)), WINDOW)
        found[name] = caught.value.reason
    assert set(found.values()) == {Reason.NOT_CT}


def test_what_is_accepted_can_never_break_the_schema_and_so_stop_a_run():
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    domains = {feature.name: feature.float_domain for feature in schema.feature}
    assert (domains[MEAN_HU].min, domains[MEAN_HU].max) == PLAUSIBLE_MEAN_HU
    assert domains[STD_HU].max == PLAUSIBLE_STD_HU


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    whole = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    path = tmp_path / "slice.dcm"
    # What follows the pixels is padding that nothing is lost with.
    end_of_pixels = whole.rindex(b"\xfc\xff\xfc\xff")
    for length in [*range(0, 6000, 97), end_of_pixels // 2, end_of_pixels - 2]:
        path.write_bytes(whole[:length])
        with pytest.raises(UnusableSliceError):
            read_slice(path, WINDOW)


def test_an_element_of_no_known_kind_is_damage(tmp_path):
    path = tmp_path / "slice.dcm"
    whole = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    path.write_bytes(whole.replace(b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00Q?"))
    with pytest.raises(UnusableSliceError) as caught:
        read_slice(path, WINDOW)
    assert caught.value.reason is Reason.UNREADABLE


def small_file(tmp_path):
    """A whole CT file of under three kilobytes, so that damage hits the header often."""
    dataset = small_ct(Rows=16, Columns=16)
    dataset.PixelData = np.linspace(0, 2000, 256).astype("<i2").tobytes()
    dataset.remove_private_tags()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "whole.dcm"
    dataset.save_as(path)
    return path.read_bytes()


def test_random_damage_is_read_as_plausible_hounsfield_units_or_refused(tmp_path):
    whole = small_file(tmp_path)
    path = tmp_path / "damaged.dcm"
    generator = random.Random(20200324)
    refusals = []
    for _ in range(600):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 8)):
            damaged[generator.randrange(132, len(whole))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            read = read_slice(path, WINDOW)
        except UnusableSliceError as error:
            refusals.append(error)
        else:
            assert read.stored.dtype == np.uint16
            assert read.stored.ndim == 2
            assert np.isfinite(read.hounsfield()).all()
            assert PLAUSIBLE_MEAN_HU[0] <= read.hounsfield().mean() <= PLAUSIBLE_MEAN_HU[1]
    assert 50 < len(refusals) < 550
    assert all(len(one.detail.splitlines()) == 1 for one in refusals)
