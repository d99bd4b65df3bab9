import base64
import io
import os
import struct
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image

from pipeline.inspection.thumbnails import Thumbnails

SIDE = 64


@pytest.fixture
def draw(job):
    with Thumbnails(window=(-1000.0, 400.0), base=job.files) as thumbnails:
        yield lambda name, frame=None, reason="": thumbnails.draw(name, frame, SIDE, reason)


def decoded(thumbnail):
    head, _, data = thumbnail.source.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def png_that_claims(width, height):
    def chunk(name, data):
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def test_coloured_marks_are_seen_in_their_colour(job, draw):
    pixels = decoded(draw(job.picture("marked.png", colour=(255, 0, 0)))).astype(int)
    red = pixels[22, 32]
    assert red[0] > 200
    assert red[1] < 60
    assert red[2] < 60


def test_a_dicom_slice_is_shown_in_the_display_window(job, draw):
    pixels = decoded(draw(job.dicom("slice.dcm")))
    assert pixels[:, :24].max() < 20
    assert pixels[:, 40:].min() > 235


def test_a_16_bit_picture_keeps_its_greys(job, draw):
    grey = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    Image.fromarray(grey).save(job.files / "deep.png")
    pixels = decoded(draw("deep.png"))
    assert pixels[:, 0].max() < 20
    assert pixels[:, -1].min() > 235


def test_a_slice_of_a_volume_is_drawn_by_its_number(job, draw):
    volume = np.full((64, 48, 5), -1000, np.int16)
    volume[20:40, 20:40] = -500
    volume[20:40, 20:40, 3] = 400
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), job.files / "volume.nii.gz")
    brightest = [int(decoded(draw("volume.nii.gz", frame)).max()) for frame in range(5)]
    assert [one > 200 for one in brightest] == [False, False, False, True, False]


def test_a_large_slice_becomes_small(job, draw):
    Image.new("L", (2000, 1000)).save(job.files / "large.png")
    assert decoded(draw("large.png")).shape == (32, 64)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"\0" * 128 + b"DICM" + b"\1" * 9,
    ],
)
def test_a_broken_file_gets_a_placeholder_with_a_reason(job, draw, content):
    (job.files / "broken").write_bytes(content)
    thumbnail = draw("broken")
    assert thumbnail.source is None
    assert thumbnail.why.startswith("cannot be drawn")


def test_a_missing_file_and_one_that_would_wait_forever_get_a_placeholder(job, draw):
    os.mkfifo(job.files / "pipe")
    for name in ("nothing.png", "pipe", ".", "no\0name"):
        assert draw(name).source is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [5000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_size(job, draw, side):
    (job.files / "bomb.png").write_bytes(png_that_claims(side, side))
    thumbnail = draw("bomb.png")
    assert thumbnail.source is None
    assert thumbnail.why.startswith("not drawn")


@pytest.mark.parametrize("reason", ["burned_in_annotation", "outside_root", "too_large"])
def test_what_must_not_be_shown_is_not_opened(job, draw, reason):
    thumbnail = draw(job.picture("fine.png"), reason=reason)
    assert thumbnail.source is None
    assert thumbnail.why


def test_nothing_outside_of_the_root_is_drawn_whatever_its_reason(job):
    root = job.files / "inside"
    job.picture("inside/fine.png")
    job.picture("secret.png")
    (root / "link.png").symlink_to(job.files / "secret.png")
    with Thumbnails(window=(-1000.0, 400.0), base=root, root=root) as thumbnails:
        assert thumbnails.draw("fine.png", None, SIDE).source
        for name in ("../secret.png", "link.png", str(job.files / "secret.png")):
            assert thumbnails.draw(name, None, SIDE, "bad_label").source is None


def test_a_page_has_only_so_many_bytes_of_pictures(job):
    name = job.picture("fine.png")
    window = (-1000.0, 400.0)
    with Thumbnails(window=window, base=job.files, max_bytes=3000) as thumbnails:
        drawn = [thumbnails.draw(name, None, SIDE) for _ in range(20)]
    sources = [one.source for one in drawn if one.source]
    assert sources
    assert sum(map(len, sources[:-1])) < 3000
    assert drawn[-1].source is None
