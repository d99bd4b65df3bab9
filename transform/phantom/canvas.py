"""Painting outlines in millimetres onto a supersampled image, so that edges show partial volume."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image, ImageDraw

from transform.phantom.shapes import Outline

# Two by two samples a pixel, then the reconstruction kernel: finer sampling is not seen.
_SAMPLES = 2


@dataclasses.dataclass(frozen=True)
class Frame:
    """Where the patient lies in the image.

    Patient coordinates are in mm; x grows to the patient's left and y to the back, which are
    right and down in the image (DICOM PS3.3 C.7.6.2.1.1, head first and supine).

    Attributes:
      size: rows and columns of the image.
      spacing: mm a pixel.
      rotation: radians, of the patient in the gantry.
      shift: (x, y) in mm, where the patient's origin lies from the image's centre.
    """

    size: int
    spacing: float
    rotation: float
    shift: tuple[float, float]

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """The map to (column, row) in pixels: points @ first + second.

        Returns:
          float64 [2, 2], pixels a mm, and float64 [2], pixels.
        """
        cos, sin = np.cos(self.rotation), np.sin(self.rotation)
        turn = np.array([[cos, sin], [-sin, cos]]) / self.spacing
        return turn, np.array(self.shift) / self.spacing + self.size / 2

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Map patient coordinates (float [..., 2], mm) to (column, row), float64 [..., 2]."""
        turn, origin = self.affine()
        return points @ turn + origin


class Canvas:
    """An image painted outline by outline; what comes later covers what came before."""

    def __init__(self, frame: Frame, mode: str, ground: float):
        """Start an empty canvas.

        Args:
          frame: where the patient lies.
          mode: `F` for HU, `L` for weights of 0 to 255.
          ground: the value everywhere.
        """
        self.frame = frame
        side = frame.size * _SAMPLES
        self._scale = _SAMPLES / frame.spacing
        turn, origin = frame.affine()
        self._turn, self._origin = turn * _SAMPLES, origin * _SAMPLES
        self._image = Image.new(mode, (side, side), ground)
        self._draw = ImageDraw.Draw(self._image)

    def fill(self, outline: Outline, value: float) -> None:
        """Fill an outline (float [n, 2], mm)."""
        self._draw.polygon(self._samples(outline).ravel().tolist(), fill=value)

    def fill_unrotated(self, outline: Outline, value: float) -> None:
        """Fill the outline of what does not turn with the patient, such as the table."""
        still = dataclasses.replace(self.frame, rotation=0.0)
        points = still.to_pixels(outline) * _SAMPLES
        self._draw.polygon(points.ravel().tolist(), fill=value)

    def rim(self, outline: Outline, value: float, width: float) -> None:
        """Draw the line along an outline (float [n, 2], mm), `width` mm wide."""
        points = self._samples(np.concatenate([outline, outline[:1]]))
        wide = max(round(width * self._scale), 1)
        self._draw.line(points.ravel().tolist(), fill=value, width=wide)

    def strokes(
        self, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray, values: np.ndarray
    ) -> None:
        """Draw straight tubes with round ends, in the order given.

        A tube thinner than a sample is drawn one sample wide.

        Args:
          starts: float [n, 2], mm.
          ends: float [n, 2], mm.
          radii: float [n], mm.
          values: int [n].
        """
        begin = self._samples(starts)
        stop = self._samples(ends)
        half = radii * self._scale
        wide = np.maximum(np.rint(2.0 * half), 1).astype(int)
        for (x0, y0), (x1, y1), r, width, value in zip(
            begin.tolist(),
            stop.tolist(),
            half.tolist(),
            wide.tolist(),
            values.tolist(),
            strict=True,
        ):
            self._draw.line((x0, y0, x1, y1), fill=value, width=width)
            if width > 3:
                self._draw.ellipse((x0 - r, y0 - r, x0 + r, y0 + r), fill=value)
                self._draw.ellipse((x1 - r, y1 - r, x1 + r, y1 + r), fill=value)

    def pixels(self, window: tuple[slice, slice] | None = None) -> np.ndarray:
        """What was painted, averaged over each pixel.

        Args:
          window: rows and columns of the image, all of it by default.

        Returns:
          float32 or uint8, [size, size] or the shape of the window.
        """
        if window is None:
            return np.array(self._image.reduce(_SAMPLES))
        rows, columns = window
        box = (columns.start, rows.start, columns.stop, rows.stop)
        left, top, right, bottom = (edge * _SAMPLES for edge in box)
        return np.array(self._image.reduce(_SAMPLES, (left, top, right, bottom)))

    def _samples(self, points: np.ndarray) -> np.ndarray:
        return points @ self._turn + self._origin
