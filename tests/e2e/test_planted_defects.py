"""Defects that are planted in data, and what of a run gives each of them away.

The slices are phantoms whose labels were tossed: nothing in a lung tells the classes apart, so that
a model can be right only by what was planted.
"""

import csv
import dataclasses
import functools

import numpy as np
import pytest
from PIL import Image

from components.shortcut_probes.outcome import (
    BORDER_ONLY,
    LUNGS_BLANKED,
    PLAIN,
    ProbeResults,
    read_probes,
)
from components.slice_evaluator import leak_alarm
from transform.ct_example import EVAL, TEST, TRAIN
from transform.phantom import draw_patient, render_slice

pytestmark = pytest.mark.e2e

# Large enough for the probes to find every pair of lungs.
SIDE = 64
PATIENTS = {TRAIN: 80, EVAL: 20, TEST: 60}
NUMBERS = {
    split: range(1000 * place, 1000 * place + count)
    for place, (split, count) in enumerate(PATIENTS.items())
}
OWN_PATIENTS = 20
# As wide as some letters, and within the border that a probe leaves.
MARK = (slice(1, 6), slice(1, 28))
WHITE = 255

# Enough for the network to know its training slices again, and nothing that would hinder it.
MEMORISING = (
    *("--set", f"transform.image_size={SIDE}"),
    *("--set", "model.dropout=0"),
    *("--set", "train.epochs=25"),
    *("--set", "train.batch_size=16"),
    *("--set", "train.learning_rate=1e-2"),
    *("--set", "train.augmentation.flip=false"),
    *("--set", "train.augmentation.rotation=0"),
    *("--set", "gate.operating_point=0.5"),
)
# A run without probes is a shorter one.
UNPROBED = ("--set", "probes.slices=0")
# Copies of test slices in training stop a run otherwise.
IN_SPITE_OF_LEAKS = ("--set", "ingest.on_leak=report")
# A mark makes a perfect model, which the leak alarm would refuse whatever the probes say.
WITHOUT_ALARM = ("--set", "gate.leak_alarm=null")


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a run left; later ones go on in its folder.

    Attributes:
      code: its exit code.
      out: what it printed, on one line.
      err: what it complained of.
      summary: its summary.
      versions: all that are served after it.
      probes: their results, None where it had none.
    """

    code: int
    out: str
    err: str
    summary: dict
    versions: list[str]
    probes: ProbeResults | None

    @property
    def failed_bounds(self):
        return {bound["metric"] for bound in self.summary["bounds"] if not bound["passed"]}

    @property
    def cached(self):
        return {step["name"] for step in self.summary["steps"] if step["cached"]}


@functools.cache
def picture(number):
    """A slice of one phantom under the assumed window, uint8 [side, side]."""
    hu = render_slice(draw_patient(17, number), 0, 1, SIDE).hu
    grey = np.clip((hu + 1000.0) / 1400.0, 0.0, 1.0) * WHITE
    return np.round(grey).astype(np.uint8)


def tossed(numbers, seed):
    """As many positives as negatives, in an order that nothing but the seed decides."""
    labels = np.arange(len(numbers)) % 2
    return dict(zip(numbers, np.random.default_rng(seed).permutation(labels).tolist(), strict=True))


LABELS = {
    number: label
    for seed, numbers in enumerate(NUMBERS.values())
    for number, label in tossed(numbers, seed).items()
}


def marked(image, label):
    """The picture with a mark in its corner if it is of a positive."""
    if label:
        image = image.copy()
        image[MARK] = WHITE
    return image


def write_study(folder, rows):
    """A manifest of pictures.

    Args:
      folder: where to.
      rows: picture, label, patient and split of each slice.
    """
    folder.mkdir()
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "patient_id", "split"))
        for image, label, patient, split in rows:
            Image.fromarray(image).save(folder / f"{patient}.png")
            writer.writerow((f"{patient}.png", label, patient, split))
    return manifest


def own(split, *, count=None, labels=LABELS, mark=False):
    """Patients as they are: each in one split, with pictures of their own."""
    return [
        (
            marked(picture(number), LABELS[number]) if mark else picture(number),
            labels[number],
            f"patient-{number}",
            split,
        )
        for number in NUMBERS[split][:count]
    ]


def copies_of_test():
    """The test split's pictures as other patients in training, saved again a shade brighter."""
    return [
        (
            np.minimum(picture(number), WHITE - 1) + np.uint8(1),
            LABELS[number],
            f"copy-{number}",
            TRAIN,
        )
        for number in NUMBERS[TEST]
    ]


