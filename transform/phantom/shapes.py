"""Closed outlines in millimetres: the ellipses, capsules and slings organs are drawn from."""

from __future__ import annotations

import numpy as np

Outline = np.ndarray
Point = tuple[float, float]

_TURN = np.linspace(0.0, 2.0 * np.pi, 40, endpoint=False)
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_WAVES = np.stack([f(k * _TURN) / k for k in (2, 3, 4) for f in (np.cos, np.sin)])
_HALF_TURN = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 10)


def ellipse(
    centre: Point,
    half_width: float,
    half_height: float,
    *,
    tilt: float = 0.0,
    wobble: np.ndarray | None = None,
) -> Outline:
    """An ellipse whose radius may wobble.

    Args:
      centre: (x, y) in mm.
      half_width: half axis along x in mm, before the tilt.
      half_height: half axis along y in mm, before the tilt.
      tilt: radians, from x towards y.
      wobble: float [6], relative amplitudes of the cosine and sine of 2, 3 and 4 turns.

    Returns:
      float64 [40, 2], mm.
    """
    reach = 1.0 if wobble is None else 1.0 + wobble @ _WAVES
    along, across = half_width * _COS * reach, half_height * _SIN * reach
    cos, sin = np.cos(tilt), np.sin(tilt)
    return np.stack(
        [centre[0] + along * cos - across * sin, centre[1] + along * sin + across * cos], axis=1
    )


def capsule(start: Point, end: Point, radius: float) -> Outline:
    """A straight tube with round ends, seen in its plane.

    Returns:
      float64 [20, 2], mm.
    """
    heading = np.arctan2(end[1] - start[1], end[0] - start[0])
    turn = np.concatenate([heading + _HALF_TURN, heading + np.pi + _HALF_TURN])
    caps = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    caps[:10] += end
    caps[10:] += start
    return caps


def between(inner: Outline, outer: Outline) -> Outline:
    """The sling between two open curves that run the same way.

    Args:
      inner: float [n, 2], mm.
      outer: float [m, 2], mm.

    Returns:
      float [n + m, 2], mm.
    """
    return np.concatenate([inner, outer[::-1]])
