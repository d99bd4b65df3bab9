"""A cohort of synthetic patients on disk: DICOM files and the manifest that names them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from transform.errors import ConfigError
from transform.phantom.dicom import SeriesWriter
from transform.phantom.opacity import SEVERITIES
from transform.phantom.patient import draw_patient
from transform.phantom.render import DEFAULT_SIZE, MIN_SIZE, render_slice

MANIFEST = "manifest.csv"
SOURCE = "phantom"
COLUMNS = ("path", "label", "patient_id", "age", "sex", "source", "study_date")


def write_cohort(
    out: Path,
    *,
    patients: int,
    slices: int,
    seed: int = 0,
    severity: str = "moderate",
    size: int = DEFAULT_SIZE,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write `out/<patient>/<slice>.dcm` for every patient, and `out/manifest.csv` last.

    The files of a patient depend on the other arguments and its number, not on `patients`, so a
    cohort can grow. Of each two patients one is positive; every slice of a positive patient shows
    opacities, so its label holds for each.

    Args:
      out: folder, made where missing.
      patients: how many, at least 1.
      slices: slices a patient, at least 1.
      seed: not negative.
      severity: `mild`, `moderate` or `severe`.
      size: rows and columns of a slice, at least 32.
      overwrite: replace the phantom an earlier call left in `out`.
      progress: called after each slice with the number of slices written so far.

    Returns:
      The manifest's path.

    Raises:
      ConfigError: an argument out of range, or `out` holds a manifest and `overwrite` is off.
    """
    for name, value, least in (
        ("patients", patients, 1),
        ("slices", slices, 1),
        ("size", size, MIN_SIZE),
        ("seed", seed, 0),
    ):
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}")
    if severity not in SEVERITIES:
        raise ConfigError(f"severity is {severity!r}; it must be one of {', '.join(SEVERITIES)}")
    out = Path(out)
    manifest = out / MANIFEST
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; name a folder for the phantom")
    if manifest.exists():
        if not overwrite:
            raise ConfigError(f"{manifest} exists; name another folder, or ask to overwrite it")
        _remove(manifest)

    rows = []
    for number in range(patients):
        patient = draw_patient(seed, number, severity)
        folder = out / patient.id
        folder.mkdir(parents=True, exist_ok=True)
        series = SeriesWriter(patient, slices, size)
        for index in range(slices):
            path = folder / f"{index + 1:04d}.dcm"
            series.write(path, index, render_slice(patient, index, slices, size).hu)
            rows.append(
                (
                    path.relative_to(out).as_posix(),
                    int(patient.positive),
                    patient.id,
                    patient.age,
                    patient.sex,
                    SOURCE,
                    patient.study_date.isoformat(),
                )
            )
            if progress is not None:
                progress(len(rows))
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return manifest


def _remove(manifest: Path) -> None:
    """Remove an earlier phantom: its manifest and the files it names in the folder, no others."""
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if any(row.get("source") != SOURCE for row in rows):
        raise ConfigError(f"{manifest} is not a phantom's; name another folder")
    root = manifest.parent.resolve()
    files = {(root / row["path"]).resolve() for row in rows}
    if not all(file.is_relative_to(root) and file.suffix == ".dcm" for file in files):
        raise ConfigError(f"{manifest} names files that no phantom has; name another folder")
    for path in files:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in files} - {root}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    manifest.unlink()
