"""What came of the probes: how well the classes are told apart without the lungs."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

FILE_NAME = "probes.json"

PLAIN = "plain"
LUNGS_BLANKED = "lungs_blanked"
BORDER_ONLY = "border_only"
FILE_FEATURES = "file_features"
NO_SOURCE = "file_features_without_source"
PROBES = (PLAIN, LUNGS_BLANKED, BORDER_ONLY, FILE_FEATURES, NO_SOURCE)
"""In the order in which they are shown; the first is what the others are compared with."""

OF_THE_MODEL = (LUNGS_BLANKED, BORDER_ONLY)
"""The probes that say something of the model; those of files say something of the data alone."""

SUSPICIOUS_AUC = 0.6
"""Above this, an AUC without the lungs is a shortcut. Lower ones come from what a probe leaves
visible, and are too weak for a network to care; `ctnet inspect` has the same bound. A probe needs
its whole interval above it."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """How well positives were told from negatives in one way.

    Attributes:
      name: one of `PROBES`.
      title: its name for people.
      slices: test slices that were asked about.
      patients: whose these are.
      auc: None where a class is missing, or an answer is no number.
      low: lower end of the AUC's 95 % interval, by bootstrap over patients; None where there are
        too few patients to say.
      high: its upper end.
      suspicious: whether a shortcut was found; never of `PLAIN`.
      sentence: what it means, for a reader.
    """

    name: str
    title: str
    slices: int
    patients: int
    auc: float | None
    low: float | None
    high: float | None
    suspicious: bool
    sentence: str

    @property
    def auc_at_least(self) -> float:
        """What the AUC is at the least, whichever way round the answers are; NaN if unknown.

        The lower end of its interval, or 1 less the upper end where that is more: answers that are
        the wrong way round come from a shortcut just as well.
        """
        if self.low is None or self.high is None:
            return math.nan
        return max(self.low, 1.0 - self.high)


@dataclasses.dataclass(frozen=True)
class ProbeResults:
    """The probes of one model.

    Attributes:
      probes: in the order of `PROBES`.
      slices: test slices that the model was asked about.
      without_lungs: how many of these no lung was found in; they are not in `LUNGS_BLANKED`.
      lungs_in_border: share of the border that is lung, over the slices with lungs: what
        `BORDER_ONLY` leaves of them, much where pictures were cropped. None where no lung was
        found.
    """

    probes: tuple[Probe, ...]
    slices: int
    without_lungs: int
    lungs_in_border: float | None

    @property
    def suspicious(self) -> bool:
        """Whether any probe is."""
        return any(probe.suspicious for probe in self.probes)

    @property
    def shortcuts(self) -> list[str]:
        """A sentence for each probe that found one."""
        return [probe.sentence for probe in self.probes if probe.suspicious]

    def probe(self, name: str) -> Probe:
        """The probe of a name.

        Raises:
          KeyError: there is none.
        """
        return {probe.name: probe for probe in self.probes}[name]

    def write(self, folder: str) -> None:
        """Write them whole.

        Raises:
          StorageError: the folder cannot be written.
        """
        # It needs TensorFlow, for which those who only read need not wait.
        from transform.whole_file import write_whole

        values = dataclasses.asdict(self)
        write_whole(f"{folder}/{FILE_NAME}", json.dumps(values, indent=1, allow_nan=False).encode())


def read_probes(folder: Path) -> ProbeResults:
    """The results in an artifact's folder."""
    values = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    return ProbeResults(**{**values, "probes": tuple(Probe(**one) for one in values["probes"])})
