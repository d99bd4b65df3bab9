"""Reading pictures under an assumed window, and telling formats by bytes."""

import io
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transform.reading import Reason, UnusableSliceError, read_slice

WINDOW = (-1000.0, 400.0)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = np.random.default_rng(3).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encoded(array, file_format, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, file_format, **options)
    return buffer.getvalue()


def png_header(width, height):
    """A PNG that says it is this large, of next to no bytes."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.fixture
def read(tmp_path):
    def read_bytes(content, name="slice"):
        path = tmp_path / name
        path.write_bytes(content)
        return read_slice(path, WINDOW)

    return read_bytes


def test_black_and_white_of_a_picture_are_the_ends_of_the_window(read):
    hounsfield = read(encoded(RAMP, "PNG")).hounsfield()
    assert hounsfield[0, 0] == -1000.0
    assert hounsfield[-1, -1] == pytest.approx(400.0, abs=1e-3)
    np.testing.assert_allclose(np.diff(hounsfield.ravel()), 1400 / 255, atol=1e-3)


def test_sixteen_bit_grey_spans_the_same_window(read):
    deep = (RAMP.astype(np.uint16) << 8) | RAMP
    read_deep = read(encoded(deep, "PNG"))
    np.testing.assert_array_equal(read_deep.stored, deep)
    np.testing.assert_allclose(
        read_deep.hounsfield(), read(encoded(RAMP, "PNG")).hounsfield(), atol=1e-3
    )


def test_the_window_can_be_another(tmp_path):
    path = tmp_path / "slice.png"
    path.write_bytes(encoded(RAMP, "PNG"))
    hounsfield = read_slice(path, (-160.0, 240.0)).hounsfield()
    assert (hounsfield.min(), hounsfield.max()) == (-160.0, pytest.approx(240.0))


def test_a_picture_is_never_called_calibrated(read):
    assert not read(encoded(RAMP, "PNG")).calibrated
    assert not read(encoded(COLOUR, "JPEG")).calibrated


def test_a_jpeg_under_a_png_name_is_read_as_what_it_is(read):
    jpeg = encoded(COLOUR, "JPEG")
    np.testing.assert_array_equal(read(jpeg, "a.png").stored, read(jpeg, "a.jpg").stored)


def test_a_picture_of_one_pixel_is_read(read):
    assert read(encoded(RAMP[:1, :1], "PNG")).stored.tolist() == [[0]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.UNKNOWN_FORMAT),
        (b"\n", Reason.UNKNOWN_FORMAT),
        (b"path,label,patient_id\na.png,1,p\n", Reason.UNKNOWN_FORMAT),
        (b"<html>404 Not Found</html>" * 20, Reason.UNKNOWN_FORMAT),
        (b"GIF89a" + bytes(200), Reason.UNKNOWN_FORMAT),
        (b"\x89PNG\r\n\x1a\n", Reason.UNREADABLE),
        (b"\xff\xd8\xff", Reason.UNREADABLE),
        (encoded(COLOUR, "PNG")[:600], Reason.UNREADABLE),
        (encoded(COLOUR, "JPEG")[:-200], Reason.UNREADABLE),
        (png_header(0, 0), Reason.UNREADABLE),
        (png_header(0, 16), Reason.UNREADABLE),
        (png_header(16, 16), Reason.UNREADABLE),
        (png_header(9000, 9000), Reason.TOO_LARGE),
        (png_header(60000, 60000), Reason.TOO_LARGE),
    ],
    ids=[
        "empty",
        "one line end",
        "text",
        "a web page",
        "another picture format",
        "PNG signature alone",
        "JPEG signature alone",
        "cut PNG",
        "cut JPEG",
        "PNG of no pixels",
        "PNG of no columns",
        "PNG without its pixels",
        "PNG larger than a CT slice",
        "PNG that would take all memory",
    ],
)
def test_what_is_no_picture_gets_its_reason(read, content, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(UnusableSliceError) as caught:
            read(content, "slice.png")
    assert caught.value.reason is reason
    assert "slice.png" in caught.value.detail
    assert len(caught.value.detail.splitlines()) == 1


def test_a_missing_file_and_a_folder_get_their_reasons(tmp_path):
    with pytest.raises(UnusableSliceError) as missing:
        read_slice(tmp_path / "gone.png", WINDOW)
    assert missing.value.reason is Reason.MISSING_FILE
    with pytest.raises(UnusableSliceError) as folder:
        read_slice(tmp_path, WINDOW)
    assert folder.value.reason is Reason.UNREADABLE
    with pytest.raises(UnusableSliceError) as impossible:
        read_slice(Path("no\0name"), WINDOW)
    assert impossible.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_random_damage_is_read_or_refused_with_a_reason(read, file_format):
    whole = encoded(COLOUR, file_format)
    generator = random.Random(20200324)
    refusals = []
    for _ in range(400):
        damaged = bytearray(
            whole[: generator.choice([len(whole), generator.randrange(len(whole))])]
        )
        for _ in range(generator.randint(0, 8)):
            if damaged:
                damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                slice_read = read(bytes(damaged))
            except UnusableSliceError as error:
                refusals.append(error)
            else:
                assert slice_read.stored.dtype == np.uint16
                assert slice_read.stored.ndim == 2
    assert len(refusals) > 100
    assert all(len(one.detail.splitlines()) == 1 for one in refusals)
