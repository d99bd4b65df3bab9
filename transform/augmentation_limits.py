"""How far a slice may be changed at random, whoever changes it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class AugmentationLimits:
    """The limits (paper, section on augmentation: rotation to pad).

    Attributes:
      rotation: degrees, either way.
      shift: of width and height, share of the side, either way.
      flip: left to right, for half of the slices.
      pad: zoom out by up to this share.
      zoom: zoom in by up to this share.
      brightness: share of the range of HU that is added, either way.
      contrast: factor around the slice's mean, 1 plus or minus this.
    """

    rotation: float = 0.0
    shift: float = 0.0
    flip: bool = False
    pad: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