@pytest.fixture(scope="module")
def run_memorising(run_pipeline):
    def run(manifest, workdir, *arguments):
        left = run_pipeline(manifest, workdir, *MEMORISING, *arguments)
        serving = workdir / "serving/ctnet"
        probed = any(step["name"] == "ShortcutProbes" for step in left.summary["steps"])
        return Ended(
            left.done.code,
            " ".join(left.done.out.split()),
            left.done.err,
            left.summary,
            sorted(one.name for one in serving.iterdir()) if serving.exists() else [],
            read_probes(left.artifact("ShortcutProbes", "probes")) if probed else None,
        )

    return run


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    """A manifest of which most training slices are copies of test slices."""
    rows = [
        *own(TRAIN, count=OWN_PATIENTS),
        *copies_of_test(),
        *own(EVAL),
        *own(TEST),
    ]
    return write_study(tmp_path_factory.mktemp("leaking") / "study", rows)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Where one model after another is trained and judged."""
    return tmp_path_factory.mktemp("judged") / "work"


@pytest.fixture(scope="module")
def leaked(run_memorising, leaking, workdir):
    """A run that was told to go on in spite of the copies."""
    return run_memorising(leaking, workdir, *IN_SPITE_OF_LEAKS, *UNPROBED)


@pytest.fixture(scope="module")
def accepted(leaked, run_memorising, leaking, workdir):
    """The same again, by somebody who looked for a leak and says that there is none."""
    return run_memorising(*(leaking, workdir, *IN_SPITE_OF_LEAKS, *UNPROBED), "--accept-leak-alarm")


@pytest.fixture(scope="module")
def sound(accepted, run_memorising, workdir, tmp_path_factory):
    """Then the same test slices without a defect: as many training slices, none a copy."""
    rows = [*own(TRAIN), *own(EVAL), *own(TEST)]
    return run_memorising(write_study(tmp_path_factory.mktemp("sound") / "study", rows), workdir)


@pytest.fixture(scope="module")
def shortcut(run_memorising, tmp_path_factory):
    """A run on slices of which the positive ones have a mark in a corner."""
    rows = [row for split in PATIENTS for row in own(split, mark=True)]
    folder = tmp_path_factory.mktemp("marked")
    manifest = write_study(folder / "study", rows)
    return run_memorising(
        *(manifest, folder / "work", *WITHOUT_ALARM), "--set", "gate.shortcuts=refuse"
    )


def test_copies_of_test_slices_in_training_stop_a_run(run_pipeline, leaking, tmp_path):
    run = run_pipeline(leaking, tmp_path / "work")
    assert run.done.code == 4
    (line,) = [line for line in run.done.err.splitlines() if line.startswith("ctnet: ")]
    count = PATIENTS[TEST]
    assert (
        "near-identical pictures of different patients stand in two splits of the manifest "
        f"({count} in test+train)"
    ) in line
    assert run.summary["verdict"] == "bad_data"
    assert not (run.workdir / "pipeline/Trainer").exists()


def test_a_model_that_knows_its_test_slices_again_sets_off_the_alarm(leaked):
    assert leaked.code == 3, leaked.err
    summary = leaked.summary
    assert summary["verdict"] == "not_blessed"
    assert summary["metrics"]["patients"] > 50
    assert summary["metrics"]["accuracy"] > 0.98
    assert leaked.failed_bounds == {"leak_alarm"}
    assert leaked.versions == []
    count = PATIENTS[TEST]
    assert (
        f"{count} groups of patients with a picture in common stand in test and train."
        in summary["leaks"]
    )
    assert "Leak alarm: accuracy" in leaked.out
    for reason in leak_alarm.REASONS:
        assert reason in leaked.out


def test_an_alarm_that_a_person_accepted_lets_the_model_pass(accepted):
    assert accepted.code == 0, accepted.err
    assert accepted.versions == [accepted.summary["version"]]
    assert accepted.summary["leak_alarm"]["accepted"]
    assert accepted.failed_bounds == set()
    assert {"CTExampleGen", "Trainer"} <= accepted.cached


def test_without_the_copies_the_same_training_sets_off_no_alarm(sound):
    summary = sound.summary
    assert (summary["leaks"], summary["leak_alarm"]) == ([], None)
    assert summary["metrics"]["patients"] == PATIENTS[TEST]
    assert summary["metrics"]["accuracy"] < 0.8
    assert "leak_alarm" not in sound.failed_bounds


def test_a_model_that_is_worse_than_the_blessed_one_is_refused(accepted, sound):
    """Its own bounds it keeps: they ask for nothing. The blessed model knows the test slices."""
    assert sound.code == 3, sound.err
    assert sound.failed_bounds == {"auc_change"}
    (change,) = [one for one in sound.summary["bounds"] if one["metric"] == "auc_change"]
    assert change["value"] < -0.2
    assert sound.versions == accepted.versions


def test_a_mark_in_a_corner_shows_in_the_probes_and_refuses_the_model_where_it_is_to(shortcut):
    assert shortcut.code == 3, shortcut.err
    probes = shortcut.probes
    assert probes.probe(PLAIN).auc > 0.95
    for name in (LUNGS_BLANKED, BORDER_ONLY):
        assert probes.probe(name).suspicious
        assert probes.probe(name).low > 0.8
    assert shortcut.summary["shortcuts"] == probes.shortcuts
    assert "Shortcut: With both lungs painted over" in shortcut.out
    # Nothing else is wrong with it: where shortcuts are only reported, it is pushed.
    assert shortcut.failed_bounds == {"shortcut[lungs_blanked]", "shortcut[border_only]"}
    assert "shortcut[border_only]" in shortcut.out
    assert shortcut.versions == []


def test_without_the_mark_no_probe_is_suspicious(sound):
    probes = sound.probes
    assert probes.slices == PATIENTS[TEST]
    assert probes.without_lungs < 10
    assert probes.probe(BORDER_ONLY).low is not None
    assert not probes.suspicious
