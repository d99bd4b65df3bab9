"""Everything around the lungs: table, skin, fat, muscle, ribs, sternum, shoulder blades, spine."""

from __future__ import annotations

import numpy as np

from transform.phantom.anatomy import Anatomy
from transform.phantom.canvas import Canvas
from transform.phantom.section import RIB_CAGE_MM, SIDES, Section
from transform.phantom.shapes import Outline, between, capsule, ellipse

AIR_HU = -1000.0
FAT_HU = -105.0
SKIN_HU = 10.0
MUSCLE_HU = 52.0
CARTILAGE_HU = 115.0
CORTICAL_HU = 780.0
CANCELLOUS_HU = 190.0
DISC_HU = 85.0
CORD_HU = 34.0
FLUID_HU = 12.0

# Muscles of the chest wall: phi from and to, depth from and to (0 at the ribs, 1 at the fascia),
# and the level at which each has thinned out.
_MUSCLES = (
    (0.02, 0.20, 0.04, 0.74, 9.0),
    (0.00, 0.26, 0.80, 0.98, 9.0),
    (0.20, 0.52, 0.48, 0.96, 1.1),
    (0.30, 0.64, 0.05, 0.38, 1.2),
    (0.58, 0.97, 0.46, 0.98, 0.85),
    (0.62, 0.86, 0.06, 0.38, 0.55),
    (0.13, 0.44, 0.06, 0.40, 0.62),
    (0.14, 0.45, 0.54, 0.88, 0.66),
)
_SCAPULA_ENDS = 0.52
_RIB_SPACING = 0.098
_RIB_DESCENT = 0.42
_VERTEBRA_MM = 27.0

_ALONG = np.linspace(0.0, 1.0, 16)
# How slings end: a muscle thins out, a bone stays thick to its blunt ends.
_ROUND = np.sin(np.pi * _ALONG) ** 0.6
_BLUNT = np.sin(np.pi * np.clip(_ALONG, 0.02, 0.98)) ** 0.4


def paint_chest_wall(canvas: Canvas, section: Section) -> None:
    """Paint the table and the trunk in HU; the inside of the rib cage is left as fat.

    Args:
      canvas: mode `F`, HU.
      section: the chest at the slice's level.
    """
    _paint_table(canvas, section.body)
    skin = section.around_skin()
    canvas.fill(skin, FAT_HU)
    canvas.rim(skin, SKIN_HU, 2.0)
    _paint_breasts(canvas, section)
    for side in SIDES:
        for muscle in _MUSCLES:
            _paint_muscle(canvas, section, side, muscle)
    canvas.fill(section.around_cage(RIB_CAGE_MM), MUSCLE_HU - 8)
    canvas.fill(section.around_cage(1.2), FAT_HU + 15)
    for side in SIDES:
        _paint_ribs(canvas, section, side)
        _paint_scapula(canvas, section, side)
    _paint_sternum(canvas, section)


def paint_spine(canvas: Canvas, section: Section) -> None:
    """Paint a vertebra, or the disc between two, with cord, arch and processes, in HU."""
    body = section.body
    back = body.cage_half_depth
    phase = (section.level * body.lung_height / _VERTEBRA_MM + body.spine_phase) % 1.0
    # 1 in the middle of a vertebral body, 0 in a disc, with the end plates between.
    bone = float(np.clip((0.38 - abs(phase - 0.5)) / 0.06, 0.0, 1.0))
    arch = float(np.clip((0.30 - abs(phase - 0.62)) / 0.12, 0.0, 1.0))
    dense = body.bone_scale
    shell = DISC_HU + bone * (0.72 * CORTICAL_HU * dense - DISC_HU)
    marrow = DISC_HU + bone * (CANCELLOUS_HU * dense - DISC_HU)
    middle = (0.0, back - 24.0)

    for side in SIDES:
        tip = (side * (20.0 + 18.0 * arch), back + 9.0 + 6.0 * arch)
        process = [(side * 12.0, back + 4.0), tip]
        canvas.fill(capsule(process[0], process[1], 5.0), 0.62 * CORTICAL_HU * dense)
        canvas.fill(capsule(process[0], process[1], 2.8), CANCELLOUS_HU * dense)
    canvas.fill(ellipse((0.0, back + 1.0), 17.0, 15.0), 0.8 * CORTICAL_HU * dense)
    canvas.fill(ellipse((0.0, back + 1.0), 14.6, 12.6), CANCELLOUS_HU * dense)
    spinous_tip = (0.0, back + 16.0 + 20.0 * arch)
    canvas.fill(capsule((0.0, back + 13.0), spinous_tip, 4.2), 0.75 * CORTICAL_HU * dense)
    canvas.fill(capsule((0.0, back + 13.0), spinous_tip, 2.2), CANCELLOUS_HU * dense)
    canvas.fill(ellipse(middle, 18.5, 15.0, wobble=_VERTEBRA), shell)
    canvas.fill(ellipse(middle, 16.6, 13.2, wobble=_VERTEBRA), marrow)
    canvas.fill(ellipse((0.0, back - 0.5), 10.0, 8.6), FLUID_HU)
    canvas.fill(ellipse((0.0, back - 0.5), 5.6, 4.4), CORD_HU)


# A vertebral body is broad and flat towards the canal.
_VERTEBRA = np.array([0.02, 0.0, 0.0, 0.12, -0.10, 0.0])


def spine_outlines(body: Anatomy) -> list[Outline]:
    """What the spine and the tissue beside it take from the lungs, mm."""
    back = body.cage_half_depth
    return [
        ellipse((0.0, back - 22.0), 22.0, 19.0),
        np.array([[-21.0, back - 20], [21.0, back - 20], [31.0, back + 8], [-31.0, back + 8]]),
    ]


