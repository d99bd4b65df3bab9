"""What lies between the lungs: heart, great vessels, airways, oesophagus, and the liver below."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from transform.phantom.chest_wall import AIR_HU, FAT_HU, spine_outlines
from transform.phantom.section import Section
from transform.phantom.shapes import Outline, Point, between, capsule, ellipse

BLOOD_HU = 41.0
HEART_HU = 44.0
WALL_HU = 30.0
LIVER_HU = 57.0
SPLEEN_HU = 48.0

# Half width of the mediastinum from the sternum (-1.2) to the spine (1.2), in half cage depths.
_COLUMN_Y = np.array([-1.2, -1.0, -0.8, -0.55, -0.3, 0.0, 0.25, 0.5, 0.8, 1.2])
_COLUMN_ROWS = np.linspace(-1.03, 1.0, 32)
_COLUMN_UPPER = np.array([30.0, 22.0, 15.0, 19.0, 27.0, 27.0, 22.0, 20.0, 22.0, 30.0])
_COLUMN_LOWER = np.array([16.0, 8.0, 5.0, 8.0, 18.0, 22.0, 20.0, 19.0, 21.0, 30.0])


def mediastinum_outlines(section: Section) -> Iterator[tuple[Outline, float]]:
    """Outlines with their HU, in painting order; all of them displace lung.

    Args:
      section: the chest at the slice's level.

    Yields:
      (float64 [n, 2] in mm, HU).
    """
    yield _column(section), FAT_HU + 10
    for outline in spine_outlines(section.body):
        yield outline, FAT_HU + 30
    yield from _abdomen(section)
    yield from _heart(section)
    yield from _great_vessels(section)
    yield from _airways(section)


def _rises(level: float, start: float, over: float = 0.05) -> float:
    return float(np.clip((level - start) / over, 0.0, 1.0))


def _during(level: float, start: float, end: float, over: float = 0.04) -> float:
    """1 between two levels, with ends that round off as a tube's do when it leaves the slice."""
    inside = min(_rises(level, start, over), 1.0 - _rises(level, end - over, over))
    return float(np.sqrt(max(1.0 - (1.0 - inside) ** 2, 0.0)))


def _at(section: Section, x: float, y: float) -> Point:
    """A place given in mm from the midline and half cage depths from the cage's middle."""
    body = section.body
    return (
        x * body.mediastinum_scale + 0.4 * body.heart_shift[0],
        section.centre + y * section.half_depth,
    )


