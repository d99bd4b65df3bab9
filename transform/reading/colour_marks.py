"""Find coloured marks: arrows, circles or letters that somebody drew over a grey slice."""

from __future__ import annotations

import colorsys
import dataclasses
import math

import numpy as np
from scipy import ndimage

# Chroma is counted in grey levels of 8 bit. A colour is seen where its mean over 3 x 3 pixels, or a
# weaker one over 5 x 5, stands out this much from the picture's own tint: the eye takes in colour
# more coarsely than brightness, so that fringes whose hues cancel out are not seen.
_SEEN_OVER = {3: 22.0, 5: 11.5}
# Below this no pixel counts as coloured, and with less than the second it is grey whatever the
# tint.
_FAINT = 12
_NEUTRAL = 6

# A photograph of a screen has a moire and a cast that vary over it. There a mark stands out where
# it exceeds what three quarters of the pixels stay under so many times, but strong colour always
# counts, so that a picture in false colours is not taken for a tinted one.
_TIMES_THE_SPREAD = 7.0
_ALWAYS_SEEN = 64.0

# A scan or photograph tints dark and bright grey differently. What strays further than this from
# the picture's own tint is no tint but a mark that fills most of one grey level.
_LEVELS_A_BIN = 16
_TINT_STRAYS = 30.0
_SAMPLE = 10_000

# JPEG stores colour more coarsely than brightness, which smears the tint of bright parts into the
# dark ones beside them by so much of their difference.
_SMEARED = 0.4

# Fewer pixels are a speck. So is what adds this little chroma to the mean over all pixels: ten
# pixels of pure yellow in 512 x 512 add 0.01.
_MIN_PIXELS = 4
_MIN_PRESENCE = 0.0022

# A larger picture is looked at in every second (third, ...) pixel of both directions: its marks
# are as much larger, and memory stays bounded.
_LOOKED_AT = 2048 * 2048

_HUES = (
    (20, "red"),
    (45, "orange"),
    (70, "yellow"),
    (165, "green"),
    (200, "cyan"),
    (260, "blue"),
    (300, "purple"),
    (330, "pink"),
    (361, "red"),
)


@dataclasses.dataclass(frozen=True)
class ColouredMarks:
    """What was drawn in colour over a slice.

    Attributes:
      pixels: how many pixels the marks cover.
      share: the same, of all pixels of the picture.
      box: left, top, right, bottom of the largest mark (the one with most colour), pixels, right
        and bottom included.
      colour: roughly, of the largest mark.
    """

    pixels: int
    share: float
    box: tuple[int, int, int, int]
    colour: str

    @property
    def detail(self) -> str:
        """One line for a person."""
        left, top, right, bottom = self.box
        return (
            f"{self.colour} marks over {100 * self.share:.2g} % of the slice, the largest at "
            f"x {left}-{right}, y {top}-{bottom}"
        )


