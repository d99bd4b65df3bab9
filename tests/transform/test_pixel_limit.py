"""A picture of few bytes and many pixels is refused before anything is decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from transform import pixel_limit
from transform.ct_example import encode_png16
from transform.hounsfield import SLICES_AT_ONCE, decode_stored, scaled_slices
from transform.picture_graph import decode_picture
from transform.pixel_limit import MAX_PIXELS
from transform.reading import Reason, UnusableSliceError
from transform.reading.nifti_header import MAX_SIDE
from transform.reading.picture import decode_grey

ENCODED = [tf.TensorSpec([], tf.string)]
HEIGHT, WIDTH = 20, 30
GREY = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)

decode = tf.function(decode_picture, input_signature=ENCODED)
stored = tf.function(decode_stored, input_signature=ENCODED)


def chunk(name, content):
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def white_png(width, height, *, depth=16, first=b""):
    """Some kilobytes, whatever its size."""
    packed, row = zlib.compressobj(), b"\0" + b"\xff" * (width * depth // 8)
    rows = b"".join([packed.compress(row) for _ in range(height)]) + packed.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + first + b"".join(chunks)


def png_that_says(width, height):
    """A PNG of one pixel with another size in its header."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(2))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def encoded(file_format, **options):
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, file_format, **options)
    return buffer.getvalue()


def frame_header(jpeg):
    """Where the frame header (SOF, ITU-T T.81 B.2.2) of a grey JPEG begins and ends."""
    begin = max(jpeg.find(b"\xff" + marker + b"\x00\x0b\x08") for marker in (b"\xc0", b"\xc2"))
    assert begin > 0
    return begin, begin + 13


def jpeg_that_says(width, height, **options):
    """A JPEG of 30 x 20 pixels with another size in its frame header."""
    jpeg = encoded("JPEG", **options)
    begin, _ = frame_header(jpeg)
    return jpeg[: begin + 5] + struct.pack(">HH", height, width) + jpeg[begin + 9 :]


def refusal(function, picture):
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        function(picture)
    return raised.value.message


@pytest.mark.parametrize(
    ("width", "height"),
    [(4097, 4096), (4096, 4097), (2**24 + 1, 1), (1, 2**24 + 1), (2**31 - 1,) * 2],
)
@pytest.mark.parametrize("function", [decode, stored], ids=["picture", "example"])
def test_a_png_of_too_many_pixels_is_refused_with_its_size_and_the_limit(function, width, height):
    said = refusal(function, png_that_says(width, height))
    assert (
        f"the picture has {width} x {height} pixels, more than the 16777216 that a slice may have"
        in said
    )


@pytest.mark.parametrize(("width", "height"), [(2**32 - 1, 2**32 - 1), (2**31, 2**31), (2**31, 1)])
def test_sides_that_a_signed_number_cannot_hold_do_not_get_around_the_limit(width, height):
    assert f"has {width} x {height} pixels" in refusal(decode, png_that_says(width, height))
    assert f"has {width} x {height} pixels" in refusal(stored, png_that_says(width, height))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("width", "height"), [(4097, 4096), (4096, 4097), (65500, 65500)])
def test_a_jpeg_of_too_many_pixels_is_refused_with_its_size_and_the_limit(
    width, height, progressive
):
    said = refusal(decode, jpeg_that_says(width, height, progressive=progressive))
    assert (
        f"the picture has {width} x {height} pixels, more than the 16777216 that a slice may have"
        in said
    )


@pytest.mark.parametrize(("width", "height"), [(4096, 4096), (8192, 2048), (256, 65536)])
def test_what_ingestion_takes_at_its_limit_the_graph_decodes_too(tmp_path, width, height):
    path = tmp_path / "slice.png"
    assert width * height == MAX_PIXELS
    path.write_bytes(white_png(width, height))
    assert decode_grey(path).grey.shape == (height, width)
    for function in (lambda picture: decode(picture)[0], stored):
        assert function(path.read_bytes()).shape == (height, width, 1)


@pytest.mark.parametrize("picture", [png_that_says(4097, 4096), jpeg_that_says(4096, 4097)])
def test_what_the_graph_refuses_ingestion_refuses_too(tmp_path, picture):
    path = tmp_path / "slice"
    path.write_bytes(picture)
    refusal(decode, picture)
    with pytest.raises(UnusableSliceError) as raised:
        decode_grey(path)
    assert raised.value.reason == Reason.TOO_LARGE


