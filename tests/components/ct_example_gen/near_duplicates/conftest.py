"""Chests to search among, and what becomes of a picture on its way through papers and archives."""

import io
import json

import apache_beam as beam
import numpy as np
import pytest
import tfx.v1  # noqa: F401 TFX before what stands on it
from PIL import Image, ImageDraw

from components.ct_example_gen.near_duplicates import (
    FindNearDuplicates,
    FingerprintedSlice,
    fingerprint,
)
from components.ct_example_gen.near_duplicates.fingerprint_store import FingerprintWriter
from transform.ct_example import StoredSlice
from transform.phantom import draw_patient, render_slice


def hu_slice(hu):
    """A slice with the scanner's HU."""
    return StoredSlice((hu.astype(np.int32) + 1024).astype(np.uint16), 1.0, -1024.0, True)


def picture_slice(grey):
    """A slice as `read_picture` gives it, under the window that is assumed by default."""
    return StoredSlice(grey.astype(np.uint16), 1400.0 / 255.0, -1000.0, False)


def windowed(hu, low=-1000, high=400):
    return np.clip((hu - low) / (high - low) * 255.0 + 0.5, 0, 255).astype(np.uint8)


def resized(grey, width_factor, height_factor=None):
    height, width = grey.shape
    size = round(width * width_factor), round(height * (height_factor or width_factor))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))


def toned(grey, *, gain=1.0, offset=0.0, gamma=1.0):
    return np.clip(255.0 * (grey / 255.0) ** gamma * gain + offset, 0, 255).astype(np.uint8)


def as_jpeg(grey, quality=50):
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def cropped(grey, top=0.0, bottom=0.0, left=0.0, right=0.0):
    height, width = grey.shape
    rows = slice(round(top * height), height - round(bottom * height))
    return grey[rows, round(left * width) : width - round(right * width)]


def marked(grey):
    """With an arrow in a lung and a letter in a corner."""
    image = Image.fromarray(grey.copy())
    draw = ImageDraw.Draw(image)
    side = min(grey.shape)
    x, y = 0.3 * side, 0.45 * side
    draw.line([(x - 0.08 * side, y - 0.05 * side), (x, y)], fill=255, width=side // 80)
    draw.polygon([(x, y), (x - 0.03 * side, y), (x, y - 0.03 * side)], fill=255)
    draw.text((0.03 * side, 0.03 * side), "A", fill=255, font_size=0.07 * side)
    return np.asarray(image)


CHANGES = {
    "halved": lambda grey: resized(grey, 0.5),
    "doubled": lambda grey: resized(grey, 2.0),
    "squeezed": lambda grey: resized(grey, 1.1, 0.9),
    "squared_to_224": lambda grey: resized(grey, 224 / grey.shape[1], 224 / grey.shape[0]),
    "jpeg": as_jpeg,
    "brighter": lambda grey: toned(grey, offset=25),
    "darker": lambda grey: toned(grey, offset=-25),
    "flatter": lambda grey: toned(grey, gain=0.7),
    "steeper": lambda grey: toned(grey, gain=1.2),
    "gamma_up": lambda grey: toned(grey, gamma=1.4),
    "gamma_down": lambda grey: toned(grey, gamma=0.7),
    "cropped_on_one_side": lambda grey: cropped(grey, left=0.03),
    "cropped_in_a_corner": lambda grey: cropped(grey, top=0.03, right=0.03),
    "cropped_all_round": lambda grey: cropped(grey, 0.03, 0.02, 0.03, 0.01),
    "marked": marked,
    "cropped_and_jpeg": lambda grey: as_jpeg(cropped(grey, 0.02, 0.01, 0.03, 0.0)),
    "cropped_and_gamma": lambda grey: toned(cropped(grey, 0.02, 0.01, 0.0, 0.03), gamma=1.3),
    "marked_and_halved": lambda grey: resized(marked(grey), 0.5),
    "halved_and_jpeg": lambda grey: as_jpeg(resized(grey, 0.5)),
}


@pytest.fixture(scope="session", params=CHANGES)
def change(request):
    """Each way in which a picture stays the same picture."""
    return CHANGES[request.param]


@pytest.fixture(scope="session")
def changes():
    """All of them by name."""
    return CHANGES


@pytest.fixture(scope="session")
def chests():
    """HU of eight slices, int16 [256, 256], two patients and four levels."""
    return [
        render_slice(draw_patient(11, number), index, 4, 256).hu
        for number in range(2)
        for index in range(4)
    ]


@pytest.fixture(scope="session")
def fingerprint_of():
    """`StoredSlice -> Fingerprint`."""
    return fingerprint


@pytest.fixture(scope="session")
def print_of_picture():
    """`grey -> Fingerprint`."""
    return lambda grey: fingerprint(picture_slice(grey))


@pytest.fixture(scope="session")
def print_of_hu():
    """`hu -> Fingerprint`."""
    return lambda hu: fingerprint(hu_slice(hu))


@pytest.fixture(scope="session")
def show():
    """`(hu, low, high) -> uint8 picture`."""
    return windowed


@pytest.fixture(scope="session")
def change_lightly():
    """`(grey, number) -> grey` with that many small changes of tone, none of them the same."""
    return lambda grey, number: toned(grey, gain=1.0 - 0.0002 * number)


@pytest.fixture(scope="session")
def search(tmp_path_factory):
    """`({id: Fingerprint or (series, Fingerprint)}) -> sorted pairs`, through real Beam."""
    # A runner gets a copy of whatever a function holds, so the result comes back as a file.
    result = tmp_path_factory.mktemp("pairs") / "pairs.json"

    def run(slices, **settings):
        store = str(tmp_path_factory.mktemp("store"))
        both = {n: one if isinstance(one, tuple) else ("", one) for n, one in slices.items()}
        # In the order of the names, as an ingestion reads, whatever the order of the elements.
        with FingerprintWriter(store, shard=0) as writer:
            places = {name: writer.add(name, both[name][1]) for name in sorted(both)}
        elements = [FingerprintedSlice(name, *both[name], places[name]) for name in both]
        with beam.Pipeline(argv=["--runner=FnApiRunner", "--direct_num_workers=1"]) as pipeline:
            _ = (
                pipeline
                | beam.Create(elements, reshuffle=False)
                | FindNearDuplicates(store, **settings)
                | beam.combiners.ToList()
                | beam.Map(lambda pairs: result.write_text(json.dumps(pairs)))
            )
        return sorted(tuple(pair) for pair in json.loads(result.read_text()))

    return run
