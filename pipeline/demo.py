"""The demo: the main job on synthetic CT, then one positive and one negative slice over gRPC."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.run_folder.run_log import hushed
from pipeline.summary import Summary
from transform.errors import CtnetError

# Enough slices of severe disease that a network learns from random weights in a few epochs.
PATIENTS = 300
SLICES = 4
SIZE = 256
SEVERITY = "severe"


def make_demo_data(folder: Path, seed: int, progress: Callable[[int], None]) -> Path:
    """Write the demo's synthetic CT, or find it where an earlier demo wrote it whole.

    Args:
      folder: gets a folder of DICOM files, named by what is in it.
      seed: of the cohort.
      progress: told of finished slices.

    Returns:
      The manifest.
    """
    with hushed():
        from transform.phantom import write_cohort
    wanted = folder / f"{SEVERITY}-{PATIENTS}x{SLICES}-{SIZE}px-seed{seed}"
    if wanted.exists():
        return wanted / "manifest.csv"
    # Only a whole cohort gets its name; what a demo that was cut off left is drawn anew.
    unfinished = wanted.with_name(f"{wanted.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    manifest = write_cohort(
        unfinished,
        patients=PATIENTS,
        slices=SLICES,
        seed=seed,
        severity=SEVERITY,
        size=SIZE,
        progress=progress,
    )
    unfinished.rename(wanted)
    return wanted / manifest.name


@dataclasses.dataclass(frozen=True)
class DemoAnswer:
    """What the served model says of one slice of the test split.

    Attributes:
      path: the slice.
      label: the truth, 1 or 0.
      probability: served.
      decision: served, 1 or 0.
    """

    path: str
    label: int
    probability: float
    decision: int

    @property
    def right(self) -> bool:
        """Whether the decision is the truth."""
        return self.decision == self.label


def ask_about_test_slices(summary: Summary, manifest: Path) -> list[DemoAnswer]:
    """Serve the pushed model and ask for the first positive and the first negative test slice.

    Args:
      summary: of a run that pushed.
      manifest: whose folder the slices' paths are relative to.
    """
    assert summary.serving is not None
    assert summary.evaluation is not None
    with hushed():
        import tfx.v1  # noqa: F401 before TFMA

        from components.slice_evaluator.predictions import read_predictions
        from serving.client import Client
        from serving.server import EmbeddedServer

        first_of: dict[int, str] = {}
        for one in sorted(read_predictions(Path(summary.evaluation)), key=lambda one: one.id):
            first_of.setdefault(one.label, one.id)
        answers = []
        with (
            EmbeddedServer(Path(summary.serving), port=0) as server,
            Client(server.address) as client,
        ):
            for label, image_id in sorted(first_of.items(), reverse=True):
                path = manifest.parent / image_id
                result = client.predict_file(path)
                if result.prediction is None:
                    raise CtnetError(f"the served model did not answer: {result.error}")
                answers.append(
                    DemoAnswer(
                        str(path), label, result.prediction.probability, result.prediction.decision
                    )
                )
    return answers
