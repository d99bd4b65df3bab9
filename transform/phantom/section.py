"""The outlines of one chest at one level, sampled once and read by everything drawn there."""

from __future__ import annotations

import numpy as np

from transform.phantom.anatomy import Anatomy
from transform.phantom.shapes import Outline, between

SIDES = (-1, 1)
RIB_CAGE_MM = 12.5

_SAMPLES = 65
_PHI = np.linspace(0.0, 1.0, _SAMPLES)


class Section:
    """A level of a body, with its layers as tables over `phi`.

    Attributes:
      body: whose chest.
      level: 0 (apex) to 1 (base of the lungs).
      half_width: of the inner rib cage, mm.
      half_depth: of the inner rib cage, mm.
      centre: y of the cage's middle, mm.
    """

    def __init__(self, body: Anatomy, level: float):
        """Sample the layers of `body` at `level`."""
        self.body = body
        self.level = level
        self.half_width, self.half_depth = body.cage_half_axes(level)
        self.centre = body.cage_centre(level)
        self._layers = {
            side: np.stack(
                [
                    body.cage(level, side, _PHI),
                    body.cage(level, side, _PHI, RIB_CAGE_MM),
                    body.fascia(level, side, _PHI),
                ],
                axis=1,
            )
            for side in SIDES
        }
        self._skin = {side: body.skin(level, side, _PHI) for side in SIDES}

    def layers(self, side: int, phi: np.ndarray) -> np.ndarray:
        """Points on pleura, outer rib cage and fascia.

        Args:
          side: -1 (right) or 1 (left).
          phi: float [n], 0 (spine) to 1 (sternum).

        Returns:
          float64 [n, 3, 2], mm.
        """
        place = np.clip(phi, 0.0, 1.0) * (_SAMPLES - 1)
        below = np.minimum(place.astype(int), _SAMPLES - 2)
        table = self._layers[side]
        lower = table[below]
        return lower + (place - below)[:, None, None] * (table[below + 1] - lower)

    def skin(self, side: int, phi: float) -> np.ndarray:
        """A point on the skin, float64 [2], mm."""
        return self._skin[side][round(phi * (_SAMPLES - 1))]

    def around_skin(self) -> Outline:
        """The trunk's outline."""
        right, left = self._skin.values()
        return between(right, left)

    def around_cage(self, outside: float) -> Outline:
        """The rib cage's outline, `outside` mm from the pleura."""
        share = outside / RIB_CAGE_MM
        right, left = (
            table[:, 0] + share * (table[:, 1] - table[:, 0]) for table in self._layers.values()
        )
        return between(right, left)

    def in_cage(self, side: int, phi: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Points between the pleura (depth 0) and the outer rib cage (depth 1).

        Args:
          side: -1 or 1.
          phi: float [n].
          depth: float [m, n], or [n] for one curve.

        Returns:
          float64 of the shape of `depth` with x and y added, mm.
        """
        layers = self.layers(side, phi)
        return layers[:, 0] + depth[..., None] * (layers[:, 1] - layers[:, 0])

    def in_wall(self, side: int, phi: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Points between the outer rib cage (depth 0) and the fascia (depth 1), as `in_cage`."""
        layers = self.layers(side, phi)
        return layers[:, 1] + depth[..., None] * (layers[:, 2] - layers[:, 1])
