"""What a run costs as the data set grows: seconds and peak memory a step, and the exponent.

Run `python -m benchmarks.scale` (a table; half an hour on two cores) or
`python -m benchmarks.scale --json`; `--sizes 1000 10000 100000` takes hours and, at 256 pixels,
14 GB in `--folder`. Leave the machine alone meanwhile.

Each size is a run of the whole pipeline in a process of its own, on the first so many slices of one
synthetic cohort. Training is cut short (one epoch of 32 slices, a tiny network), because its cost
is a matter of epochs; it, and the steps that look at a fixed number of slices, are listed but not
counted. The network being tiny, what is left of evaluation is reading, asking, joining, and taking
figures and intervals.

The exponent is the slope of the logarithm of seconds over that of the size, by least squares; a
start-up that does not grow with the size makes it smaller, so that the slope between the two
largest sizes stands beside it. Peak memory is the resident set's in a step, the kernel's mark being
set back as the step begins (Linux).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.terminal import RunDisplay

_SLICES_A_PATIENT = 10
COUNTED = ("CTExampleGen", "StatisticsGen", "SliceValidator", "Transform", "SliceEvaluator")
"""The steps whose cost depends on the number of slices."""

_SETTINGS: dict[str, Any] = {
    "name": "scale",
    "model": {"backbone": "tiny", "weights": "none", "batch_norm_momentum": 0.8},
    "train": {"epochs": 1, "head_epochs": 0, "early_stopping": 0, "examples_per_class": 16},
    "gate": {"min_sensitivity": 0.0, "min_specificity": 0.0, "leak_alarm": None},
}


class _Meter(RunDisplay):
    """Notes what each step took, and shows nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[str, dict[str, float]] = {}
        self._cpu = 0.0

    def open(self, out: object, err: object) -> None:
        """Leave the console where it is."""

    def step_begun(self, name: str, number: int, steps: int) -> None:
        """Set the mark of the peak back."""
        Path("/proc/self/clear_refs").write_text("5")
        self._cpu = time.process_time()

    def step_ended(self, name: str, seconds: float, cached: bool) -> None:
        """Note the step."""
        status = Path("/proc/self/status").read_text()
        peak = status.split("VmHWM:")[1].split()[0]
        self.steps[name] = {
            "seconds": seconds,
            "cpu_seconds": time.process_time() - self._cpu,
            "peak_mib": int(peak) / 1024,
        }

    def step_failed(self, name: str) -> None:
        """The summary says why."""

    def training_progress(self, progress: object) -> None:
        """Not of interest here."""


def _worker(manifest: Path, workdir: Path, image_size: int) -> dict[str, dict[str, float]]:
    """One run, in this process."""
    from pipeline.config import parse_config
    from pipeline.run import RunRequest, run

    meter = _Meter()
    config = parse_config({**_SETTINGS, "transform": {"image_size": image_size}})
    summary = run(RunRequest(config, manifest, workdir), meter)
    if summary.error:
        raise SystemExit(summary.error)
    with manifest.open() as file:
        rows = sum(1 for _ in csv.DictReader(file))
    used = sum(sum(split.values()) for split in summary.counts["examples"].values())
    if used != rows:
        raise SystemExit(f"only {used} of {rows} slices came through")
    return meter.steps


def _write_cohort(folder: Path, slices: int, size: int) -> Path:
    from transform.phantom import write_cohort

    patients = math.ceil(slices / _SLICES_A_PATIENT)
    manifest = folder / "manifest.csv"
    if manifest.exists():
        return manifest
    return write_cohort(
        folder, patients=patients, slices=_SLICES_A_PATIENT, seed=1, severity="severe", size=size
    )


def _first_rows(manifest: Path, count: int) -> Path:
    """A manifest of the first so many slices, beside the whole one."""
    part = manifest.with_name(f"first-{count}.csv")
    with manifest.open() as file:
        part.write_text("".join(itertools.islice(file, count + 1)))
    return part


def _measure(manifest: Path, image_size: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory(dir=manifest.parent) as workdir:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.scale", "--worker", str(manifest)),
                *("--workdir", workdir, "--image-size", str(image_size)),
            ],
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _slope(costs: dict[int, float]) -> float:
    """The exponent of a power law through (size, cost), by least squares on logarithms."""
    sizes = [math.log(size) for size in costs]
    logarithms = [math.log(cost) for cost in costs.values()]
    return statistics.linear_regression(sizes, logarithms).slope


def _exponents(costs: dict[int, float]) -> dict[str, float]:
    two_largest = dict(sorted(costs.items())[-2:])
    return {
        "fitted": round(_slope(costs), 3),
        "between_the_two_largest": round(_slope(two_largest), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000], help="slices")
    parser.add_argument("--size", type=int, default=256, help="pixels of a slice's side")
    parser.add_argument("--image-size", type=int, default=224, help="pixels of the network's")
    parser.add_argument("--folder", type=Path, help="for the files; the cohort there is kept")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workdir", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(_worker(arguments.worker, arguments.workdir, arguments.image_size)))
        return
    if len(arguments.sizes) < 2:
        parser.error("--sizes: two at least, or there is no slope")

    sizes = sorted(arguments.sizes)
    found: dict[int, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)) / f"{sizes[-1]}x{arguments.size}px"
        manifest = _write_cohort(folder, sizes[-1], arguments.size)
        for count in sizes:
            print(f"{count} slices", file=sys.stderr)
            found[count] = _measure(_first_rows(manifest, count), arguments.image_size)

    counted = {
        size: sum(steps[name]["seconds"] for name in COUNTED) for size, steps in found.items()
    }
    cpu = {
        size: sum(steps[name]["cpu_seconds"] for name in COUNTED) for size, steps in found.items()
    }
    of_steps = {
        name: _exponents({size: steps[name]["seconds"] for size, steps in found.items()})
        for name in COUNTED
        if name != "SliceValidator"
    }
    measured: dict[str, Any] = {
        "sizes": {str(size): steps for size, steps in found.items()},
        "exponents": of_steps,
        "ratios": {
            "exponent_of_seconds": _exponents(counted)["fitted"],
            "exponent_of_seconds_between_the_two_largest": _exponents(counted)[
                "between_the_two_largest"
            ],
            "exponent_of_cpu_seconds": _exponents(cpu)["fitted"],
            "exponent_of_cpu_seconds_between_the_two_largest": _exponents(cpu)[
                "between_the_two_largest"
            ],
            "peak_memory_largest_vs_smallest": round(
                max(one["peak_mib"] for one in found[sizes[-1]].values())
                / max(one["peak_mib"] for one in found[sizes[0]].values()),
                3,
            ),
        },
    }
    if arguments.json:
        print(json.dumps(measured))
        return
    print(f"{'step':<20}" + "".join(f"{size:>10}{'CPU':>9}{'MiB':>8}" for size in sizes))
    for name in found[sizes[0]]:
        cells = "".join(
            f"{steps[name]['seconds']:>8.1f} s{steps[name]['cpu_seconds']:>7.1f} s"
            f"{steps[name]['peak_mib']:>8.0f}"
            for steps in found.values()
        )
        slope = of_steps.get(name)
        note = f"  exponent {slope['fitted']:.2f}" if slope else ""
        print(f"{name:<20}{cells}{note}")
    print()
    for name, value in measured["ratios"].items():
        print(f"{name.replace('_', ' '):<50}{value:>7.2f}")


if __name__ == "__main__":
    main()
