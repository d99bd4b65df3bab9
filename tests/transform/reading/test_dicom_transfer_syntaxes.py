"""Every way in which DICOM stores pixels, sound and damaged."""

import random
import tracemalloc
import warnings
import zlib
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_modality_lut
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from transform.reading.dicom import DicomFile, read_dicom
from transform.reading.unusable import Reason, UnusableSliceError

SIZE = 64
NATIVE = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]
BY_PYDICOM = {
    RLELossless: {},
    JPEGLSLossless: {},
    JPEGLSNearLossless: {"jls_error": 2},
    JPEG2000Lossless: {},
    JPEG2000: {"j2k_cr": [6]},
}
BY_GDCM = {
    "JPEGLossless": gdcm.TransferSyntax.JPEGLosslessProcess14,
    "JPEGLosslessSV1": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEGBaseline8Bit": gdcm.TransferSyntax.JPEGBaselineProcess1,
    "JPEGExtended12Bit": gdcm.TransferSyntax.JPEGExtendedProcess2_4,
}
EIGHT_BIT = ("JPEGBaseline8Bit", "JPEGExtended12Bit")
SYNTAXES = [*(syntax.keyword for syntax in (*NATIVE, *BY_PYDICOM)), *BY_GDCM]


@pytest.fixture(autouse=True)
def _quiet_pydicom():
    # Odd files are the point here, and pydicom warns of each oddity.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def disc(depth):
    """A disc of tissue in air with noise, int32 [64, 64], from 0 to 2 ** depth."""
    noise = np.random.default_rng(5).normal(0, 0.01, (SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    share = np.clip(0.05 + 0.3 * (np.hypot(x, y) < 0.4) + 0.1 * np.sin(9 * x) + noise, 0, 1)
    return (share * ((1 << depth) - 1)).astype(np.int32)


def native(syntax, signed=False, bits=12):
    """A CT data set in a syntax that does not compress."""
    shipped = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    shipped.remove_private_tags()
    # Without the memory of the byte order it was read in, so that it can be written in another.
    dataset = pydicom.Dataset({element.tag: element for element in shipped})
    dataset.file_meta, dataset.preamble = shipped.file_meta, shipped.preamble
    allocated = 8 if bits == 8 else 16
    stored = disc(bits) - (1 << (bits - 1) if signed else 0)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    values = stored.astype(f"{order}{'i' if signed else 'u'}{allocated // 8}")
    # Whatever the type of the values, they stand for the same Hounsfield units.
    slope = 4096 / (1 << bits)
    dataset.RescaleSlope = f"{slope:g}"
    dataset.RescaleIntercept = f"{(slope * (1 << (bits - 1)) if signed else 0) - 1024:g}"
    dataset.Rows = dataset.Columns = SIZE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW"
    del dataset.PixelPaddingValue
    # It stands behind the pixels, and gdcm does not read it.
    if "DataSetTrailingPadding" in dataset:
        del dataset.DataSetTrailingPadding
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def write_ct(path, keyword, signed=False, bits=12):
    """Write a CT file in the transfer syntax of that keyword."""
    if keyword in EIGHT_BIT:
        signed, bits = False, 8
    for syntax in NATIVE:
        if syntax.keyword == keyword:
            native(syntax, signed, bits).save_as(
                path,
                implicit_vr=syntax == ImplicitVRLittleEndian,
                little_endian=syntax != ExplicitVRBigEndian,
            )
            return
    dataset = native(ExplicitVRLittleEndian, signed, bits)
    for syntax, options in BY_PYDICOM.items():
        if syntax.keyword == keyword:
            dataset.compress(syntax, **options)
            dataset.save_as(path)
            return
    dataset.save_as(path)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(BY_GDCM[keyword]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("keyword", SYNTAXES)
def test_each_transfer_syntax_gives_the_hounsfield_units_of_pydicom(
    tmp_path, keyword, signed, bits
):
    if keyword == "JPEGLSNearLossless" and signed:
        pytest.skip("pydicom writes no signed near-lossless JPEG-LS")
    path = tmp_path / "slice"
    write_ct(path, keyword, signed, bits)
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID.keyword == keyword
    with DicomFile(path) as file:
        assert file.facts.mode == keyword
        read = file.read(0)
    expected = apply_modality_lut(dataset.pixel_array, dataset)
    np.testing.assert_allclose(read.hounsfield(), expected, atol=0.5)
    assert np.ptp(expected) > 1000


def test_lossy_jpeg_of_twelve_bit_is_refused_for_what_it_is(tmp_path):
    path = tmp_path / "slice.dcm"
    dataset = pydicom.dcmread(get_testdata_file("JPGExtended.dcm"))
    assert dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit
    dataset.Modality, dataset.RescaleSlope, dataset.RescaleIntercept = "CT", "1", "-1024"
    dataset.save_as(path)
    with pytest.raises(UnusableSliceError, match="lossy JPEG of 12 bit") as caught:
        read_dicom(path)
    assert caught.value.reason is Reason.UNSUPPORTED_PIXELS


@pytest.mark.parametrize(
    ("keyword", "marker", "offset"),
    [
        ("JPEG2000Lossless", b"\xff\x4f\xff\x51", 8),
        ("JPEGLSLossless", b"\xff\xf7", 5),
        ("JPEGLosslessSV1", b"\xff\xc3", 5),
        ("JPEGBaseline8Bit", b"\xff\xc0", 5),
    ],
)
def test_a_codestream_that_says_it_is_huge_is_refused_before_it_is_decoded(
    tmp_path, monkeypatch, keyword, marker, offset
):
    path = tmp_path / "slice.dcm"
    write_ct(path, keyword)
    whole = bytearray(path.read_bytes())
    at = whole.index(marker) + offset
    whole[at : at + 2] = b"\xea\x60"
    path.write_bytes(whole)

    def decode(*_):
        raise AssertionError("it was decoded")

    monkeypatch.setattr("transform.reading.dicom_pixels.decode_isolated", decode)
    with pytest.raises(UnusableSliceError, match="its header says 64 x 64") as caught:
        read_dicom(path)
    assert caught.value.reason is Reason.UNREADABLE


def test_a_deflated_bomb_is_refused_without_taking_the_memory(tmp_path, monkeypatch):
    # The true limit takes seconds to reach.
    monkeypatch.setattr("transform.reading.dicom_deflated.MAX_INFLATED_BYTES", 1 << 26)
    path = tmp_path / "slice.dcm"
    write_ct(path, "DeflatedExplicitVRLittleEndian")
    whole = path.read_bytes()
    meta_end = 144 + int.from_bytes(whole[140:144], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # A private element that says it is as long as what follows, which is all zeros.
    element = b"\x09\x00\x10\x10OB\0\0" + (0xFFFFFF00).to_bytes(4, "little")
    bomb = deflate.compress(element)
    for _ in range(6):
        bomb += deflate.compress(bytes(1 << 24))
    path.write_bytes(whole[:meta_end] + bomb + deflate.flush())
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(UnusableSliceError, match="larger than any CT"):
        read_dicom(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_pixels_that_are_not_stored_as_the_syntax_says_are_refused(tmp_path):
    path = tmp_path / "slice.dcm"
    dataset = native(ExplicitVRLittleEndian)
    dataset.save_as(path)
    for says in (RLELossless, JPEG2000Lossless):
        whole = path.read_bytes()
        meta = pydicom.dcmread(path).file_meta.TransferSyntaxUID.encode()
        swapped = whole.replace(meta, says.encode()[: len(meta)].ljust(len(meta), b"\0"), 1)
        path.write_bytes(swapped)
        with pytest.raises(UnusableSliceError):
            read_dicom(path)


def pixel_element(whole):
    """Where PixelData begins, in either byte order; near the end of a deflated file's meta."""
    found = [
        at for tag in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10") if (at := whole.find(tag)) > 0
    ]
    return min(found, default=400)


def mutate(generator, whole, other):
    """A damaged copy: bytes flipped, anywhere or in a header; cut; or pixels swapped."""
    damaged, pixels = bytearray(whole), pixel_element(whole)
    kind = generator.choice(("anywhere", "header", "codestream", "cut", "swap"))
    if kind == "cut":
        return bytes(damaged[: generator.randrange(132, len(damaged))])
    if kind == "swap":
        return bytes(damaged[:pixels] + other[pixel_element(other) :])
    first, last = {
        "anywhere": (132, len(damaged)),
        "header": (132, pixels),
        "codestream": (pixels, min(pixels + 160, len(damaged))),
    }[kind]
    for _ in range(generator.randint(1, 6)):
        damaged[generator.randrange(first, last)] = generator.randrange(256)
    return bytes(damaged)


def test_mutated_files_of_all_syntaxes_are_slices_or_refused_and_nothing_else(tmp_path):
    whole = []
    for keyword in SYNTAXES:
        write_ct(tmp_path / "whole", keyword)
        whole.append((tmp_path / "whole").read_bytes())
    generator = random.Random(20200324)
    path: Path = tmp_path / "damaged"
    read, refused = 0, 0
    for _ in range(500):
        path.write_bytes(mutate(generator, generator.choice(whole), generator.choice(whole)))
        try:
            found = read_dicom(path)
        except UnusableSliceError:
            refused += 1
        else:
            assert found.stored.dtype == np.uint16
            assert np.isfinite(found.hounsfield()).all()
            read += 1
    assert read > 50
    assert refused > 150
