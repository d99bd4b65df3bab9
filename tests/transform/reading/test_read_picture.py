"""Reading pictures under an assumed window, and telling formats by bytes."""

import io
import random
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transform.reading import (
    FoundSlice,
    ReadingSettings,
    Reason,
    SliceReader,
    UnusableSliceError,
    read_slice,
)

WINDOW = (-1000.0, 400.0)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = np.random.default_rng(3).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encoded(array, file_format, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(width, height, rows=b"", depth=8, colour=0, extra=b"", interlaced=0):
    """A PNG of these filtered rows, whatever its header says."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


def png_header(width, height):
    """A PNG that says it is this large, of next to no bytes."""
    return png(width, height)


def white_and_black(white, black):
    """Filtered rows of 16 pixels, white in the upper rows and black in the lower ones."""
    return (b"\0" + white * 16) * 8 + (b"\0" + black * 16) * 8


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


@pytest.mark.parametrize(
    ("depth", "colour", "white", "black"),
    [
        (8, 0, b"\xff", b"\0"),
        (16, 0, b"\xff\xff", b"\0\0"),
        (8, 4, b"\xff\0", b"\0\xff"),
        (16, 4, b"\xff\xff\0\0", b"\0\0\xff\xff"),
        (8, 2, b"\xff" * 3, b"\0" * 3),
        (16, 2, b"\xff" * 6, b"\0" * 6),
        (8, 6, b"\xff\xff\xff\0", b"\0\0\0\xff"),
        (16, 6, b"\xff" * 6 + b"\0\0", b"\0" * 6 + b"\xff\xff"),
    ],
)
def test_white_is_white_and_black_is_black_in_every_kind_of_png(read, depth, colour, white, black):
    rows = white_and_black(white, black)
    hounsfield = read(png(16, 16, rows, depth, colour)).hounsfield()
    np.testing.assert_allclose(hounsfield[:8], 400.0, atol=1e-3)
    np.testing.assert_array_equal(hounsfield[8:], -1000.0)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_white_is_white_where_pixels_share_a_byte(read, depth):
    whole = b"\xff" * (2 * depth)
    rows = (b"\0" + whole) * 8 + (b"\0" + bytes(2 * depth)) * 8
    hounsfield = read(png(16, 16, rows, depth)).hounsfield()
    np.testing.assert_allclose(hounsfield[:8], 400.0, atol=1e-3)
    np.testing.assert_array_equal(hounsfield[8:], -1000.0)


def test_transparency_is_not_looked_at_and_not_warned_of(read):
    half = Image.fromarray(RAMP).convert("P")
    buffer = io.BytesIO()
    half.save(buffer, "PNG", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read(buffer.getvalue()).stored, RAMP)
        np.testing.assert_array_equal(read(encoded(RAMP, "PNG", transparency=3)).stored, RAMP)


def test_of_an_animated_png_the_first_picture_is_read(read):
    buffer = io.BytesIO()
    frames = [Image.fromarray(np.roll(RAMP, shift, axis=0)) for shift in (0, 3, 5)]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    assert b"acTL" in buffer.getvalue()
    np.testing.assert_array_equal(read(buffer.getvalue()).stored, RAMP)


def facts_of(tmp_path, content, **settings):
    path = tmp_path / "slice"
    path.write_bytes(content)
    with SliceReader(ReadingSettings(WINDOW, **settings)) as reader:
        return reader.read(FoundSlice(path)).file


@pytest.mark.parametrize(
    ("array", "file_format", "mode"),
    [
        (RAMP, "png", "L"),
        (RAMP > 100, "png", "1"),
        (RAMP.astype(np.uint16), "png", "I;16"),
        (COLOUR, "png", "RGB"),
        (COLOUR, "jpeg", "RGB"),
        (RAMP, "jpeg", "L"),
    ],
)
def test_what_is_known_of_a_file_is_its_format_mode_and_size(tmp_path, array, file_format, mode):
    content = encoded(array, file_format)
    facts = facts_of(tmp_path, content)
    assert (facts.format, facts.mode, facts.bytes) == (file_format, mode, len(content))
    assert (facts.series, facts.patient_id) == ("", "")


def marked(side=96):
    """A grey slice with a red square drawn on it."""
    grey = np.random.default_rng(1).integers(60, 90, (side, side), dtype=np.uint8)
    colours = np.repeat(grey[..., None], 3, axis=-1)
    colours[30:34, 20:60] = (230, 20, 20)
    return colours


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P"])
def test_coloured_marks_are_refused_only_where_they_are_to_be(tmp_path, kind):
    buffer = io.BytesIO()
    Image.fromarray(marked()).convert(kind).save(buffer, "PNG")
    assert facts_of(tmp_path, buffer.getvalue()).mode == kind
    with pytest.raises(UnusableSliceError) as caught:
        facts_of(tmp_path, buffer.getvalue(), refuse_marks=True)
    assert caught.value.reason is Reason.COLOURED_MARKS
    assert len(caught.value.detail.splitlines()) == 1


@pytest.mark.parametrize("kind", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_a_grey_picture_has_no_coloured_marks(tmp_path, kind):
    buffer = io.BytesIO()
    Image.fromarray(marked()).convert("L").convert(kind).save(buffer, "PNG")
    assert facts_of(tmp_path, buffer.getvalue(), refuse_marks=True).mode == kind


def test_pixels_that_are_missing_or_harmed_are_not_filled_up_with_black(read):
    rows = b"".join(b"\0" + bytes(row) for row in RAMP)
    whole = png(16, 16, rows)
    np.testing.assert_array_equal(read(whole).stored, RAMP)
    for broken in (
        png(16, 16, rows[:-1]),
        png(16, 16, rows[: 17 * 9]),
        png(16, 16, rows, interlaced=1),
        png(16, 16, rows, extra=chunk(b"ABCD", b"")),
        whole[:-12],
        whole[:-16] + bytes(4) + whole[-12:],
        whole.replace(b"IDAT", b"iDAT"),
    ):
        with pytest.raises(UnusableSliceError) as caught:
            read(broken)
        assert caught.value.reason is Reason.UNREADABLE


def test_a_large_png_that_ends_in_black_is_whole(read):
    # The last kilobytes unpack to megabytes, which come when all of the file has been taken up.
    picture = np.zeros((2048, 2048), np.uint8)
    picture[:200] = np.random.default_rng(0).integers(0, 256, (200, 2048), dtype=np.uint8)
    stored = read(encoded(picture, "PNG")).stored
    assert np.array_equal(stored > 0, picture > 0)


def test_an_interlaced_png_is_read(read):
    adam7 = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    passes = [RAMP[row::row_step, column::step] for column, row, step, row_step in adam7]
    rows = b"".join(b"\0" + bytes(row) for one in passes for row in one)
    np.testing.assert_array_equal(read(png(16, 16, rows, interlaced=1)).stored, RAMP)


def test_compressed_text_does_not_take_the_memory(read):
    rows = b"".join(b"\0" + bytes(row) for row in RAMP)
    bomb = zlib.compress(bytes(2**27))
    for name in (b"zTXt", b"iCCP"):
        tracemalloc.start()
        with pytest.raises(UnusableSliceError):
            read(png(16, 16, rows, extra=chunk(name, b"text\0\0" + bomb)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**25


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
        (png_header(4097, 4097), Reason.TOO_LARGE),
        (png_header(9000, 9000), Reason.TOO_LARGE),
        (png_header(60000, 60000), Reason.TOO_LARGE),
        (encoded(RAMP[:1, :1], "PNG"), Reason.TOO_SMALL),
        (encoded(RAMP[:15], "PNG"), Reason.TOO_SMALL),
        (encoded(np.full_like(RAMP, 7), "PNG"), Reason.CONSTANT),
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
        "PNG much larger than a CT slice",
        "PNG that would take all memory",
        "PNG of one pixel",
        "PNG of few rows",
        "PNG of one grey level",
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
