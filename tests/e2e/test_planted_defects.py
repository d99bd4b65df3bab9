"""Defects that are planted in data, and what of a run gives each of them away.

The slices are phantoms whose labels were tossed: nothing in a lung tells the classes apart, so that
a model can be right only by what was planted.
"""

import csv
import functools

import numpy as np
import pytest
from PIL import Image

from components.shortcut_probes.outcome import BORDER_ONLY, LUNGS_BLANKED, PLAIN, read_probes
from components.slice_evaluator import leak_alarm
from transform.ct_example import EVAL, TEST, TRAIN
from transform.phantom import draw_patient, render_slice

pytestmark = pytest.mark.e2e

SIDE = 128
PATIENTS = {TRAIN: 80, EVAL: 20, TEST: 60}
NUMBERS = {
    split: range(1000 * place, 1000 * place + count)
    for place, (split, count) in enumerate(PATIENTS.items())
}
OWN_PATIENTS = 20
MARK = slice(2, 10)
WHITE = 255

# Enough for the network to know its training slices again, and no augmentation to hinder it.
MEMORISING = (
    *("--set", f"transform.image_size={SIDE}"),
    *("--set", "model.head=paper"),
    *("--set", "train.epochs=25"),
    *("--set", "train.learning_rate=3e-3"),
    *("--set", "train.augmentation.flip=false"),
    *("--set", "train.augmentation.rotation=0"),
    *("--set", "gate.operating_point=0.5"),
)
# A mark makes a perfect model, which the leak alarm would refuse before anything else is seen.
WITHOUT_ALARM = ("--set", "gate.leak_alarm=null")


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
        image[MARK, MARK] = WHITE
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


def failed_bounds(run):
    return {bound["metric"] for bound in run.summary["bounds"] if not bound["passed"]}


def versions(run):
    serving = run.workdir / "serving/ctnet"
    return sorted(one.name for one in serving.iterdir()) if serving.exists() else []


def probes_of(run):
    return read_probes(run.artifact("ShortcutProbes", "probes"))


@pytest.fixture(scope="module")
def run_memorising(run_pipeline):
    def run(manifest, workdir, *arguments):
        return run_pipeline(manifest, workdir, *MEMORISING, *arguments)

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
def leaked(run_memorising, leaking, tmp_path_factory):
    """A run that was told to go on in spite of the copies."""
    workdir = tmp_path_factory.mktemp("leaked") / "work"
    return run_memorising(leaking, workdir, "--set", "ingest.on_leak=report")


@pytest.fixture(scope="module")
def sound(run_memorising, tmp_path_factory):
    """The same without a defect: as many training slices, none of them of a test patient."""
    rows = [*own(TRAIN), *own(EVAL), *own(TEST)]
    manifest = write_study(tmp_path_factory.mktemp("sound") / "study", rows)
    return run_memorising(manifest, tmp_path_factory.mktemp("sound") / "work")


@pytest.fixture(scope="module")
def shortcut(run_memorising, tmp_path_factory):
    """A run on slices of which the positive ones have a mark in a corner."""
    rows = [row for split in PATIENTS for row in own(split, mark=True)]
    manifest = write_study(tmp_path_factory.mktemp("marked") / "study", rows)
    workdir = tmp_path_factory.mktemp("marked") / "work"
    return run_memorising(manifest, workdir, *WITHOUT_ALARM)


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
    assert leaked.done.code == 3, leaked.done.err
    summary = leaked.summary
    assert summary["verdict"] == "not_blessed"
    assert summary["metrics"]["patients"] > 50
    assert summary["metrics"]["accuracy"] > 0.98
    assert failed_bounds(leaked) == {"leak_alarm"}
    assert versions(leaked) == []
    count = PATIENTS[TEST]
    assert (
        f"{count} groups of patients with a picture in common stand in test and train."
        in summary["leaks"]
    )
    told = " ".join(leaked.done.out.split())
    assert "Leak alarm: accuracy" in told
    for reason in leak_alarm.REASONS:
        assert reason in told


def test_without_the_copies_the_same_training_sets_off_nothing(sound):
    assert sound.done.code == 0, sound.done.err
    summary = sound.summary
    assert (summary["leaks"], summary["leak_alarm"]) == ([], None)
    assert summary["metrics"]["patients"] == PATIENTS[TEST]
    assert summary["metrics"]["accuracy"] < 0.7


def test_an_alarm_that_a_person_accepted_lets_the_model_pass(leaked, run_memorising):
    again = run_memorising(
        *(leaked.manifest, leaked.workdir),
        *("--set", "ingest.on_leak=report", "--accept-leak-alarm"),
    )
    assert again.done.code == 0, again.done.err
    summary = again.summary
    assert versions(again) == [summary["version"]]
    assert summary["leak_alarm"]["accepted"]
    assert failed_bounds(again) == set()
    cached = {step["name"] for step in summary["steps"] if step["cached"]}
    assert {"CTExampleGen", "Trainer", "ShortcutProbes"} <= cached


def test_a_mark_in_a_corner_shows_in_the_probes(shortcut):
    assert shortcut.done.code == 0, shortcut.done.err
    probes = probes_of(shortcut)
    assert probes.probe(PLAIN).auc > 0.95
    for name in (LUNGS_BLANKED, BORDER_ONLY):
        assert probes.probe(name).suspicious
        assert probes.probe(name).low > 0.8
    assert shortcut.summary["shortcuts"] == probes.shortcuts
    assert "Shortcut: With both lungs painted over" in " ".join(shortcut.done.out.split())


def test_without_the_mark_no_probe_is_suspicious(sound):
    probes = probes_of(sound)
    assert probes.slices == PATIENTS[TEST]
    assert probes.without_lungs < 10
    assert probes.probe(BORDER_ONLY).low is not None
    assert not probes.suspicious


def test_a_shortcut_refuses_the_model_where_it_is_to(shortcut, run_memorising):
    pushed = versions(shortcut)
    refused = run_memorising(
        *(shortcut.manifest, shortcut.workdir),
        *(*WITHOUT_ALARM, "--set", "gate.shortcuts=refuse"),
    )
    assert refused.done.code == 3, refused.done.err
    assert failed_bounds(refused) == {"shortcut[lungs_blanked]", "shortcut[border_only]"}
    assert "shortcut[border_only]" in refused.done.out
    assert versions(refused) == pushed
    cached = {step["name"] for step in refused.summary["steps"] if step["cached"]}
    assert {"Trainer", "ShortcutProbes"} <= cached


def test_a_model_that_is_worse_than_the_blessed_one_is_refused(shortcut, run_memorising, tmp_path):
    """Its own bounds it keeps: they ask for nothing. Its training labels were mixed up."""
    pushed = versions(shortcut)
    mixed = tossed(NUMBERS[TRAIN], seed=99)
    rows = [
        *own(TRAIN, labels=mixed, mark=True),
        *own(EVAL, mark=True),
        *own(TEST, mark=True),
    ]
    worse = run_memorising(write_study(tmp_path / "study", rows), shortcut.workdir, *WITHOUT_ALARM)
    assert worse.done.code == 3, worse.done.err
    assert failed_bounds(worse) == {"auc_change"}
    (change,) = [one for one in worse.summary["bounds"] if one["metric"] == "auc_change"]
    assert change["value"] < -0.1
    assert versions(worse) == pushed
    assert (worse.workdir / "serving/ctnet" / pushed[0] / "saved_model.pb").exists()
