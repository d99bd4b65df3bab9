"""Thumbnails: slices small enough to stand inside a page, or why there is none."""

from __future__ import annotations

import base64
import dataclasses
import io
import warnings
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from transform.reading.found_slice import FoundSlice, ReadingSettings
from transform.reading.picture import PICTURE_SIGNATURES
from transform.reading.slice_reader import SliceReader
from transform.reading.unusable import Reason, UnusableSliceError

# Larger than any slice; more would take seconds and much memory for a picture of some 200 pixels.
MAX_PIXELS_DRAWN = 4096 * 4096
# A page of more is slow to open and to send.
MAX_BYTES = 12 * 2**20

_QUALITY = 78

# Whose files are never opened for a thumbnail, and what is said instead.
_NEVER_DRAWN = {
    Reason.BURNED_IN_ANNOTATION: "not drawn: text in its pixels may name the patient",
    Reason.OUTSIDE_ROOT: "not drawn: outside of the root folder",
    Reason.TOO_LARGE: "not drawn: too large",
    Reason.MISSING_FILE: "no such file",
}


class _NotDrawnError(Exception):
    """A slice that gets no thumbnail; the message says why."""


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A small picture, or why there is none.

    Attributes:
      source: a `data:` address, or None.
      why: a few words where there is none, else empty.
    """

    source: str | None
    why: str = ""


def _draw_picture(path: Path, side: int) -> Image.Image:
    """A PNG or JPEG in its own colours, so that marks can be seen."""
    with warnings.catch_warnings():
        # What Pillow warns of is refused below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(path, formats=("PNG", "JPEG"))
    with opened as image:
        width, height = image.size
        if width * height > MAX_PIXELS_DRAWN:
            raise _NotDrawnError(f"not drawn: {width:,} × {height:,} pixels")
        # A JPEG is decoded at an eighth, a quarter or half of its size where that is enough.
        image.draft(None, (2 * side, 2 * side))
        if image.mode.startswith("I"):
            grey = np.asarray(image).astype(np.uint16) >> 8
            return Image.fromarray(grey.astype(np.uint8))
        return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def _draw_hounsfield(hounsfield: np.ndarray, window: tuple[float, float]) -> Image.Image:
    """HU float32 [height, width] as grey levels of a display window."""
    low, high = window
    scaled = np.clip((hounsfield - low) / (high - low), 0.0, 1.0)
    return Image.fromarray((255 * scaled + 0.5).astype(np.uint8))


def _encode(image: Image.Image, side: int) -> str:
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    # With colour at half resolution, as is usual, a thin mark would fade.
    options = {} if image.mode == "L" else {"subsampling": 0}
    image.save(file, "JPEG", quality=_QUALITY, optimize=True, **options)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


class Thumbnails:
    """Draws thumbnails for one page, until its share of bytes is used up; a context manager."""

    def __init__(
        self,
        *,
        window: tuple[float, float],
        base: Path,
        root: Path | None = None,
        max_bytes: int = MAX_BYTES,
    ):
        """Draw nothing yet.

        Args:
          window: HU of black and of white.
          base: what relative paths start from.
          root: folder outside of which no file is opened, or None.
          max_bytes: of all thumbnails together.
        """
        self._window = window
        self._base = base
        self._root = root.resolve() if root else None
        self._left = max_bytes
        self._reader = SliceReader(ReadingSettings(window))

    def __enter__(self) -> Thumbnails:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.close()

    def draw(self, path: str, frame: int | None, side: int, reason: str = "") -> Thumbnail:
        """The thumbnail of a slice; never raises for what a file holds.

        Args:
          path: the slice's file.
          frame: which slice of its file, from 0, or None.
          side: of the square that it fits into, pixels.
          reason: why it is in quarantine, or empty.
        """
        if reason in _NEVER_DRAWN:
            return Thumbnail(None, _NEVER_DRAWN[Reason(reason)])
        if self._left <= 0:
            return Thumbnail(None, "not drawn: the page has pictures enough")
        try:
            source = _encode(self._image(path, frame, side), side)
        except _NotDrawnError as error:
            return Thumbnail(None, str(error))
        except Image.DecompressionBombError:
            return Thumbnail(None, _NEVER_DRAWN[Reason.TOO_LARGE])
        except UnusableSliceError as error:
            # The reason alone: what a decoder says may repeat what stands in a header.
            return Thumbnail(None, f"cannot be drawn: {error.reason.value}")
        # Pillow and the decoders raise many kinds of error on damaged files.
        except Exception:
            return Thumbnail(None, f"cannot be drawn: {Reason.UNREADABLE.value}")
        self._left -= len(source)
        return Thumbnail(source)

    def _image(self, path: str, frame: int | None, side: int) -> Image.Image:
        file = self._base / path
        if self._root and not file.resolve().is_relative_to(self._root):
            raise _NotDrawnError(_NEVER_DRAWN[Reason.OUTSIDE_ROOT])
        if file.is_dir():
            raise _NotDrawnError("not drawn: a folder")
        # Opening a pipe or a device would wait forever.
        if not file.is_file():
            raise _NotDrawnError(_NEVER_DRAWN[Reason.MISSING_FILE])
        with file.open("rb") as opened:
            head = opened.read(max(map(len, PICTURE_SIGNATURES)))
        if head.startswith(PICTURE_SIGNATURES):
            return _draw_picture(file, side)
        reading = self._reader.read(FoundSlice(file, frame=frame))
        return _draw_hounsfield(reading.stored_slice.hounsfield(), self._window)