def _column(section: Section) -> Outline:
    body, level = section.body, section.level
    lower = _rises(level, 0.3, 0.35)
    y = _COLUMN_ROWS
    half = np.interp(y, _COLUMN_Y, (1 - lower) * _COLUMN_UPPER + lower * _COLUMN_LOWER)
    half = np.convolve(np.pad(half, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    half = half * body.mediastinum_scale
    rows = section.centre + y * section.half_depth
    sway = 0.4 * body.heart_shift[0] + 3.0 * np.sin(3.0 * y + 6.0 * level)
    return between(
        np.stack([sway - half, rows], axis=1),
        np.stack([sway + half * (1.0 + 0.08 * np.sin(5 * y)), rows], axis=1),
    )


def _abdomen(section: Section) -> Iterator[tuple[Outline, float]]:
    body, level = section.body, section.level
    half_width, half_depth = section.half_width, section.half_depth
    for side, start, x, y, wide, high, hu in (
        (-1, body.liver_level, 0.47, -0.08, 0.62, 0.80, LIVER_HU),
        (1, body.liver_level + 0.06, 0.50, 0.12, 0.50, 0.62, SPLEEN_HU),
    ):
        # A dome: the section of an ellipsoid whose top is at `start`.
        deep = np.clip((level - start) / 0.26, 0.0, 1.0)
        grown = float(np.sqrt(1.0 - (1.0 - deep) ** 2))
        if grown < 0.12:
            continue
        centre = (side * x * half_width, section.centre + y * half_depth)
        wobble = body.heart_wobble[::-side]
        axes = (wide * half_width * grown, high * half_depth * grown)
        yield ellipse(centre, axes[0] + 1.5, axes[1] + 1.5, wobble=wobble), 0.0
        yield ellipse(centre, *axes, wobble=wobble), hu


def _heart(section: Section) -> Iterator[tuple[Outline, float]]:
    body, level = section.body, section.level
    size = np.sqrt(max(1.0 - ((level - 0.74) / 0.31) ** 2, 0.0))
    if size < 0.15:
        return
    scale = body.heart_scale * size
    # The heart swings to the left and forwards on its way down to the apex.
    down = float(np.clip((level - 0.45) / 0.5, 0.0, 1.0))
    x, y = _at(section, 6.0 + 20.0 * down, -0.26 - 0.20 * down)
    centre = (x + body.heart_shift[0], y + body.heart_shift[1])
    wide, high, tilt = 57.0 * scale, 43.0 * scale, 0.62 - 0.25 * down
    wobble = body.heart_wobble
    front = (centre[0] + 0.1 * wide, centre[1] - 0.45 * high)
    yield ellipse(front, 0.95 * wide, 0.62 * high, tilt=0.5 * tilt, wobble=wobble), FAT_HU + 5
    around = (centre[0] - 1.5, centre[1] - 2.5)
    yield ellipse(around, wide + 2.5, high + 3.0, tilt=tilt, wobble=wobble), FAT_HU + 5
    yield ellipse(centre, wide, high, tilt=tilt, wobble=wobble), HEART_HU
    # The grooves between the chambers hold fat, which is all that tells them apart unenhanced.
    groove = (centre[0] - 0.62 * wide, centre[1] - 0.62 * high)
    yield ellipse(groove, 0.16 * wide, 0.10 * high, tilt=0.9, wobble=3 * wobble), FAT_HU + 20
    groove = (centre[0] + 0.36 * wide, centre[1] - 0.66 * high)
    yield ellipse(groove, 0.13 * wide, 0.07 * high, tilt=-0.5, wobble=3 * wobble), FAT_HU + 25


def _tube(section: Section, x: float, y: float, radius: float) -> tuple[Outline, float]:
    round_ish = section.body.heart_wobble * 0.8
    return ellipse(_at(section, x, y), radius, radius, wobble=round_ish), BLOOD_HU


def _great_vessels(section: Section) -> Iterator[tuple[Outline, float]]:
    level, scale = section.level, section.body.vessel_scale
    there = _during(level, -1.0, 0.30)
    if there:
        yield _tube(section, -13.0, -0.22, 6.8 * scale * there)
        yield _tube(section, 7.0, -0.10, 4.4 * scale * there)
        yield _tube(section, 18.0, 0.14, 5.4 * scale * there)
        yield _tube(section, 16.0, -0.34, 6.0 * scale * there)
    there = _during(level, 0.20, 0.28)
    if there:
        ends = _at(section, 18.0, -0.46), _at(section, -22.0, -0.36)
        yield capsule(*ends, 5.5 * scale * there), BLOOD_HU
    there = _during(level, 0.27, 0.36)
    if there:
        ends = _at(section, -10.0, -0.36), _at(section, 17.0, 0.22)
        yield capsule(*ends, 12.0 * scale * there), BLOOD_HU
    there = _during(level, 0.32, 0.60)
    if there:
        yield _tube(section, -11.0, -0.40, 15.5 * scale * there)
    there = _during(level, 0.42, 0.56)
    if there:
        yield _tube(section, 16.0, -0.46, 13.5 * scale * there)
    there = _during(level, 0.41, 0.49)
    if there:
        ends = _at(section, 20.0, -0.34), _at(section, 40.0, 0.0)
        yield capsule(*ends, 9.5 * scale * there), BLOOD_HU
    there = _during(level, 0.45, 0.54)
    if there:
        ends = _at(section, 10.0, -0.30), _at(section, -36.0, -0.08)
        yield capsule(*ends, 9.0 * scale * there), BLOOD_HU
    there = _during(level, 0.12, 0.64)
    if there:
        yield _tube(section, -27.0, -0.26, 8.6 * scale * there)
    there = _during(level, 0.33, 9.0)
    if there:
        yield _tube(section, 22.0 - 4.0 * _rises(level, 0.5, 0.5), 0.44, 11.5 * scale * there)
    there = _during(level, 0.56, 0.70)
    if there:
        for x, y in ((-36.0, 0.16), (38.0, 0.18)):
            ends = _at(section, 0.35 * x, 0.10), _at(section, x, y)
            yield capsule(*ends, 6.5 * scale * there), BLOOD_HU
    yield _tube(section, -6.0, 0.46, 3.6)
    yield ellipse(_at(section, 5.0, 0.34), 8.0, 5.6, tilt=-0.2), WALL_HU


def _airways(section: Section) -> Iterator[tuple[Outline, float]]:
    body, level = section.body, section.level
    if level < 0.41:
        centre = _at(section, -1.0, -0.06 + 0.4 * level)
        wide = 8.6 * (1.0 + 0.35 * _rises(level, 0.33, 0.08))
        yield ellipse(centre, wide + 1.8, 10.2, wobble=body.heart_wobble), WALL_HU
        yield ellipse(centre, wide, 8.6, wobble=body.heart_wobble), AIR_HU + 8
        return
    spread = _rises(level, 0.39, 0.15)
    open_ = 1.0 - _rises(level, 0.54, 0.05)
    if open_ <= 0.0:
        return
    for side, reach in ((-1, 27.0), (1, 33.0)):
        x = side * (6.0 + reach * spread)
        inner = _at(section, x - side * 5.0, 0.09)
        outer = _at(section, x + side * 5.0, 0.10 + 0.05 * spread)
        radius = (7.4 - 1.8 * spread) * (0.5 + 0.5 * open_)
        yield capsule(inner, outer, radius + 1.7), WALL_HU
        yield capsule(inner, outer, radius), AIR_HU + 8
