"""From a synthetic patient to one axial slice in Hounsfield units, with its lungs and opacities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transform.errors import ConfigError
from transform.phantom.anatomy import Anatomy
from transform.phantom.canvas import Canvas, Frame
from transform.phantom.chest_wall import AIR_HU, paint_chest_wall, paint_spine
from transform.phantom.mediastinum import BLOOD_HU, mediastinum_outlines
from transform.phantom.opacity import CONSOLIDATION_HU, infiltrate
from transform.phantom.patient import Patient, Stream
from transform.phantom.section import Section
from transform.phantom.texture import texture
from transform.phantom.vessels import NEUTRAL, paint_vessels

MIN_SIZE = 32
DEFAULT_SIZE = 512
# What 12 stored bits hold with the usual intercept of -1024.
HU_RANGE = (-1024, 3071)
# Slices cover the lungs without the tip and the recess below, as a reader's selection does.
_COVERED = (0.10, 0.88)


class RenderedSlice(NamedTuple):
    """One slice, all [size, size].

    Attributes:
      hu: int16, HU.
      opacities: bool, where ground glass or consolidation is at least half of the tissue.
      lungs: bool, where lung (healthy or not) is at least half of the pixel.
    """

    hu: np.ndarray
    opacities: np.ndarray
    lungs: np.ndarray


def level_of(index: int, slices: int) -> float:
    """Where a slice lies, 0 (apex) to 1 (base of the lungs)."""
    return _COVERED[0] + (index + 0.5) / slices * (_COVERED[1] - _COVERED[0])


def pixel_spacing(body: Anatomy, size: int) -> float:
    """The side of a pixel, mm."""
    return body.field_of_view / size


def render_slice(
    patient: Patient, index: int, slices: int, size: int = DEFAULT_SIZE
) -> RenderedSlice:
    """Render one slice of a patient; the same arguments give the same pixels.

    Args:
      patient: from `draw_patient`.
      index: 0 (nearest the head) to `slices` - 1.
      slices: how many there are between the lung's apex and its base.
      size: rows and columns of the image; the anatomy grows with it.

    Raises:
      ConfigError: `index` outside the slices, or `size` too small for a chest.
    """
    if not 0 <= index < slices:
        raise ConfigError(f"slice {index} of {slices} does not exist; count from 0")
    if size < MIN_SIZE:
        raise ConfigError(f"size is {size}; a phantom needs at least {MIN_SIZE} pixels a side")
    body = patient.anatomy
    level = level_of(index, slices)
    frame = Frame(size, pixel_spacing(body, size), body.rotation, body.shift)

    section = Section(body, level)

    tissue = Canvas(frame, "F", AIR_HU)
    paint_chest_wall(tissue, section)
    airspace = Canvas(frame, "L", 0)
    # Pleura and endothoracic fascia keep the lung a millimetre off the ribs.
    airspace.fill(section.around_cage(-1.0), 255)
    for outline, tissue_hu in mediastinum_outlines(section):
        tissue.fill(outline, tissue_hu)
        airspace.fill(outline, 0)
    paint_spine(tissue, section)
    vessels = Canvas(frame, "L", NEUTRAL)
    paint_vessels(vessels, patient.vessels, level * body.lung_height)

    hu = tissue.pixels()
    weight = airspace.pixels()
    window = _bounds(weight)
    lung, opaque = _lung_tissue(patient, section, frame, window, vessels.pixels(window))
    share = weight[window].astype(np.float32) * np.float32(1 / 255)
    hu[window] += share * (lung - hu[window])

    opacities = np.zeros((size, size), dtype=bool)
    lungs = weight >= 128
    opacities[window] = opaque & lungs[window]
    return RenderedSlice(_scan(hu, patient, index, slices), opacities, lungs)


def _bounds(weight: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _lung_tissue(
    patient: Patient,
    section: Section,
    frame: Frame,
    window: tuple[slice, slice],
    vessels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """HU of the lungs in a window as if they filled it, and where opacities are half of it."""
    body, size = patient.anatomy, frame.size
    rows = window[0]
    # Gravity pulls blood down the image, whichever way the patient lies on the table.
    down = np.linspace(-1.0, 1.0, rows.stop - rows.start, dtype=np.float32)
    gradient = body.lung_hu + body.gravity_hu * down
    gradient += body.dependent_hu * np.clip((down - 0.55) / 0.45, 0.0, 1.0) ** 2
    drift = (body.texture_offset[0] + 7.3 * section.level) % 1.0, body.texture_offset[1]
    lung = texture(size, "mottle", drift, window) * np.float32(body.mottle_hu)
    lung += texture(size, "cloud", drift, window) * np.float32(0.6 * body.mottle_hu)
    lung += gradient[:, None].astype(np.float32)

    opaque = np.zeros(lung.shape, dtype=bool)
    cores = []
    for opacity in patient.opacities:
        part = infiltrate(opacity, section, frame)
        if part is None:
            continue
        here, there = _overlap(window, part.window)
        glass = part.ground_glass[there]
        # Where two overlap the denser one shows: ground glass never thins a neighbour out.
        denser = np.maximum(part.ground_glass_hu[there] - lung[here], 0.0)
        lung[here] += glass * denser
        opaque[here] |= glass >= 0.5
        if part.core is not None:
            cores.append((here, part.core[there]))

    wall = np.clip(vessels.astype(np.float32) - NEUTRAL, 0.0, None) * np.float32(1 / 215)
    lumen = np.clip(NEUTRAL - vessels.astype(np.float32), 0.0, None) * np.float32(1 / NEUTRAL)
    lung += wall * (BLOOD_HU - lung)
    # Consolidation hides vessels; ground glass does not (Fleischner Society glossary, 2008).
    for here, core in cores:
        lung[here] += core * (CONSOLIDATION_HU - lung[here])
    # Airways stay open in both: the air bronchogram.
    lung += lumen * (AIR_HU + 15 - lung)
    return lung, opaque


def _overlap(
    outer: tuple[slice, slice], inner: tuple[slice, slice]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The common part of two windows, counted from the corner of each."""
    first, second = [], []
    for a, b in zip(outer, inner, strict=True):
        start, stop = max(a.start, b.start), min(a.stop, b.stop)
        stop = max(stop, start)
        first.append(slice(start - a.start, stop - a.start))
        second.append(slice(start - b.start, stop - b.start))
    return (first[0], first[1]), (second[0], second[1])


