"""How fast synthetic CT is made, against pydicom alone writing files of the same size.

Run `python -m benchmarks.phantom` (a table) or `python -m benchmarks.phantom --json`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Set before numpy is loaded: the figure is for one thread.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_pool] = "1"

import numpy as np  # noqa: E402

from transform.phantom import draw_patient, write_cohort  # noqa: E402
from transform.phantom.dicom import SeriesWriter  # noqa: E402

_SIZE = 512
_PATIENTS = 4
_ROUNDS = 3


def _phantom(out: Path, slices: int) -> None:
    write_cohort(out, patients=_PATIENTS, slices=slices, seed=1, severity="severe", size=_SIZE)


def _constant(out: Path, slices: int) -> None:
    constant = np.full((_SIZE, _SIZE), 40, dtype=np.int16)
    patient = draw_patient(1, 0, "severe")
    for number in range(_PATIENTS):
        series = SeriesWriter(patient, slices, _SIZE)
        for index in range(slices):
            series.write(out / f"{number}-{index}.dcm", index, constant)


def _files_a_second(write: Callable[[Path, int], None], slices: int) -> float:
    """The best of some rounds, so that a neighbour's load on the machine counts least."""
    best = float("inf")
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            write(Path(folder), slices)
            best = min(best, time.perf_counter() - begun)
    return _PATIENTS * slices / best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--slices", type=int, default=20, help="slices a patient")
    arguments = parser.parse_args()
    _files_a_second(_phantom, 1)

    phantom = _files_a_second(_phantom, arguments.slices)
    constant = _files_a_second(_constant, arguments.slices)
    found = {
        "slices_per_second": round(phantom, 1),
        "pydicom_constant_files_per_second": round(constant, 1),
        "size": _SIZE,
        "threads": 1,
        "ratios": {"phantom_vs_pydicom_constant": round(phantom / constant, 4)},
    }
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{'one thread, 512 x 512':<40}{'files/s':>10}")
    print(f"{'ctnet phantom (severe), drawn and written':<40}{phantom:>10.1f}")
    print(f"{'pydicom, constant pixels':<40}{constant:>10.1f}")
    print(f"{'ratio':<40}{phantom / constant:>10.3f}")


if __name__ == "__main__":
    main()