def test_no_slice_of_a_volume_is_larger_than_the_graph_decodes():
    assert MAX_SIDE**2 <= MAX_PIXELS


@pytest.mark.parametrize(
    "picture",
    [
        encoded("PNG"),
        encoded("JPEG"),
        encoded("JPEG", progressive=True),
        encode_png16(GREY.astype(np.uint16)),
    ],
    ids=["PNG", "JPEG", "progressive JPEG", "16-bit PNG"],
)
def test_the_last_pixel_that_fits_is_decoded_and_one_more_is_not(monkeypatch, picture):
    monkeypatch.setattr(pixel_limit, "MAX_PIXELS", WIDTH * HEIGHT)
    at_the_limit = tf.function(decode_picture, input_signature=ENCODED)
    assert at_the_limit(picture)[0].shape == (HEIGHT, WIDTH, 1)
    monkeypatch.setattr(pixel_limit, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    above = tf.function(decode_picture, input_signature=ENCODED)
    assert "has 30 x 20 pixels, more than the 599 that" in refusal(above, picture)


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "WEBP", "TIFF"])
def test_other_formats_are_refused_by_name(file_format):
    """TensorFlow's PNG decoder would take some of them, with sizes that nobody has looked at."""
    assert "the picture is not a PNG or JPEG" in refusal(decode, encoded(file_format))
    assert "the picture is not a PNG" in refusal(stored, encoded(file_format))


def test_a_ct_example_holds_no_jpeg():
    assert "the picture is not a PNG" in refusal(stored, encoded("JPEG"))


def test_a_png_begins_with_its_header():
    """Else a chunk in front of it could move the size away from where it is looked for."""
    hidden = white_png(8, 8, first=chunk(b"teXt", b"a\0" + bytes(11)))
    assert "the picture is not a PNG" in refusal(decode, hidden)


@pytest.mark.parametrize("length", range(30))
@pytest.mark.parametrize("whole", [png_that_says(5000, 5000), encoded("JPEG")], ids=["PNG", "JPEG"])
def test_a_cut_header_is_refused(whole, length):
    for function in (decode, stored):
        refusal(function, whole[:length])


@pytest.mark.parametrize("first", [(WIDTH, HEIGHT), (5000, 5000)])
def test_a_jpeg_of_two_sizes_is_refused(first):
    """By the library that decodes, which is the one that was asked for the size."""
    small, large = encoded("JPEG"), jpeg_that_says(5000, 5000)
    begin, end = frame_header(small)
    headers = [small[begin:end], large[begin:end]]
    if first == (5000, 5000):
        headers.reverse()
    refusal(decode, small[:begin] + b"".join(headers) + small[end:])


def test_a_frame_header_inside_another_segment_is_no_size():
    small = encoded("JPEG")
    begin, end = frame_header(small)
    large = jpeg_that_says(5000, 5000)
    for inner, outer, fits in ((small, large, False), (large, small, True)):
        segment = b"\xff\xe5" + struct.pack(">H", 2 + end - begin) + inner[begin:end]
        hidden = outer[:2] + segment + outer[2:]
        if fits:
            assert decode(hidden)[0].shape == (HEIGHT, WIDTH, 1)
        else:
            assert "has 5000 x 5000 pixels" in refusal(decode, hidden)


def test_one_picture_of_too_many_pixels_is_found_in_any_place_of_a_batch():
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def scaled(pictures):
        ones = tf.ones(tf.shape(pictures))
        return scaled_slices(pictures, ones, ones, hu_min=0.0, hu_max=1.0, size=8)

    good = encode_png16(np.zeros((8, 8), np.uint16))
    assert scaled([good] * 5).shape == (5, 8, 8, 1)
    for place in range(5):
        batch = [good] * 5
        batch[place] = png_that_says(6000, 6000)
        assert "has 6000 x 6000 pixels" in refusal(scaled, batch)
    loops = {
        node.op: node.attr["parallel_iterations"].i
        for node in scaled.get_concrete_function().graph.as_graph_def().node
        if node.op in ("While", "StatelessWhile")
    }
    assert list(loops.values()) == [SLICES_AT_ONCE]