def _scan(hu: np.ndarray, patient: Patient, index: int, slices: int) -> np.ndarray:
    """Add noise, blur with the reconstruction kernel and round, as a scanner would."""
    scanner = patient.scanner
    side = np.float32(scanner.kernel_side)
    if scanner.noise_hu:
        rng = patient.random(Stream.NOISE, slices, index)
        # White noise of variance 1 leaves each pass of the kernel with this much of it.
        kept = 2 * scanner.kernel_side**2 + (1 - 2 * scanner.kernel_side) ** 2
        hu = hu + np.float32(scanner.noise_hu / kept) * _white_noise(rng, hu.shape[0])
    for axis in (0, 1):
        hu = _blur(hu, side, axis)
    np.rint(hu, out=hu)
    np.clip(hu, *HU_RANGE, out=hu)
    return hu.astype(np.int16)


def _white_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise of mean 0 and variance 1, float32 [size, size].

    The sum of four random bytes: after the kernel it cannot be told from a Gaussian, and it takes
    a third of the time, which a slice spends on little else.
    """
    words = rng.integers(0, 2**64, -(-size * size // 2), dtype=np.uint64).astype("<u8", copy=False)
    planes = words.view(np.uint8)[: 4 * size * size].reshape(4, size, size)
    total = np.add(planes[0], planes[1], dtype=np.int16)
    total += np.add(planes[2], planes[3], dtype=np.int16)
    noise = total.astype(np.float32)
    noise -= np.float32(4 * 127.5)
    noise *= np.float32(1.0 / np.sqrt(4 * (256**2 - 1) / 12))
    return noise


def _blur(image: np.ndarray, side: np.float32, axis: int) -> np.ndarray:
    blurred = image * (1 - 2 * side)
    image = image * side
    if axis == 1:
        view, image = blurred.T, image.T
    else:
        view = blurred
    view[1:] += image[:-1]
    view[:-1] += image[1:]
    view[0] += image[0]
    view[-1] += image[-1]
    return blurred
