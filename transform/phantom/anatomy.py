"""The body of one patient: its measures in millimetres and its outlines at every level."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """Measures of one patient, in mm and radians unless a name says HU.

    The origin is the middle of the widest rib cage. `level` is 0 at the lung's apex and 1 at its
    base; `phi` runs along one side of the chest from 0 at the spine to 1 at the sternum; `side`
    is -1 for the patient's right and 1 for the left.
    """

    cage_half_width: float
    cage_half_depth: float
    lung_height: float
    fat: float
    muscle: float
    breast: float
    heart_scale: float
    heart_shift: tuple[float, float]
    heart_wobble: np.ndarray
    vessel_scale: float
    mediastinum_scale: float
    liver_level: float
    lung_hu: float
    gravity_hu: float
    dependent_hu: float
    mottle_hu: float
    bone_scale: float
    rib_phase: float
    spine_phase: float
    waves: np.ndarray
    rotation: float
    shift: tuple[float, float]
    field_of_view: float
    texture_offset: tuple[float, float]

    def cage_half_axes(self, level: Any) -> tuple[Any, Any]:
        """Half width and half depth of the inner rib cage, mm, at one level or an array of them."""
        opening = 1.0 - (1.0 - level) ** 3.0
        return (
            self.cage_half_width * (0.52 + 0.48 * opening),
            self.cage_half_depth * (0.60 + 0.40 * opening),
        )

    def cage_centre(self, level: float) -> float:
        """The y of the cage's middle, mm: the back is straight, so the cage opens forwards."""
        return self.cage_half_depth - self.cage_half_axes(level)[1]

    def cage(self, level: float, side: int, phi: np.ndarray, outside: float = 0.0) -> np.ndarray:
        """Points on the pleura, or a distance outside it.

        Args:
          level: 0 (apex) to 1 (base).
          side: -1 or 1.
          phi: float [n], 0 (spine) to 1 (sternum).
          outside: mm.

        Returns:
          float64 [n, 2], mm.
        """
        half_width, half_depth = self.cage_half_axes(level)
        points = _superellipse(
            side, phi, half_width + outside, half_depth + outside, half_depth + outside, 2.2, 2.6
        )
        centre = np.array([0.0, self.cage_centre(level)])
        return self._waved(points, side, phi, level) + centre

    def fascia(self, level: float, side: int, phi: np.ndarray) -> np.ndarray:
        """Points where muscle ends and subcutaneous fat begins, float64 [n, 2], mm."""
        return self._trunk(level, side, phi, 0.0)

    def skin(self, level: float, side: int, phi: np.ndarray) -> np.ndarray:
        """Points on the skin, float64 [n, 2], mm."""
        points = self._trunk(level, side, phi, self.fat)
        if self.breast:
            height = np.exp(-(((level - 0.5) / 0.17) ** 2))
            bump = np.exp(-(((phi - 0.69) / 0.10) ** 2)) * self.breast * height
            points = points + bump[:, None] * np.array([0.62 * side, -0.8])
        return points

    def back(self) -> float:
        """The y of the skin of the back, mm."""
        return self.cage_half_depth + 26.0 + self.muscle + 0.6 * self.fat

    def front(self) -> float:
        """The y of the skin over the sternum at the base, mm."""
        return -self.cage_half_depth - 6.0 - self.muscle - 0.7 * self.fat

    def half_width(self) -> float:
        """Half the width of the body without breasts, mm."""
        return self.cage_half_width + 8.0 + self.muscle + 0.9 * self.fat

    def _trunk(self, level: float, side: int, phi: np.ndarray, fat: float) -> np.ndarray:
        depth = self.cage_half_axes(level)[1] / self.cage_half_depth
        slope = 2.0 * self.cage_half_depth * (1.0 - depth) * 0.5
        middle = 0.12 * self.cage_half_depth
        points = _superellipse(
            side,
            phi,
            self.cage_half_width + 8.0 + self.muscle + 0.9 * fat,
            self.cage_half_depth + 6.0 + self.muscle + middle - slope + 0.7 * fat,
            self.cage_half_depth + 26.0 + self.muscle - middle + 0.6 * fat,
            2.3,
            2.7,
        )
        return self._waved(points, side, phi, level) + np.array([0.0, middle])

    def _waved(self, points: np.ndarray, side: int, phi: np.ndarray, level: float) -> np.ndarray:
        turn = side * np.pi * np.asarray(phi)
        reach = np.ones_like(turn)
        for k, (cos, sin, drift) in enumerate(self.waves, start=2):
            reach = reach + (cos * np.cos(k * turn) + sin * np.sin(k * turn)) * (
                1.0 + drift * (level - 0.5)
            )
        return points * reach[:, None]


