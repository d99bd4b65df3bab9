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
from transform.reading import UnusableSliceError
from transform.reading.picture import decode_grey

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


def chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def png(bit_depth, colour_type, *extra, interlaced=False):
    """A PNG of random bits, of any kind that there is; `extra` chunks come before the pixels."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bit_depth, colour_type, 0, 0, int(interlaced))
    rows = b""
    for column, row, step, row_step in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        bits = len(range(column, WIDTH, step)) * bit_depth * CHANNELS[colour_type]
        for _ in range(row, HEIGHT, row_step):
            rows += b"\0" + _generator.bytes((bits + 7) // 8)
    chunks = chunk(b"IHDR", header) + b"".join(extra)
    chunks += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def palette(colours):
    return chunk(b"PLTE", _generator.bytes(3 * colours))


def raw_pngs():
    """Every kind of PNG, plain, interlaced, and with chunks that say how to show it."""
    kinds = [(depth, 0) for depth in (1, 2, 4, 8, 16)]
    kinds += [(depth, colour_type) for depth in (8, 16) for colour_type in (2, 4, 6)]
    pictures = {}
    for depth, colour_type in kinds:
        name = f"PNG of type {colour_type}, {depth} bit"
        channels = CHANNELS[colour_type]
        shown = (
            chunk(b"gAMA", struct.pack(">I", 22222)),
            chunk(b"sBIT", bytes([max(1, depth - 3)] * channels)),
        )
        pictures[name] = png(depth, colour_type)
        pictures[f"{name}, interlaced"] = png(depth, colour_type, interlaced=True)
        pictures[f"{name}, with gamma and significant bits"] = png(depth, colour_type, *shown)
        if colour_type in (0, 2):
            transparent = chunk(b"tRNS", b"\0\1" * channels)
            pictures[f"{name}, with a transparent colour"] = png(depth, colour_type, transparent)
    for depth in (1, 2, 4, 8):
        name, most = f"PNG with a palette, {depth} bit", 2**depth
        transparent = chunk(b"tRNS", _generator.bytes(most))
        pictures[name] = png(depth, 3, palette(most))
        pictures[f"{name}, interlaced"] = png(depth, 3, palette(most), interlaced=True)
        pictures[f"{name}, with transparency"] = png(depth, 3, palette(most), transparent)
        pictures[f"{name}, of too few colours"] = png(depth, 3, palette(most // 2))
    return pictures


def animated(default_image):
    frames = [Image.fromarray(np.roll(COLOUR, shift, axis=0)) for shift in (0, 3, 5)]
    return encoded(frames[0], save_all=True, append_images=frames[1:], default_image=default_image)


def cmyk_jpegs():
    """Four inks in a JPEG: as Adobe marks them, as YCCK, and not marked."""
    inks = _generator.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    marked = encoded(Image.fromarray(inks, mode="CMYK"), "JPEG", quality=95)
    name = marked.index(b"Adobe")
    length = int.from_bytes(marked[name - 2 : name], "big")
    return {
        "JPEG CMYK": marked,
        "JPEG YCCK": marked[: name + 11] + b"\2" + marked[name + 12 :],
        "JPEG CMYK without a mark": marked[: name - 4] + marked[name - 2 + length :],
    }


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
        **raw_pngs(),
        "PNG animated": animated(default_image=False),
        "PNG animated, with another picture before": animated(default_image=True),
        "JPEG grey": encoded(GREY, "JPEG"),
        **{
            f"JPEG RGB, quality {quality}, subsampling {name}": encoded(
                COLOUR, "JPEG", quality=quality, subsampling=number
            )
            for quality in (30, 75, 95)
            for number, name in enumerate(("4:4:4", "4:2:2", "4:2:0"))
        },
        "JPEG RGB, progressive": encoded(COLOUR, "JPEG", progressive=True),
        "JPEG RGB, not converted to YCbCr": encoded(COLOUR, "JPEG", keep_rgb=True),
        "JPEG with two pictures": encoded(
            colour, "MPO", save_all=True, append_images=[Image.fromarray(GREY).convert("RGB")]
        ),
        **cmyk_jpegs(),
        "PNG of one pixel": encoded(GREY[:1, :1]),
        "JPEG of one pixel": encoded(COLOUR[:1, :1], "JPEG"),
    }


PICTURES = kinds_of_pictures()


def assert_the_two_readings_agree(path):
    read = decode_grey(path)
    grey, white = decode(path.read_bytes())
    np.testing.assert_array_equal(grey.numpy()[..., 0], read.grey)
    assert white.numpy() == read.white


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
    [
        b"",
        b"x",
        b"\x89PNG\r\n\x1a\n",
        PICTURES["PNG L"][:300],
        PICTURES["JPEG grey"][:300],
        PICTURES["JPEG grey"][:-2],
        PICTURES["PNG L"][:-12],
        PICTURES["PNG L"][:-16] + bytes(4) + PICTURES["PNG L"][-12:],
        PICTURES["PNG RGB"].replace(struct.pack(">I", HEIGHT), struct.pack(">I", HEIGHT + 1), 1),
    ],
    ids=[
        "empty",
        "one byte",
        "signature alone",
        "cut PNG",
        "cut JPEG",
        "JPEG without its end",
        "PNG without its end",
        "PNG with a wrong sum",
        "PNG of fewer rows than it says",
    ],
)
def test_a_broken_picture_is_an_error_of_both_readings_not_a_wrong_answer(tmp_path, broken):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(broken)
    path = tmp_path / "picture"
    path.write_bytes(broken)
    with pytest.raises(UnusableSliceError):
        decode_grey(path)
