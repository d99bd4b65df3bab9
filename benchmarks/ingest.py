"""How fast slices become examples, against bare loops over the same files.

Run `python -m benchmarks.ingest` (a table; minutes) or `python -m benchmarks.ingest --json`. The
bare loops are what anybody would write: one decodes (`pydicom.dcmread(path).pixel_array`, or
Pillow), the other writes a 16-bit PNG of it with Pillow besides. The ingestion does both, and the
checks, the statistics, the fingerprint, the comparison of all slices, the split, and the TFRecord
files. Its clock begins when its libraries are loaded and ends with the last file in place, so that
starting a second worker process counts.

Memory is the peak resident set of the ingesting process, at two sizes of input.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Set before numpy is loaded: the figures are for one core a worker.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_pool] = "1"

import numpy as np  # noqa: E402

_SIZE = 512
_DRAWN = 96
_BARE_SLICES = 400
_SLICES_A_PATIENT = 10
_PLACES = 12
_ONE_WORKER = ("--runner=FnApiRunner", "--direct_num_workers=1")
_TWO_WORKERS = (
    "--runner=FnApiRunner",
    "--direct_num_workers=2",
    "--direct_running_mode=multi_processing",
)
_FORMATS = ("dicom", "dicom-jpeg2000", "png")


def _draw() -> list[np.ndarray]:
    from transform.phantom import draw_patient, render_slice

    patients = [draw_patient(1, number, "moderate") for number in range(_DRAWN // 4)]
    return [render_slice(one, index, 4, _SIZE).hu for one in patients for index in range(4)]


def _write_slices(folder: Path, kind: str, count: int) -> Path:
    """Write a manifest and its files; no two slices are near-identical."""
    import pydicom
    from PIL import Image
    from pydicom.uid import JPEG2000Lossless

    from transform.phantom import draw_patient
    from transform.phantom.dicom import SeriesWriter

    generator = np.random.default_rng(1)
    drawn = _draw()
    folder.mkdir(parents=True)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "patient_id"))
        for number in range(count):
            patient, index = divmod(number, _SLICES_A_PATIENT)
            # Moved by so much that no two are near-identical: those would be conflicts.
            moved, which = divmod(number, len(drawn))
            places = np.array(divmod(moved % _PLACES**2, _PLACES))
            hu = np.roll(drawn[which], tuple(places * (_SIZE // _PLACES)), (0, 1))
            hu = hu + generator.integers(-8, 9, hu.shape, dtype=np.int16)
            hu = np.clip(hu, -1024, 3071).astype(np.int16)
            name = f"{number:06d}.{'png' if kind == 'png' else 'dcm'}"
            if kind == "png":
                grey = np.clip((hu + 1000) * (255 / 1400), 0, 255).astype(np.uint8)
                Image.fromarray(grey).save(folder / name)
            else:
                series = SeriesWriter(draw_patient(1, patient, "mild"), _SLICES_A_PATIENT, _SIZE)
                series.write(folder / name, index, hu)
                if kind == "dicom-jpeg2000":
                    dataset = pydicom.dcmread(folder / name)
                    dataset.compress(JPEG2000Lossless)
                    dataset.save_as(folder / name)
            writer.writerow((name, patient % 2, f"p{patient}"))
    return manifest


def _bare_loop(folder: Path, kind: str, with_png: bool) -> float:
    """Slices a second of a loop that only decodes, or also encodes."""
    import pydicom
    from PIL import Image

    def decode_dicom(path: Path) -> np.ndarray:
        return pydicom.dcmread(path).pixel_array

    def decode_png(path: Path) -> np.ndarray:
        return np.asarray(Image.open(path))

    decode: Callable[[Path], np.ndarray] = decode_png if kind == "png" else decode_dicom
    paths = [path for path in sorted(folder.iterdir()) if path.suffix != ".csv"]
    paths = paths[:_BARE_SLICES]
    decode(paths[0])
    begun = time.perf_counter()
    for path in paths:
        pixels = decode(path)
        if with_png:
            Image.fromarray(pixels.astype(np.uint16)).save(io.BytesIO(), "PNG")
    return len(paths) / (time.perf_counter() - begun)


def _ingest(manifest: Path, out: Path, beam_args: list[str]) -> dict[str, float]:
    """Run the ingestion here and print what it took; the process is its own, for its memory."""
    import apache_beam as beam
    import tfx.v1  # noqa: F401 before everything that imports TFDV or TFMA
    from apache_beam.options.pipeline_options import PipelineOptions

    from components.ct_example_gen.ingestion import IngestInput, count_shards, ingest
    from components.ct_example_gen.manifest import survey_manifests
    from components.ct_example_gen.outcome import read_outcome
    from components.ct_example_gen.settings import IngestSettings, SplitBy
    from components.ct_example_gen.spans import ManifestFile
    from components.ct_example_gen.splitting import SplitShares

    before = _peak()
    begun = time.perf_counter()
    manifests = [ManifestFile(manifest)]
    facts = survey_manifests(manifests)
    settings = IngestSettings(
        window=(-1000.0, 400.0), split=SplitShares(train=0.7, eval=0.15, test=0.15)
    )
    out.mkdir(parents=True)
    with beam.Pipeline(options=PipelineOptions(beam_args)) as pipeline:
        ingest(
            pipeline,
            settings,
            IngestInput(manifests, count_shards(facts), SplitBy.HASH),
            key_reference=None,
            findings_uri=str(out / "findings"),
            temporary_uri=str(out / "temporary"),
            examples_uri=str(out / "examples"),
        )
    seconds = time.perf_counter() - begun
    outcome = read_outcome(out / "findings")
    if outcome.total_accepted != facts.rows:
        raise SystemExit(f"only {outcome.total_accepted} of {facts.rows} slices came through")
    return {
        "slices_per_second": facts.rows / seconds,
        "peak_mib": _peak(),
        "libraries_mib": before,
    }


def _peak() -> float:
    """Peak resident set of this process, MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _ingest_apart(manifest: Path, beam_args: tuple[str, ...]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=manifest.parent.parent) as out:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.ingest", "--worker", str(manifest)),
                *("--out", f"{out}/out", f"--beam-args={' '.join(beam_args)}"),
            ],
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--slices", type=int, default=1000, help="of the smaller input")
    parser.add_argument("--many", type=int, default=10_000, help="of the larger; 0 leaves it out")
    parser.add_argument("--formats", nargs="*", choices=_FORMATS, default=list(_FORMATS))
    parser.add_argument("--folder", type=Path, help="for the files (6 MB for ten slices)")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--beam-args", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(_ingest(arguments.worker, arguments.out, arguments.beam_args.split())))
        return

    rows: list[tuple[str, float, str]] = []
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        memory: dict[int, float] = {}
        for kind in arguments.formats:
            manifest = _write_slices(folder / kind, kind, arguments.slices)
            decoding = _bare_loop(manifest.parent, kind, with_png=False)
            with_png = _bare_loop(manifest.parent, kind, with_png=True)
            rows += [
                (f"{kind}: bare loop, decoding", decoding, ""),
                (f"{kind}: bare loop, decoding and a 16-bit PNG", with_png, ""),
            ]
            one = _ingest_apart(manifest, _ONE_WORKER)
            two = _ingest_apart(manifest, _TWO_WORKERS)
            for workers, found in ((1, one), (2, two)):
                a_core = found["slices_per_second"] / workers
                name = f"{kind}_{workers}_worker{'s' if workers > 1 else ''}_a_core"
                ratios[f"{name}_vs_decoding"] = round(a_core / decoding, 3)
                ratios[f"{name}_vs_decoding_and_png"] = round(a_core / with_png, 3)
                rows.append(
                    (
                        f"{kind}: ingestion, workers: {workers}",
                        found["slices_per_second"],
                        f"a core {a_core / decoding:.2f} of decoding, "
                        f"{a_core / with_png:.2f} of decoding and PNG",
                    )
                )
            memory.setdefault(arguments.slices, one["peak_mib"])
        if arguments.many:
            manifest = _write_slices(folder / "many", "dicom", arguments.many)
            many = _ingest_apart(manifest, _ONE_WORKER)
            memory[arguments.many] = many["peak_mib"]
            ratios["peak_memory_many_vs_few"] = round(
                memory[arguments.many] / memory[arguments.slices], 3
            )
            rows.append(
                (
                    f"dicom, {arguments.many} slices: ingestion, workers: 1",
                    many["slices_per_second"],
                    "",
                )
            )
    measured = {
        "slices_per_second": {name: round(speed, 1) for name, speed, _ in rows},
        "peak_mib": {str(count): round(peak) for count, peak in memory.items()},
        "size": _SIZE,
        "ratios": ratios,
    }
    if arguments.json:
        print(json.dumps(measured))
        return
    print(f"{f'{_SIZE} x {_SIZE}':<52}{'slices/s':>10}")
    for label, speed, note in rows:
        print(f"{label:<52}{speed:>10.1f}  {note}")
    for count, peak in memory.items():
        print(f"{f'peak memory at {count} slices':<52}{peak:>10.0f}  MiB")


if __name__ == "__main__":
    main()