def _paint_table(canvas: Canvas, body: Anatomy) -> None:
    x = np.linspace(-230.0, 230.0, 40)
    top = body.back() - 1.0 - x**2 / 1900.0

    def shell(down: float, thick: float) -> Outline:
        upper = np.stack([x, top + down], axis=1)
        return between(upper, upper + np.array([0.0, thick]))

    canvas.fill_unrotated(shell(0.0, 9.0), -935.0)
    canvas.fill_unrotated(shell(9.0, 2.2), -180.0)
    canvas.fill_unrotated(shell(11.2, 20.0), -945.0)
    canvas.fill_unrotated(shell(31.2, 2.2), -180.0)


def _paint_breasts(canvas: Canvas, section: Section) -> None:
    body = section.body
    grown = float(np.exp(-(((section.level - 0.5) / 0.13) ** 2)))
    if body.breast * grown < 6.0:
        return
    for side in SIDES:
        skin, fascia = section.skin(side, 0.69), section.layers(side, np.array([0.69]))[0, 2]
        x, y = 0.45 * skin + 0.55 * fascia
        thick = float(np.hypot(*(skin - fascia)))
        tilt = float(np.arctan2(*(fascia - skin)[::-1])) + 0.5 * np.pi
        wobble = body.heart_wobble[::side] * 5.0
        for scale, hu in ((1.0, -40.0), (0.66, 15.0)):
            wide, high = 0.75 * body.breast * grown * scale, 0.20 * thick * scale
            canvas.fill(ellipse((x, y), wide, high, tilt=tilt, wobble=wobble * scale), hu)


def _sling(
    section: Section,
    side: int,
    phi: tuple[float, float],
    depth: tuple[float, float],
    taper: np.ndarray,
) -> Outline:
    middle, half = 0.5 * (depth[0] + depth[1]), 0.5 * (depth[1] - depth[0])
    angle = phi[0] + _ALONG * (phi[1] - phi[0])
    inner, outer = section.in_wall(side, angle, middle + half * np.stack([-taper, taper]))
    return between(inner, outer)


def _paint_muscle(
    canvas: Canvas,
    section: Section,
    side: int,
    muscle: tuple[float, float, float, float, float],
) -> None:
    start, end, deep, shallow, gone = muscle
    left = float(np.clip((gone - section.level) / 0.25, 0.0, 1.0))
    if left <= 0.05:
        return
    middle, half = 0.5 * (deep + shallow), 0.5 * (shallow - deep) * left
    outline = _sling(section, side, (start, end), (middle - half, middle + half), _ROUND)
    canvas.fill(outline, MUSCLE_HU)


def _paint_ribs(canvas: Canvas, section: Section, side: int) -> None:
    # Ribs slope down to the front: the section of one rib wanders from spine to sternum.
    body, level = section.body, section.level
    first = int(np.floor((level - _RIB_DESCENT) / _RIB_SPACING)) - 1
    cortical, cancellous = CORTICAL_HU * body.bone_scale, CANCELLOUS_HU * body.bone_scale
    for number in range(first, first + 8):
        begun = (number + body.rib_phase + 0.08 * side) * _RIB_SPACING
        passed = (level - begun) / _RIB_DESCENT
        if not 0.03 < passed < 0.99:
            continue
        phi = 0.05 + 0.88 * passed**0.85
        reach = (8.0 + 9.0 * np.sin(np.pi * phi)) / (np.pi * section.half_width)
        trim = 2.2 / (np.pi * section.half_width)
        if phi > 0.80:
            _paint_arc(canvas, section, side, (phi, reach), 2.5, CARTILAGE_HU)
            continue
        _paint_arc(canvas, section, side, (phi, reach), 2.2, cortical)
        _paint_arc(canvas, section, side, (phi, reach - trim), 4.1, cancellous)


def _paint_arc(
    canvas: Canvas,
    section: Section,
    side: int,
    span: tuple[float, float],
    inset: float,
    hu: float,
) -> None:
    half = (0.5 - inset / RIB_CAGE_MM) * _BLUNT
    angle = span[0] + (2.0 * _ALONG - 1.0) * span[1]
    inner, outer = section.in_cage(side, angle, 0.5 + np.stack([-half, half]))
    canvas.fill(between(inner, outer), hu)


def _paint_scapula(canvas: Canvas, section: Section, side: int) -> None:
    if section.level > _SCAPULA_ENDS:
        return
    left = min((_SCAPULA_ENDS - section.level) / 0.3, 1.0)
    span = (0.31 - 0.15 * left, 0.31 + 0.12 * left)
    dense = section.body.bone_scale
    outline = _sling(section, side, span, (0.40, 0.53), _BLUNT)
    canvas.fill(outline, 0.8 * CORTICAL_HU * dense)
    inner = (span[0] + 0.012, span[1] - 0.012)
    outline = _sling(section, side, inner, (0.445, 0.485), _BLUNT)
    canvas.fill(outline, CANCELLOUS_HU * dense)


def _paint_sternum(canvas: Canvas, section: Section) -> None:
    level = section.level
    there = float(np.clip((0.84 - level) / 0.08, 0.0, 1.0))
    if there <= 0.0:
        return
    manubrium = float(np.clip((0.32 - level) / 0.12, 0.0, 1.0))
    front = section.layers(1, np.array([1.0]))[0, 0, 1] - 7.0
    wide, thick = (15.0 + 9.0 * manubrium) * there, 5.6 + 1.6 * manubrium
    dense = section.body.bone_scale
    canvas.fill(ellipse((0.0, front), wide, thick), 0.7 * CORTICAL_HU * dense)
    canvas.fill(ellipse((0.0, front), wide - 2.0, thick - 1.9), 0.8 * CANCELLOUS_HU * dense)
