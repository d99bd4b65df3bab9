"""Ground-glass opacities and consolidations under the pleura, and how they spread over a lung."""

from __future__ import annotations

import dataclasses

import numpy as np

from transform.phantom.canvas import Frame
from transform.phantom.section import Section
from transform.phantom.texture import texture

CONSOLIDATION_HU = 22.0


@dataclasses.dataclass(frozen=True)
class Severity:
    """How much disease a positive patient has.

    Attributes:
      count: least and most opacities in a slice.
      radius: least and greatest radius, in widths of the image.
      consolidated: share of the opacities with a consolidated core.
    """

    count: tuple[int, int]
    radius: tuple[float, float]
    consolidated: float


SEVERITIES = {
    "mild": Severity((1, 4), (0.03, 0.09), 0.2),
    "moderate": Severity((2, 6), (0.04, 0.11), 0.35),
    "severe": Severity((4, 8), (0.06, 0.13), 0.5),
}


@dataclasses.dataclass(frozen=True)
class Opacity:
    """One opacity along the pleura of one lung.

    Attributes:
      side: -1 (right) or 1 (left).
      phi: where on the chest wall, 0 (spine) to 1 (sternum).
      levels: (from, to), where between apex and base it is seen.
      radius: (least, greatest), in widths of the image.
      sway: float [3], phases of its wandering over the levels, in turns.
      stretch: long axis over short axis; the long one follows the pleura.
      depth: how far its middle lies inside the pleura, in radii.
      ground_glass_hu: of its tissue, HU.
      core: radius of its consolidated core in its own radii, 0 for none.
      offset: (row, column) in [0, 1), of the field that frays its edge.
    """

    side: int
    phi: float
    levels: tuple[float, float]
    radius: tuple[float, float]
    sway: np.ndarray
    stretch: float
    depth: float
    ground_glass_hu: float
    core: float
    offset: tuple[float, float]

    def seen_at(self, level: float) -> bool:
        """Whether a slice at this level cuts it."""
        return self.levels[0] <= level <= self.levels[1]

    def radius_at(self, level: float) -> float:
        """Its radius at a level, in widths of the image."""
        share = 0.5 + 0.5 * np.sin(2 * np.pi * (1.6 * level + self.sway[0]))
        return float(self.radius[0] + share * (self.radius[1] - self.radius[0]))

    def phi_at(self, level: float) -> float:
        """Where on the chest wall it lies at a level."""
        return float(self.phi + 0.035 * np.sin(2 * np.pi * (1.2 * level + self.sway[1])))


def draw_opacities(rng: np.random.Generator, severity: Severity) -> tuple[Opacity, ...]:
    """Draw the opacities of a positive patient.

    At every level between `severity.count[0]` and `severity.count[1]` of them are seen.
    """
    least, most = severity.count
    slots = int(rng.integers(least, most + 1))
    first_side = int(rng.choice([-1, 1]))
    opacities = []
    for slot in range(slots):
        # Both lungs, and the back more than the front, as COVID-19 shows on CT.
        phi = float(0.17 + 0.42 * rng.beta(1.3, 1.7))
        low, high = np.sort(rng.uniform(0.0, 1.0, 2))
        always = slot < least
        smallest, largest = severity.radius
        middle = float(rng.uniform(smallest, largest))
        core = float(rng.uniform(0.35, 0.62))
        spread = 0.3 * (largest - smallest)
        opacities.append(
            Opacity(
                side=first_side if slot % 2 == 0 else -first_side,
                phi=phi,
                levels=(0.0, 1.0) if always else (float(low), float(high)),
                radius=(max(middle - spread, smallest), min(middle + spread, largest)),
                sway=rng.random(3),
                stretch=float(rng.uniform(1.0, 1.9)),
                depth=float(rng.uniform(0.35, 0.75)),
                ground_glass_hu=float(rng.uniform(-610, -400)),
                core=core if rng.random() < severity.consolidated else 0.0,
                offset=(float(rng.random()), float(rng.random())),
            )
        )
    return tuple(opacities)


@dataclasses.dataclass(frozen=True)
class Infiltrate:
    """What one opacity adds to a slice.

    Attributes:
      window: rows and columns of the image that it touches.
      ground_glass: float32, the window's shape, 0 (lung) to 1 (all ground glass).
      core: float32, the window's shape, 0 to 1 (all consolidated), or None.
      ground_glass_hu: float32, the window's shape, HU.
    """

    window: tuple[slice, slice]
    ground_glass: np.ndarray
    core: np.ndarray | None
    ground_glass_hu: np.ndarray


def infiltrate(opacity: Opacity, section: Section, frame: Frame) -> Infiltrate | None:
    """The opacity's section at a level, before the lung's edge is applied.

    Returns:
      None where the slice does not cut it.
    """
    level = section.level
    if not opacity.seen_at(level):
        return None
    size = frame.size
    radius = opacity.radius_at(level) * size
    phi = opacity.phi_at(level)
    pleura = section.layers(opacity.side, np.array([phi - 0.02, phi, phi + 0.02]))[:, 0]
    lung = np.array([opacity.side * 0.55 * section.half_width, section.centre])
    edge, tangent = frame.to_pixels(pleura[1]), np.diff(frame.to_pixels(pleura[::2]), axis=0)[0]
    inwards = frame.to_pixels(lung) - edge
    reach = float(np.hypot(*inwards))
    column, row = edge + inwards * min(opacity.depth * radius / reach, 0.8)
    tilt = float(np.arctan2(tangent[1], tangent[0]))

    long, short = radius * np.sqrt(opacity.stretch), radius / np.sqrt(opacity.stretch)
    margin = 1.45 * long
    rows = slice(max(int(row - margin), 0), min(int(row + margin) + 1, size))
    columns = slice(max(int(column - margin), 0), min(int(column + margin) + 1, size))
    window = (rows, columns)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(row)
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(column)
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    along = (x * cos + y * sin) * np.float32(1 / long)
    across = (y * cos - x * sin) * np.float32(1 / short)
    depth = 1.0 - np.sqrt(along * along + across * across)

    ragged = texture(size, "cloud", opacity.offset, window)
    fine = texture(size, "mottle", opacity.offset, window)
    depth += 0.20 * ragged
    depth += 0.05 * fine
    core = None
    if opacity.core:
        core = np.clip((depth - (1.0 - opacity.core) + 0.12 * ragged) * 2.8, 0.0, 1.0)
    glass = np.clip(depth * 2.8 + 0.35, 0.0, 1.0)
    glass *= glass * (3.0 - 2.0 * glass)
    return Infiltrate(window, glass, core, opacity.ground_glass_hu + 32.0 * ragged + 22.0 * fine)
