"""Coloured marks over a slice are found; grey, tints, noise and what JPEG adds are not."""

import functools
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from transform.phantom import draw_patient, render_slice
from transform.reading.colour_marks import ColouredMarks, find_coloured_marks

COVID_CT = (Path(__file__).resolve().parents[3] / ".." / "shared" / "covid-ct").resolve()

VIVID = {
    "red": (255, 0, 0),
    "orange": (255, 140, 0),
    "yellow": (255, 255, 0),
    "green": (0, 255, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
    "purple": (160, 32, 240),
    "pink": (255, 20, 200),
}
DIM = {
    "red": (120, 0, 0),
    "green": (0, 90, 0),
    "blue": (0, 0, 110),
    "brown": (139, 69, 19),
    "pink": (255, 182, 193),
}
TINTS = {
    "none": lambda grey: np.repeat(grey[..., None], 3, axis=2),
    "sepia": lambda grey: np.stack([grey**0.85, grey**0.95, grey**1.1], axis=-1),
    "bluish": lambda grey: grey[..., None] * [0.93, 0.97, 0.96] + [0.0, 0.01, 0.04],
    "yellowed": lambda grey: grey[..., None] * [0.98, 0.96, 0.88] + [0.02, 0.02, 0.0],
}


@functools.cache
def grey_slice(size=256, number=0):
    """Float [size, size], 0 to 1: a phantom under a lung window."""
    hounsfield = render_slice(draw_patient(7, number), 4, 9, size).hu
    return np.clip((hounsfield + 1000) / 1400, 0, 1)


def picture(values):
    return Image.fromarray(np.clip(values * 255, 0, 255).astype(np.uint8))


def coloured(tint="none", size=256, number=0):
    return picture(TINTS[tint](grey_slice(size, number)))


def pixels(image, quality=None):
    """What a reader gets of an image that was stored as PNG, or as JPEG of a quality (4:2:0)."""
    buffer = io.BytesIO()
    if quality is None:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(buffer).convert("RGB"))