def _sampled(plane: np.ndarray) -> np.ndarray:
    """Every n-th pixel of a plane in both directions, about 10,000 of them, in a row."""
    step = max(1, math.isqrt(plane.size // _SAMPLE))
    return plane[::step, ::step].ravel()


def _tint(luma: np.ndarray, chroma: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The picture's own tint at each grey level, int16 [2, 256], in the units of `chroma`."""
    sample = np.stack([_sampled(plane) for plane in chroma])
    if not sample.any():
        return np.zeros((2, 256), np.int16)
    overall = np.median(sample, axis=1)
    level = _sampled(luma) // _LEVELS_A_BIN
    centres, strays, weights = [], [], []
    for index in np.unique(level):
        members = level == index
        stray = np.median(sample[:, members], axis=1) - overall
        stray *= _TINT_STRAYS / max(float(np.hypot(*stray)), _TINT_STRAYS)
        centres.append((index + 0.5) * _LEVELS_A_BIN / 128 - 1)
        strays.append(stray)
        weights.append(math.sqrt(int(members.sum())))
    # A cubic: marks that fill a grey level which is rare otherwise do not bend it. The damping
    # keeps it flat where a picture has few levels.
    bends = np.vander(np.array(centres), 4)
    weight = np.array(weights)[:, np.newaxis]
    damping = np.diag([10.0, 10.0, 3.0, 0.0])
    fitted = np.linalg.lstsq(
        np.concatenate([bends * weight, damping]),
        np.concatenate([np.array(strays) * weight, np.zeros((4, 2))]),
        rcond=None,
    )[0]
    curves = np.vander((np.arange(256) + 0.5) / 128 - 1, 4) @ fitted + overall
    return np.rint(curves.T).astype(np.int16)


def _tint_range(tint: np.ndarray, luma: np.ndarray) -> float:
    """How much the tint differs between the dark and the bright parts of the picture."""
    dark, bright = np.quantile(_sampled(luma), (0.02, 0.98)).astype(int)
    red_green, yellow_blue = np.ptp(tint[:, dark : bright + 1], axis=1).tolist()
    return math.hypot(red_green, yellow_blue / 2)


def _sum_over(plane: np.ndarray, side: int) -> np.ndarray:
    """The sum over side x side pixels around each, of those that lie in the picture."""
    height, width = plane.shape
    padded = np.pad(plane, side // 2)
    rows = padded[:height].copy()
    for shift in range(1, side):
        rows += padded[shift : shift + height]
    total = rows[:, :width].copy()
    for shift in range(1, side):
        total += rows[:, shift : shift + width]
    return total


def _strength(chroma: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How far colours are from grey, float32, from red - green and twice yellow - blue."""
    first, second = (plane.astype(np.float32) for plane in chroma)
    first *= first
    second *= second
    second *= np.float32(0.25)
    first += second
    return np.sqrt(first, out=first)


def _summed_over(length: int, side: int) -> np.ndarray:
    """How many of `side` pixels around each of a row lie in the row, float32 [length]."""
    within = np.minimum(np.arange(length), side // 2)
    return (within + within[::-1] + 1).astype(np.float32)


def _seen(chroma: tuple[np.ndarray, np.ndarray], smear: float) -> np.ndarray:
    """How far each pixel's colour goes beyond what is seen at all.

    Args:
      chroma: int16 [height, width] each, red - green and twice yellow - blue, both less the tint.
      smear: chroma that JPEG may have carried over from the tint next to a pixel.

    Returns:
      float32 [height, width]; seen from 1 on.
    """
    height, width = chroma[0].shape
    seen = np.zeros((height, width), np.float32)
    for side, least in _SEEN_OVER.items():
        # Sums of 5 x 5 fit int16: twice |yellow - blue|, less its tint, stays below 32768 / 25.
        strength = _strength((_sum_over(chroma[0], side), _sum_over(chroma[1], side)))
        strength /= np.outer(_summed_over(height, side), _summed_over(width, side))
        spread = float(np.quantile(_sampled(strength), 0.75))
        strength /= np.float32(min(max(least, _TIMES_THE_SPREAD * spread) + smear, _ALWAYS_SEEN))
        np.maximum(seen, strength, out=seen)
    return seen


def _colour_name(colours: np.ndarray, strength: np.ndarray) -> str:
    """A rough name for the strongest of these uint8 [pixels, 3]."""
    red, green, blue = colours[strength >= 0.6 * strength.max()].mean(axis=0) / 255
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    name = next(name for limit, name in _HUES if 360 * hue < limit)
    if name == "red" and saturation < 0.4 and value > 0.6:
        return "pink"
    return "brown" if name == "orange" and value < 0.65 else name


def find_coloured_marks(rgb: np.ndarray) -> ColouredMarks | None:
    """Find what was drawn in colour over a grey picture.

    A tint of the whole picture, the chroma noise of JPEG, noise in each channel, the moire of a
    photographed screen and single odd pixels are no marks, nor is anything grey.

    Args:
      rgb: uint8 [height, width, 3].

    Returns:
      None where nobody would see a coloured mark.
    """
    step = max(1, math.ceil(math.sqrt(rgb.shape[0] * rgb.shape[1] / _LOOKED_AT)))
    looked_at = rgb[::step, ::step]
    red, green, blue = (np.ascontiguousarray(looked_at[..., index]) for index in range(3))
    brightest = np.maximum(np.maximum(red, green), blue)
    darkest = np.minimum(np.minimum(red, green), blue)
    range_of_pixel = brightest - darkest
    if range_of_pixel.max(initial=0) <= _FAINT:
        return None

    luma = brightest // 2 + darkest // 2
    red, green, blue = (channel.astype(np.int16) for channel in (red, green, blue))
    chroma = (red - green, red + green - 2 * blue)
    tint = _tint(luma, chroma)
    if tint.any():
        chroma = (chroma[0] - tint[0][luma], chroma[1] - tint[1][luma])
    seen = _seen(chroma, _SMEARED * _tint_range(tint, luma))
    if seen.max() < 1:
        return None

    labels, count = ndimage.label(seen > 0.5, np.ones((3, 3)))
    rows, columns = np.nonzero(labels)
    strength = _strength((chroma[0][rows, columns], chroma[1][rows, columns]))
    # White letters over a yellowed picture lack its tint, yet nobody calls them coloured.
    coloured = (strength > _FAINT) & (range_of_pixel[rows, columns] > _NEUTRAL)
    rows, columns, strength = rows[coloured], columns[coloured], strength[coloured]
    mark = labels[rows, columns]
    peaks = np.zeros(count + 1)
    np.maximum.at(peaks, mark, seen[rows, columns])
    sizes = np.bincount(mark, minlength=count + 1)
    presence = np.bincount(mark, strength, count + 1) / luma.size
    real = (peaks >= 1) & (sizes >= _MIN_PIXELS) & (presence >= _MIN_PRESENCE)
    if not real.any():
        return None

    largest = mark == np.argmax(np.where(real, presence, 0))
    pixels = int(sizes[real].sum())
    rows, columns, strength = rows[largest], columns[largest], strength[largest]
    height, width = rgb.shape[:2]
    return ColouredMarks(
        pixels=pixels * step * step,
        share=pixels / luma.size,
        box=(
            int(columns.min()) * step,
            int(rows.min()) * step,
            min(int(columns.max()) * step + step, width) - 1,
            min(int(rows.max()) * step + step, height) - 1,
        ),
        colour=_colour_name(looked_at[rows, columns], strength),
    )
