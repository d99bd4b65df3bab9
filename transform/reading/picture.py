"""Read PNG and JPEG pictures, whose Hounsfield units are lost.

The same reading exists as a TensorFlow graph in `transform.picture_graph`, for the served model;
a test holds the two equal.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from transform.ct_example import StoredSlice
from transform.pixel_limit import MAX_PIXELS
from transform.reading.found_slice import FileFacts, ReadingSettings, SliceReading
from transform.reading.plausibility import refuse_implausible
from transform.reading.png_integrity import DamagedPngError, check_png
from transform.reading.unusable import Reason, UnusableSliceError

PICTURE_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

_EIGHT_BIT_WHITE = 255
_SIXTEEN_BIT_WHITE = 65535
# Pillow's modes of pictures that cannot show a colour.
_GREY_MODES = ("1", "L", "LA", "I;16")


@dataclasses.dataclass(frozen=True)
class GreyLevels:
    """A decoded picture.

    Attributes:
      grey: uint16 [height, width].
      white: the grey level of white, 255 or 65535.
      format: `png` or `jpeg`.
      mode: Pillow's mode of the file.
      rgb: uint8 [height, width, 3] where it was asked for and the file can show colours.
    """

    grey: np.ndarray
    white: int
    format: str
    mode: str
    rgb: np.ndarray | None = None


def window_rescale(window: tuple[float, float], white: int) -> tuple[float, float]:
    """Slope (HU per grey level) and intercept (HU) that map 0..white onto the window."""
    low, high = window
    return (high - low) / white, low


def _rgb_of_cmyk(image: Image.Image) -> Image.Image:
    """A CMYK or YCCK JPEG as RGB, rounded as TensorFlow rounds it.

    Adobe writes inks inverted, and says so in a segment of its own; Pillow takes all for inverted.
    """
    inks = np.asarray(image).astype(np.uint16)
    light = 255 - inks if "adobe" in image.info else inks
    return Image.fromarray((light[..., :3] * light[..., 3:] // 255).astype(np.uint8))


def decode_grey(path: Path, *, with_colours: bool = False) -> GreyLevels:
    """Decode a PNG or JPEG to grey levels.

    Colour becomes grey by ITU-R BT.601 luma; an alpha channel is ignored. 16-bit grey keeps its
    levels; of 16-bit colour and of 16-bit grey with alpha the high bytes count. Of an animated PNG
    the first picture is taken.

    Args:
      path: the file.
      with_colours: whether to return the colours of a picture that can show some.

    Raises:
      UnusableSliceError: unreadable or too_large.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnusableSliceError(
                    Reason.TOO_LARGE, f"{path} has {width} x {height} pixels, more than a CT slice"
                )
            # A JPEG that holds several pictures is opened as "MPO".
            file_format = "png" if image.format == "PNG" else "jpeg"
            mode = image.mode
            image.load()
            if file_format == "png":
                # What is missing at the end was filled up with zeros.
                last_row = np.asarray(image.crop((0, height - 1, width, height)))
                check_png(path, count_pixels="interlace" in image.info or not last_row.any())
            if mode == "I;16":
                deep = np.asarray(image).astype(np.uint16, copy=False)
                return GreyLevels(deep, _SIXTEEN_BIT_WHITE, file_format, mode)
            # Pillow would otherwise make pixels of the transparent colour see-through, and warn.
            image.info.pop("transparency", None)
            shown = _rgb_of_cmyk(image) if mode == "CMYK" else image
            grey = np.asarray(shown.convert("L")).astype(np.uint16)
            rgb = None
            if with_colours and mode not in _GREY_MODES:
                rgb = np.asarray(shown.convert("RGB"))
            return GreyLevels(grey, _EIGHT_BIT_WHITE, file_format, mode, rgb)
    except Image.DecompressionBombError as error:
        raise UnusableSliceError(Reason.TOO_LARGE, f"{path}: {error}") from error
    except DamagedPngError as error:
        raise UnusableSliceError.damaged(path, error) from error
    except UnusableSliceError:
        raise
    # Pillow and its decoders raise many kinds of error on damaged files.
    except Exception as error:
        raise UnusableSliceError.damaged(path, error) from error


def _refuse_coloured_marks(rgb: np.ndarray, path: Path) -> None:
    # Only ingestion looks for marks; the client is spared what the search needs.
    from transform.reading.colour_marks import find_coloured_marks

    marks = find_coloured_marks(rgb)
    if marks is not None:
        raise UnusableSliceError(Reason.COLOURED_MARKS, f"{path} {marks.detail}")


def read_picture(path: Path, settings: ReadingSettings) -> SliceReading:
    """Read a PNG or JPEG under an assumed display window, as `decode_grey` decodes it.

    Args:
      path: the file.
      settings: the window, and whether coloured marks make the picture unusable.

    Raises:
      UnusableSliceError: unreadable, too_large, too_small, constant, implausible_hu or
        coloured_marks.
    """
    decoded = decode_grey(path, with_colours=settings.refuse_marks)
    slope, intercept = window_rescale(settings.window, decoded.white)
    stored_slice = StoredSlice(decoded.grey, slope, intercept, calibrated=False)
    refuse_implausible(stored_slice, path)
    if decoded.rgb is not None:
        _refuse_coloured_marks(decoded.rgb, path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UnusableSliceError.damaged(path, error) from error
    return SliceReading(stored_slice, FileFacts(decoded.format, decoded.mode, size))
