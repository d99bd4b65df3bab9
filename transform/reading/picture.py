"""Read PNG and JPEG pictures, whose Hounsfield units are lost.

The same reading exists as a TensorFlow graph in `transform.picture_graph`, for the served model;
a test holds the two equal.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from transform.ct_example import StoredSlice
from transform.reading.unusable import Reason, UnusableSliceError

PICTURE_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

# A chest CT slice has at most 2048 x 2048 pixels; a scan of a printed page is larger. Beyond
# this a few kilobytes of compressed zeros could take the memory of the worker.
MAX_PIXELS = 8192 * 8192

_EIGHT_BIT_WHITE = 255
_SIXTEEN_BIT_WHITE = 65535


def window_rescale(window: tuple[float, float], white: int) -> tuple[float, float]:
    """Slope (HU per grey level) and intercept (HU) that map 0..white onto the window."""
    low, high = window
    return (high - low) / white, low


def read_picture(path: Path, window: tuple[float, float]) -> StoredSlice:
    """Read an 8-bit (or 16-bit grey) PNG or JPEG under an assumed display window.

    Colour becomes grey by ITU-R BT.601 luma; an alpha channel is ignored.

    Args:
      path: the file.
      window: HU of black and of white.

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
            if image.mode.startswith("I"):
                grey, white = np.asarray(image).astype(np.uint16), _SIXTEEN_BIT_WHITE
            else:
                grey, white = np.asarray(image.convert("L")).astype(np.uint16), _EIGHT_BIT_WHITE
    except Image.DecompressionBombError as error:
        raise UnusableSliceError(Reason.TOO_LARGE, f"{path}: {error}") from error
    except UnusableSliceError:
        raise
    # Pillow and its decoders raise many kinds of error on damaged files.
    except Exception as error:
        raise UnusableSliceError.damaged(path, error) from error
    slope, intercept = window_rescale(window, white)
    return StoredSlice(grey, slope, intercept, calibrated=False)
