"""What a slice costs in `ctnet score`, against calling the loaded model.

Run `python -m benchmarks.score` (a table; ten minutes on two cores) or
`python -m benchmarks.score --json`. Leave the machine alone meanwhile.

The model is EfficientNetB3 with random weights, exported as training exports it; a slice is a PNG
of 512 x 512 pixels. Bare: a process loads the SavedModel and calls `predict_image` with 16 pictures
that are in memory already (`benchmarks.serving`). Scored: `ctnet score` on a folder of them, with
batches of 16: reading, checking, Beam and writing included, once on few slices and once on many;
the difference leaves out what does not grow with the slices (Beam's start, loading the model). Bare
and scored take turns, so that a machine that grows slower favours neither.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

_SIDE = 512
_WINDOW = (-1000.0, 400.0)
_BATCH = 16


def _draw(folder: Path, count: int) -> None:
    """Synthetic slices as 8-bit PNG, each of `_BATCH` different ones again and again."""
    from PIL import Image

    from transform.phantom.patient import draw_patient
    from transform.phantom.render import render_slice

    low, high = _WINDOW
    encoded = []
    for number in range(_BATCH):
        hu = render_slice(draw_patient(1, number), 3, 8, _SIDE).hu
        grey = np.clip((hu - low) / (high - low), 0.0, 1.0) * 255.0
        buffer = io.BytesIO()
        Image.fromarray(np.rint(grey).astype(np.uint8)).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06d}.png").write_bytes(encoded[number % _BATCH])


def _said(*command: object) -> dict[str, Any]:
    """The JSON that a command prints at the end."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def _scored(folder: Path, slices: Path, version: Path) -> float:
    """Seconds that a scoring says it took."""
    said = _said(
        *("pipeline.cli", "score", "--data", slices, "--model", version, "--unblessed"),
        *("--out", folder / "results.csv", "--overwrite", "--batch-size", _BATCH, "--json"),
    )
    return float(said["seconds"])


def _measure(arguments: argparse.Namespace) -> dict[str, float]:
    few, many = 2 * _BATCH, 2 * _BATCH + arguments.slices
    bare, whole, growing = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        version = folder / "models" / "1"
        worker = ("benchmarks.serving", "--worker")
        _said(*worker, "export", folder / "transform", version, arguments.size)
        for count in (few, many):
            _draw(folder / str(count), count)
        for _ in range(arguments.repeats):
            said = _said(*worker, "bare", version, arguments.slices)
            bare.append(float(said["slices_per_second"]))
            seconds = {
                count: _scored(folder, folder / str(count), version) for count in (few, many)
            }
            whole.append(many / seconds[many])
            growing.append((many - few) / (seconds[many] - seconds[few]))
    medians = {
        "bare": statistics.median(bare),
        "scored": statistics.median(growing),
        "scored, with the start": statistics.median(whole),
    }
    return {what: round(one, 2) for what, one in medians.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--size", type=int, default=224, help="side of the model's input, pixels")
    parser.add_argument("--slices", type=int, default=512, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3, help="turns of bare and scored")
    arguments = parser.parse_args()
    found = _measure(arguments)
    ratios = {"scored_vs_bare_batches": round(found["scored"] / found["bare"], 3)}
    if arguments.json:
        print(json.dumps({"size": arguments.size, "slices_per_second": found, "ratios": ratios}))
        return
    print(f"{f'{arguments.size} px, PNG of {_SIDE} x {_SIDE}':<32}{'slices/s':>10}")
    for what, one in found.items():
        print(f"{what:<32}{one:>10}")
    for ratio, value in ratios.items():
        print(f"{ratio.replace('_', ' '):<32}{value:>10}")


if __name__ == "__main__":
    main()