def mark(image, kind, colour, left=60, top=90, size=20, width=1):
    canvas = ImageDraw.Draw(image)
    right, bottom = left + size, top + size
    if kind == "arrow":
        canvas.line((left, top, right, bottom), fill=colour, width=width)
        canvas.line((left, top, left + size // 3, top), fill=colour, width=width)
        canvas.line((left, top, left, top + size // 3), fill=colour, width=width)
    elif kind == "circle":
        canvas.ellipse((left, top, right, bottom), outline=colour, width=width)
    elif kind == "box":
        canvas.rectangle((left, top, right, bottom), outline=colour, width=width)
    elif kind == "letter":
        canvas.text((left, top), "R", fill=colour, font=ImageFont.load_default(size=size))
    elif kind == "crosshair":
        canvas.line((0, top, image.width, top), fill=colour, width=width)
        canvas.line((left, 0, left, image.height), fill=colour, width=width)
    return image


@pytest.mark.parametrize("quality", [None, 95, 75, 50])
@pytest.mark.parametrize("kind", ["arrow", "circle", "box", "letter", "crosshair"])
def test_thin_marks_of_every_vivid_colour_are_found(kind, quality):
    for name, colour in VIVID.items():
        for number, size in enumerate((10, 20, 50)):
            image = mark(coloured(number=number), kind, colour, size=size)
            assert find_coloured_marks(pixels(image, quality)) is not None, (name, size)


@pytest.mark.parametrize("quality", [None, 90])
@pytest.mark.parametrize("kind", ["circle", "box", "letter"])
def test_dark_and_pale_marks_are_found(kind, quality):
    for name, colour in DIM.items():
        image = mark(coloured(), kind, colour, size=30, width=2)
        assert find_coloured_marks(pixels(image, quality)) is not None, name


@pytest.mark.parametrize("tint", TINTS)
def test_marks_over_a_tinted_picture_are_found(tint):
    for name, colour in VIVID.items():
        image = mark(coloured(tint), "arrow", colour, width=2)
        assert find_coloured_marks(pixels(image, 75)) is not None, name


def test_a_mark_of_ten_yellow_pixels_is_found():
    values = pixels(coloured(size=512)).copy()
    values[300, 200:210] = (255, 255, 0)
    found = find_coloured_marks(values)
    assert found == ColouredMarks(10, 10 / 512**2, (200, 300, 209, 300), "yellow")
    assert found.detail == (
        "yellow marks over 0.0038 % of the slice, the largest at x 200-209, y 300-300"
    )


def test_the_largest_of_several_marks_is_reported():
    image = mark(coloured(), "box", (255, 0, 0), left=20, top=30, size=9)
    mark(image, "box", (0, 0, 255), left=150, top=100, size=40, width=2)
    found = find_coloured_marks(pixels(image))
    assert found.box == (150, 100, 190, 140)
    assert found.colour == "blue"
    assert found.pixels == 4 * 9 + 41**2 - 37**2
    assert found.share == found.pixels / 256**2


@pytest.mark.parametrize("name", VIVID)
def test_a_mark_is_named_by_its_colour(name):
    found = find_coloured_marks(pixels(mark(coloured(), "box", VIVID[name], width=3)))
    assert found.colour == name


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_what_is_left_of_a_mark_at_the_edge_is_found(side):
    values = pixels(coloured()).copy()
    rim = {
        "left": np.s_[100:106, :1],
        "right": np.s_[100:106, -1:],
        "top": np.s_[:1, 100:106],
        "bottom": np.s_[-1:, 100:106],
    }[side]
    values[rim] = (255, 160, 0)
    assert find_coloured_marks(values).pixels == 6


def test_a_transparent_overlay_over_a_third_of_the_picture_is_found():
    values = pixels(coloured()).astype(float)
    values[:, :86] = 0.7 * values[:, :86] + 0.3 * np.array([255, 0, 0])
    found = find_coloured_marks(values.astype(np.uint8))
    assert found.colour in ("red", "pink")


def test_a_picture_in_false_colours_is_found():
    grey = grey_slice()
    rainbow = np.stack([np.clip(1.5 - abs(4 * grey - peak), 0, 1) for peak in (3, 2, 1)], axis=-1)
    assert find_coloured_marks(pixels(picture(rainbow))) is not None


@pytest.mark.parametrize("quality", [None, 95, 75, 50, 20])
@pytest.mark.parametrize("tint", TINTS)
def test_a_tint_and_noise_are_no_marks(tint, quality):
    generator = np.random.default_rng(5)
    for number in range(3):
        values = TINTS[tint](grey_slice(number=number))
        of_grey = generator.normal(0, 12 / 255, values.shape[:2])[..., None]
        of_channels = generator.normal(0, 4 / 255, values.shape)
        for noise in (0, of_grey, of_channels):
            assert find_coloured_marks(pixels(picture(values + noise), quality)) is None


@pytest.mark.parametrize("tint", TINTS)
@pytest.mark.parametrize("kind", ["arrow", "circle", "box", "letter", "crosshair"])
def test_grey_marks_are_no_coloured_marks(kind, tint):
    for level in (0, 128, 255):
        image = mark(coloured(tint), kind, (level, level, level), width=3)
        assert find_coloured_marks(pixels(image)) is None, level


def test_single_odd_pixels_are_no_marks():
    values = pixels(coloured()).copy()
    values[20::50, 20::50] = (255, 0, 0)
    assert find_coloured_marks(values) is None


def photographed_screen():
    """A slice with a cast that varies over it and the coloured moire of a screen."""
    grey = 0.9 * TINTS["none"](grey_slice()) + 0.04
    rows, columns = np.mgrid[:256, :256]
    cast = 12 / 255 * ((columns / 256 - 0.5) + 0.6 * (rows / 256 - 0.5))
    phase = 0.9 * columns + 0.13 * rows + (columns - 128) ** 2 / 850
    moire = 10 / 255 * np.stack([np.sin(phase + shift) for shift in (0, 2.1, 4.2)], axis=-1)
    return picture(grey + moire + np.stack([cast, 0 * cast, -cast], axis=-1))


@pytest.mark.parametrize("quality", [None, 90, 60])
def test_the_moire_of_a_photographed_screen_is_no_mark_but_an_arrow_over_it_is(quality):
    assert find_coloured_marks(pixels(photographed_screen(), quality)) is None
    arrow = mark(photographed_screen(), "arrow", (255, 0, 0), width=3)
    assert find_coloured_marks(pixels(arrow, quality)).colour == "red"


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_marks_in_palette_and_transparent_pictures_are_found(mode):
    image = mark(coloured(), "circle", (255, 0, 0), width=2)
    assert find_coloured_marks(pixels(image.convert(mode))).colour == "red"
    assert find_coloured_marks(pixels(coloured().convert("L").convert(mode))) is None


def test_a_mark_on_a_very_large_picture_is_found_where_it_is():
    values = np.full((3000, 5000, 3), 90, np.uint8)
    values[2000:2040, 4000:4600] = (0, 0, 255)
    box = find_coloured_marks(values).box
    np.testing.assert_allclose(box, [4000, 2000, 4599, 2039], atol=1)


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (1, 40), (40, 1), (3, 2)])
def test_pictures_of_any_shape_can_be_asked(shape):
    assert find_coloured_marks(np.full((*shape, 3), 70, np.uint8)) is None
    noise = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    find_coloured_marks(noise)


def test_the_picture_is_left_as_it_was():
    values = pixels(mark(coloured(), "box", (255, 0, 0)))
    before = values.copy()
    find_coloured_marks(values)
    np.testing.assert_array_equal(values, before)


@pytest.fixture(scope="module")
def covid_ct_marks():
    if not COVID_CT.is_dir():
        pytest.skip(f"the COVID-CT data set is not at {COVID_CT}")
    return {
        f"{path.parent.name}/{path.name}": find_coloured_marks(
            np.asarray(Image.open(path).convert("RGB"))
        )
        for path in sorted((COVID_CT / "images").glob("*/*"))
    }


@pytest.mark.slow
@pytest.mark.shared
class TestTheSlicesOfCovidCt:
    """All 746 were looked at; these are the counts and the slices nearest to the decision."""

    def test_as_many_slices_of_each_class_are_marked_as_a_person_sees(self, covid_ct_marks):
        marked = [name.split("/")[0] for name, marks in covid_ct_marks.items() if marks]
        assert len(covid_ct_marks) == 746
        assert marked.count("CT_COVID") == 68
        assert marked.count("CT_NonCOVID") == 8

    @pytest.mark.parametrize(
        ("name", "colour"),
        [
            ("CT_COVID/2020.02.26.20027938-p6-80_1%1.png", "yellow"),  # dashed circle
            ("CT_COVID/2020.02.13.20022673-p13-77%0.png", "red"),  # letters
            ("CT_COVID/2020.02.25.20021568-p24-111%4.png", "red"),  # boxes
            ("CT_COVID/2020.03.22.20034041-p18-92-2.png", "cyan"),  # scale
            ("CT_COVID/2020.02.24.20027052-p8-73%0.png", "yellow"),  # a letter of 7 x 12 pixels
            ("CT_COVID/2020.02.19.20025023-p20-93%0.png", "pink"),  # pale box round a letter
            ("CT_COVID/2020.03.11.20033159-p12-45%0.png", "green"),  # pale letters
            ("CT_COVID/2020.02.10.20021584-p6-52%3.png", "green"),  # dark figure of 5 x 5 pixels
            ("CT_NonCOVID/70%0.jpg", "yellow"),  # letters
            ("CT_NonCOVID/91%0.jpg", "green"),  # dark scale
            ("CT_NonCOVID/79.jpg", "cyan"),  # end of a scale in the corner
        ],
    )
    def test_a_slice_with_marks_is_found_with_their_colour(self, covid_ct_marks, name, colour):
        assert covid_ct_marks[name].colour == colour

    def test_red_arrows_over_a_photographed_screen_are_found(self, covid_ct_marks):
        recurrence = [
            marks for name, marks in covid_ct_marks.items() if "/Recurrence-of-positive" in name
        ]
        assert [marks.colour for marks in recurrence if marks] == ["red", "red"]

    @pytest.mark.parametrize(
        "name",
        [
            "CT_COVID/2020.03.04.20031047-p14-87%0.png",  # photographed screen, coloured moire
            "CT_COVID/2020.03.04.20031047-p14-87%1.png",
            "CT_NonCOVID/46.jpg",  # photographed screen, moire and cast
            "CT_NonCOVID/11%0.jpg",
            "CT_NonCOVID/11%2.jpg",
            "CT_NonCOVID/30%1.jpg",  # sepia
            "CT_NonCOVID/30%5.jpg",
            "CT_COVID/2020.02.11.20022053-p12-67%0.png",  # brownish
            "CT_COVID/PIIS0140673620301549_1.png",  # bluish
            "CT_NonCOVID/1332.png",  # white arrows
            "CT_NonCOVID/71%0.jpg",  # black arrows
            "CT_COVID/2020.03.04.20030395-p27-108%2.png",  # one odd pixel
            "CT_COVID/2020.02.24.20027201-p19-669.png",  # faint fringe on a vessel
        ],
    )
    def test_a_slice_without_marks_is_left_alone(self, covid_ct_marks, name):
        assert covid_ct_marks[name] is None