def _superellipse(
    side: int,
    phi: np.ndarray,
    half_width: float,
    front: float,
    back: float,
    front_power: float,
    back_power: float,
) -> np.ndarray:
    sin, cos = np.sin(np.pi * np.asarray(phi)), np.cos(np.pi * np.asarray(phi))
    power = np.where(cos > 0, back_power, front_power)
    x = side * half_width * np.abs(sin) ** (2.0 / power)
    y = np.where(cos > 0, back, -front) * np.abs(cos) ** (2.0 / power)
    return np.stack([x, y], axis=1)


def draw_anatomy(rng: np.random.Generator, sex: str) -> Anatomy:
    """Draw a body.

    Args:
      rng: consumed in a fixed order, so that one seed gives one body.
      sex: `M` or `F`; women are a little smaller and have breasts.
    """
    female = sex == "F"
    half_width = float(np.clip(rng.normal(121 if female else 131, 7), 100, 152))
    half_depth = half_width * rng.uniform(0.66, 0.78)
    fat = float(np.clip(rng.gamma(4.0, 4.5 if female else 3.8), 5, 42))
    muscle = rng.uniform(12, 20) - (3 if female else 0)
    breast = rng.uniform(12, 34) + 0.4 * fat
    lung_height = rng.uniform(205, 255) * half_width / 126
    waves = rng.normal(0, 1, (3, 3)) * [[0.009, 0.007, 0.3], [0.006, 0.006, 0.3], [0.005, 0.004, 1]]
    body = Anatomy(
        cage_half_width=half_width,
        cage_half_depth=half_depth,
        lung_height=lung_height,
        fat=fat,
        muscle=muscle,
        breast=breast if female else 0.0,
        heart_scale=rng.uniform(0.86, 1.16) * half_width / 126,
        heart_shift=(rng.normal(0, 5), rng.normal(0, 3)),
        heart_wobble=rng.normal(0, 0.035, 6),
        vessel_scale=rng.uniform(0.88, 1.15),
        mediastinum_scale=rng.uniform(0.86, 1.15),
        liver_level=rng.uniform(0.74, 0.86),
        lung_hu=float(np.clip(rng.normal(-858, 16), -900, -815)),
        gravity_hu=rng.uniform(25, 70),
        dependent_hu=rng.uniform(0, 110),
        mottle_hu=rng.uniform(11, 20),
        bone_scale=rng.uniform(0.75, 1.15),
        rib_phase=rng.uniform(0, 1),
        spine_phase=rng.uniform(0, 1),
        waves=waves,
        rotation=float(np.deg2rad(np.clip(rng.normal(0, 3), -9, 9))),
        shift=(0.0, 0.0),
        field_of_view=0.0,
        texture_offset=(rng.random(), rng.random()),
    )
    middle = 0.5 * (body.front() + body.back())
    return dataclasses.replace(
        body,
        shift=(rng.normal(0, 6), rng.normal(0, 5) - middle),
        field_of_view=2.0 * body.half_width() * rng.uniform(1.06, 1.2),
    )
