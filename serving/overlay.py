"""Overlays: a slice in grey with the heat map of its explanation over it, as a PNG file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from serving.slice_result import ExplainedSlice, Prediction, SliceResult
from transform.errors import ConfigError
from transform.reading import UnusableSliceError
from transform.reading.slice_file import read_head
from transform.whole_file import UNFINISHED

LUNG_WINDOW = (-1350.0, 150.0)
"""HU of black and white: the lung window of width 1500 around -600."""

# Dark is little and bright is much, in equal steps for the eye, also in grey and for the colour
# blind.
_COLOURS = "inferno"
# The strongest heat still lets the lung be seen through it.
_OPACITY = 0.6

_SLICE_KEY = "ctnet slice"
_IDENTITY_DIGITS = 20
# The key and the identity are the first text chunk (PNG 11.3.4.3), right behind the header's.
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SLICE_CHUNK = re.compile(b"tEXt" + _SLICE_KEY.encode() + b"\0([0-9a-f]{%d})" % _IDENTITY_DIGITS)
_HEAD_BYTES = 256
# The number of a later slice of one name; see `OverlayFolder`.
_NUMBERED = re.compile(r"(.+)-([2-9]|[1-9][0-9]+)", re.DOTALL)
# File systems allow 255 bytes; the numbers and the ending need some.
_LONGEST_STEM_BYTES = 220

_FONT_PIXELS = 13
_MARGIN = 4
_INK, _PAPER = 230, 20


def in_lung_window(hounsfield: np.ndarray) -> np.ndarray:
    """A slice as radiologists look at lungs.

    Args:
      hounsfield: float32 [height, width], HU.

    Returns:
      uint8 [height, width], black at -1350 HU and below, white at 150 HU and above.
    """
    black, white = LUNG_WINDOW
    scaled = np.clip((hounsfield - black) / (white - black), 0.0, 1.0)
    levels: np.ndarray = np.rint(scaled * 255).astype(np.uint8)
    return levels


def grey_picture(grey: np.ndarray, white: int) -> np.ndarray:
    """The grey levels of a picture, uint8 [height, width], where `white` is that of white."""
    levels: np.ndarray = np.rint(grey * (255 / white)).astype(np.uint8)
    return levels


def blend(grey: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Lay a heat map over a slice.

    Args:
      grey: uint8 [height, width].
      heatmap: float32 [s, s] in [0, 1], of the whole slice squeezed to a square.

    Returns:
      uint8 [height, width, 3]; where there is no heat, the slice alone.
    """
    # Loaded late: only explaining needs it.
    from matplotlib import colormaps

    height, width = grey.shape
    fitted = Image.fromarray(heatmap.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    heat = np.clip(np.asarray(fitted), 0.0, 1.0)
    colours = colormaps[_COLOURS](heat)[..., :3] * 255
    # Squared, so that weak heat, of which a map is full, does not veil the lung.
    alpha = _OPACITY * heat[..., np.newaxis] ** 2
    blended: np.ndarray = np.rint(grey[..., np.newaxis] * (1 - alpha) + colours * alpha)
    return blended.astype(np.uint8)


def _lines(prediction: Prediction, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """What stands below a slice, in lines that fit the width."""
    parts = [
        f"probability {prediction.probability:.3f}",
        "positive" if prediction.decision else "negative",
        f"threshold {prediction.threshold:.3f}",
    ]
    lines = parts[:1]
    for part in parts[1:]:
        longer = f"{lines[-1]}   {part}"
        if font.getlength(longer) <= width - 2 * _MARGIN:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def draw_overlay(grey: np.ndarray, heatmap: np.ndarray, prediction: Prediction) -> Image.Image:
    """An overlay, with a strip below the slice that says what was predicted.

    Args:
      grey: uint8 [height, width].
      heatmap: float32 [s, s] in [0, 1].
      prediction: of the slice.

    Returns:
      An RGB picture as wide as the slice; nothing is written into the slice itself.
    """
    height, width = grey.shape
    font = ImageFont.load_default(_FONT_PIXELS)
    assert isinstance(font, ImageFont.FreeTypeFont)
    lines = _lines(prediction, font, width)
    line_height = _FONT_PIXELS + _MARGIN
    picture = Image.new(
        "RGB", (width, height + line_height * len(lines) + _MARGIN), (_PAPER, _PAPER, _PAPER)
    )
    picture.paste(Image.fromarray(blend(grey, heatmap)), (0, 0))
    draw = ImageDraw.Draw(picture)
    for place, line in enumerate(lines):
        draw.text(
            (_MARGIN, height + place * line_height + _MARGIN // 2),
            line,
            fill=(_INK, _INK, _INK),
            font=font,
        )
    return picture


def _identity(result: SliceResult) -> str:
    """Tells the slice from every other one of this machine, without naming anybody."""
    name = f"{result.path.resolve()}#{result.number or 0}"
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_IDENTITY_DIGITS]


def _stem(result: SliceResult) -> str:
    name = result.path.name
    # Slices of a series are often called the same in every patient's folder.
    if result.source != result.path and result.source.name:
        name = f"{result.source.name}-{name}"
    name = os.fsdecode(os.fsencode(name)[-_LONGEST_STEM_BYTES:])
    return name if result.number is None else f"{name}-{result.number:04d}"


def _identity_in(head: bytes) -> str | None:
    """Which slice an overlay that begins with these bytes shows; None for every other file."""
    found = _SLICE_CHUNK.search(head[:_HEAD_BYTES]) if head.startswith(_PNG_SIGNATURE) else None
    return found[1].decode() if found else None


def is_overlay(head: bytes) -> bool:
    """Whether a file that begins with these (at least 256) bytes is an overlay, and no slice."""
    return _identity_in(head) is not None


def _identity_of(file: Path) -> str | None:
    try:
        return _identity_in(read_head(file))
    # Whatever else stands there is not ours.
    except UnusableSliceError:
        return None


def _names_of(stem: str) -> list[str]:
    """The stems that a file of this stem may have been written for."""
    numbered = _NUMBERED.fullmatch(stem)
    return [stem, numbered[1]] if numbered else [stem]


class OverlayFolder:
    """Writes overlays into a folder, each under the name of its slice.

    Where two slices have one name, the later one gets `-2`, `-3` and so on. Explaining a slice
    again writes over its own overlay, and over no other file.
    """

    def __init__(self, folder: Path):
        """Make the folder.

        Raises:
          ConfigError: it cannot be made.
        """
        self._folder = folder
        # By identity and stem, because a slice has another stem where its folder was asked about.
        self._written: dict[tuple[str, str], Path] | None = None
        self._next_number: dict[str, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{folder}: cannot be a folder of overlays ({error.strerror}); give another"
            ) from error

    def write(self, explained: ExplainedSlice) -> Path | None:
        """Write the overlay of a slice.

        The PNG's text chunks hold `probability`, `decision` and `threshold`, and a hash by which
        the slice is known again.

        Returns:
          The file; None for a slice that was not predicted.

        Raises:
          ConfigError: it cannot be written.
        """
        result, prediction = explained.result, explained.result.prediction
        if prediction is None or explained.grey is None or explained.heatmap is None:
            return None
        identity = _identity(result)
        text = PngInfo()
        text.add_text(_SLICE_KEY, identity)
        text.add_text("probability", f"{prediction.probability:.6f}")
        text.add_text("decision", str(prediction.decision))
        text.add_text("threshold", f"{prediction.threshold:.6f}")
        content = io.BytesIO()
        picture = draw_overlay(explained.grey, explained.heatmap, prediction)
        picture.save(content, format="PNG", pnginfo=text)
        try:
            return self._place(_stem(result), identity, content.getvalue())
        except OSError as error:
            raise ConfigError(
                f"{self._folder}: an overlay cannot be written ({error.strerror}); make room there "
                "or give another folder"
            ) from error

    def _place(self, stem: str, identity: str, content: bytes) -> Path:
        # Written beside and renamed: a full disk or a killed process leaves no part of a picture.
        unfinished = self._folder / f".{secrets.token_hex(8)}{UNFINISHED}"
        try:
            with unfinished.open("xb") as new:
                new.write(content)
            own = self._own(stem, identity)
            file = own or self._claim(stem)
            try:
                unfinished.replace(file)
            except OSError:
                if own is None:
                    file.unlink()
                raise
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        self._overlays()[identity, stem] = file
        return file

    def _own(self, stem: str, identity: str) -> Path | None:
        """The overlay that a slice has already."""
        file = self._overlays().get((identity, stem))
        return file if file is not None and _identity_of(file) == identity else None

    def _overlays(self) -> dict[tuple[str, str], Path]:
        """Every overlay of the folder; it is looked through once, and not for each slice."""
        if self._written is None:
            self._written = {}
            for file in sorted(self._folder.glob("*.png")):
                identity = _identity_of(file)
                if identity is not None:
                    for stem in _names_of(file.stem):
                        self._written[identity, stem] = file
        return self._written

    def _claim(self, stem: str) -> Path:
        """An empty new file of a name that nobody has, others who write there included."""
        number = self._next_number.get(stem, 1)
        while True:
            file = self._folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
            number += 1
            try:
                file.open("xb").close()
            except FileExistsError:
                continue
            self._next_number[stem] = number
            return file
