"""One synthetic patient: who it is, its body, its scanner and, where positive, its opacities."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools

import numpy as np

from transform.errors import ConfigError
from transform.phantom.anatomy import Anatomy, draw_anatomy
from transform.phantom.opacity import SEVERITIES, Opacity, draw_opacities
from transform.phantom.vessels import VesselTree, grow_vessels


class Stream(enum.IntEnum):
    """What a random stream is for: each has its own, so that no draw leans on another."""

    LABEL = 0
    PERSON = 1
    ANATOMY = 2
    VESSELS = 3
    SCANNER = 4
    OPACITIES = 5
    NOISE = 6


@dataclasses.dataclass(frozen=True)
class Scanner:
    """How a patient was scanned and its slices stored.

    Attributes:
      signed: whether stored values are signed (DICOM PS3.3 C.7.6.3, Pixel Representation).
      intercept: Rescale Intercept, HU; the slope is 1.
      bits_stored: Bits Stored, 12 or 16.
      kernel: name of the reconstruction kernel.
      kernel_side: weight of each neighbour in the kernel, along each axis.
      noise_hu: standard deviation of the noise after the kernel, HU.
      kvp: tube voltage, kV.
      slice_thickness: mm.
    """

    signed: bool
    intercept: int
    bits_stored: int
    kernel: str
    kernel_side: float
    noise_hu: float
    kvp: int
    slice_thickness: float


@dataclasses.dataclass(frozen=True)
class Patient:
    """A synthetic patient; negative ones have no opacities and differ in nothing else."""

    seed: int
    number: int
    severity: str
    positive: bool
    age: int
    sex: str
    study_date: datetime.date
    anatomy: Anatomy
    scanner: Scanner
    opacities: tuple[Opacity, ...]

    @property
    def id(self) -> str:
        """The Patient ID, unique over seeds."""
        return f"phantom{self.seed}-{self.number:05d}"

    @functools.cached_property
    def vessels(self) -> VesselTree:
        """The patient's lung vessels, grown when a slice first needs them (some milliseconds)."""
        return grow_vessels(self.random(Stream.VESSELS), self.anatomy)

    def random(self, stream: Stream, *more: int) -> np.random.Generator:
        """The patient's own random stream."""
        return np.random.default_rng([self.seed, stream, self.number, *more])


_KERNELS = (("SOFT", 0.25), ("STANDARD", 0.21), ("LUNG", 0.16))
_STORAGE = ((False, -1024, 12), (True, 0, 16), (True, -1024, 16), (False, -1024, 16))


def draw_patient(seed: int, number: int, severity: str = "moderate") -> Patient:
    """Draw a patient, who depends on nothing but the arguments.

    Of each two patients 2k and 2k + 1 one is positive.

    Args:
      seed: of the cohort, not negative.
      number: of the patient in the cohort, from 0.
      severity: `mild`, `moderate` or `severe`; changes the opacities and nothing else.

    Raises:
      ConfigError: an unknown severity, or a negative seed or number.
    """
    if severity not in SEVERITIES:
        raise ConfigError(f"severity is {severity!r}; it must be one of {', '.join(SEVERITIES)}")
    if seed < 0 or number < 0:
        raise ConfigError(f"seed is {seed} and patient {number}; neither may be negative")

    def stream(purpose: Stream) -> np.random.Generator:
        return np.random.default_rng([seed, purpose, number])

    pair = np.random.default_rng([seed, Stream.LABEL, number // 2])
    positive = bool(pair.integers(2) == number % 2)
    person = stream(Stream.PERSON)
    sex = str(person.choice(["M", "F"]))
    age = int(np.clip(np.rint(person.normal(57, 15)), 18, 89))
    date = datetime.date(2020, 3, 1) + datetime.timedelta(days=int(person.integers(0, 365)))
    return Patient(
        seed=seed,
        number=number,
        severity=severity,
        positive=positive,
        age=age,
        sex=sex,
        study_date=date,
        anatomy=draw_anatomy(stream(Stream.ANATOMY), sex),
        scanner=_draw_scanner(stream(Stream.SCANNER)),
        opacities=draw_opacities(stream(Stream.OPACITIES), SEVERITIES[severity])
        if positive
        else (),
    )


def _draw_scanner(rng: np.random.Generator) -> Scanner:
    signed, intercept, bits_stored = _STORAGE[rng.integers(len(_STORAGE))]
    kernel, side = _KERNELS[rng.integers(len(_KERNELS))]
    return Scanner(
        signed=signed,
        intercept=intercept,
        bits_stored=bits_stored,
        kernel=kernel,
        kernel_side=side,
        noise_hu=float(rng.uniform(9, 17) * (1.0 + 8.0 * (0.25 - side))),
        kvp=int(rng.choice([100, 120, 120, 140])),
        slice_thickness=float(rng.choice([1.0, 1.25, 2.0, 3.0, 5.0])),
    )
