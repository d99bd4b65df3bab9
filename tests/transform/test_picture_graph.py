"""A picture served as bytes gives the grey levels that the same picture gives when ingested."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from transform.hounsfield import decode_stored
from transform.picture_graph import decode_picture, stored_picture
from transform.reading.picture import read_picture, window_rescale

WINDOW = (-1000.0, 400.0)
SHARED = (Path(__file__).resolve().parents[2] / ".." / "shared" / "covid-ct").resolve()
HEIGHT, WIDTH = 37, 53

_generator = np.random.default_rng(7)
COLOUR = _generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = _generator.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
ALPHA = _generator.integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
DEEP = _generator.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)

decode = tf.function(decode_picture, input_signature=[tf.TensorSpec([], tf.string)])
store = tf.function(stored_picture, input_signature=[tf.TensorSpec([], tf.string)])


def encoded(array_or_image, file_format="PNG", **options):
    image = array_or_image
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(bit_depth, colour_type, row_bytes):
    """A PNG of random bits of a kind that Pillow does not write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bit_depth, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + _generator.bytes(row_bytes) for _ in range(HEIGHT))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def kinds_of_pictures():
    colour = Image.fromarray(COLOUR)
    return {
        "PNG 1": encoded(Image.fromarray(GREY).convert("1")),
        "PNG L": encoded(GREY),
        "PNG L with a transparent level": encoded(GREY, transparency=7),
        "PNG LA": encoded(np.concatenate([GREY[..., None], ALPHA], axis=-1)),
        "PNG P of 2 colours": encoded(colour.quantize(2)),
        "PNG P of 16 colours": encoded(colour.quantize(16)),
        "PNG P of 256 colours": encoded(colour.quantize(256)),
        "PNG P with a transparent colour": encoded(colour.quantize(16), transparency=3),
        "PNG RGB": encoded(COLOUR),
        "PNG RGBA": encoded(np.concatenate([COLOUR, ALPHA], axis=-1)),
        "PNG 16-bit grey": encoded(DEEP),
        "PNG 2-bit grey": png(2, 0, 14),
        "PNG 4-bit grey": png(4, 0, 27),
        "PNG 16-bit grey with alpha": png(16, 4, 4 * WIDTH),
        "PNG 16-bit RGB": png(16, 2, 6 * WIDTH),
        "JPEG grey": encoded(GREY, "JPEG"),
        **{
            f"JPEG RGB, quality {quality}, subsampling {name}": encoded(
                COLOUR, "JPEG", quality=quality, subsampling=number
            )
            for quality in (30, 75, 95)
            for number, name in enumerate(("4:4:4", "4:2:2", "4:2:0"))
        },
        "JPEG RGB, progressive": encoded(COLOUR, "JPEG", progressive=True),
        "JPEG CMYK": encoded(colour.convert("CMYK"), "JPEG"),
        "PNG of one pixel": encoded(GREY[:1, :1]),
        "JPEG of one pixel": encoded(COLOUR[:1, :1], "JPEG"),
    }


PICTURES = kinds_of_pictures()


def assert_the_two_readings_agree(path):
    read = read_picture(path, WINDOW)
    grey, white = decode(path.read_bytes())
    np.testing.assert_array_equal(grey.numpy()[..., 0], read.stored)
    assert window_rescale(WINDOW, int(white)) == (read.slope, read.intercept)


@pytest.mark.parametrize("kind", PICTURES)
def test_the_graph_and_the_ingestion_read_a_picture_bit_for_bit_alike(tmp_path, kind):
    path = tmp_path / "picture"
    path.write_bytes(PICTURES[kind])
    assert_the_two_readings_agree(path)


@pytest.mark.shared
def test_the_graph_and_the_ingestion_read_covid_ct_bit_for_bit_alike():
    paths = sorted((SHARED / "images").glob("*/*"))
    if not paths:
        pytest.skip(f"the COVID-CT data set is not at {SHARED}")
    # A step that is prime to how the files are grouped by paper.
    sample = paths[::13]
    assert {path.read_bytes()[:2] for path in sample} == {b"\x89P", b"\xff\xd8"}
    for path in sample:
        assert_the_two_readings_agree(path)


def test_colour_becomes_grey_by_the_luma_of_bt_601():
    grey, white = decode(encoded(COLOUR))
    luma = COLOUR.astype(np.float64) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(grey.numpy()[..., 0], luma, atol=0.51)
    assert white.numpy() == 255.0


def test_sixteen_bit_grey_keeps_all_its_levels():
    grey, white = decode(encoded(DEEP))
    np.testing.assert_array_equal(grey.numpy()[..., 0], DEEP)
    assert white.numpy() == 65535.0


@pytest.mark.parametrize("kind", ["PNG RGBA", "PNG 16-bit grey", "JPEG grey"])
def test_a_stored_picture_is_what_a_ct_example_holds(kind):
    grey, white = decode(PICTURES[kind])
    stored, stored_white = store(PICTURES[kind])
    np.testing.assert_array_equal(decode_stored(stored), tf.cast(grey, tf.float32))
    assert stored_white == white


@pytest.mark.parametrize(
    "broken",
    [b"", b"x", b"\x89PNG\r\n\x1a\n", PICTURES["PNG L"][:300], PICTURES["JPEG grey"][:300]],
    ids=["empty", "one byte", "signature alone", "cut PNG", "cut JPEG"],
)
def test_a_broken_picture_is_an_error_of_the_request_not_a_wrong_answer(broken):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(broken)
