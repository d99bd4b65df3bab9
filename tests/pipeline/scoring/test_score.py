"""`ctnet score`: what it writes, counts and ends with, by a tiny model that can be worked out."""

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pydicom
import pytest
import tensorflow as tf
from PIL import Image
from pyarrow import parquet
from pydicom.data import get_testdata_file

from components.ct_example_gen.patient_ids import pseudonym
from pipeline.scoring import bulk_scoring
from pipeline.scoring.job import ROWS_A_SHARD
from pipeline.scoring.part_files import write_part
from serving.client import Client
from serving.patient_result import patient_results
from serving.server import EmbeddedServer
from transform.ct_example import IMAGE, INTERCEPT
from transform.prediction import (
    DECISION,
    EXAMPLES,
    IMAGE_BYTES,
    PREDICT_IMAGE,
    PROBABILITY,
    SERVING_DEFAULT,
    THRESHOLD,
)

pytestmark = pytest.mark.slow

KEY = "a key of more than sixteen characters"
THRESHOLD_VALUE = 0.5


class Tiny(tf.Module):
    """Tells pictures by their mean grey level, and examples by their intercept in -1000 HU.

    A picture that is whiter than 250 it refuses.
    """

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds = seconds

    def _outputs(self, probability):
        return {
            PROBABILITY: probability,
            DECISION: tf.cast(probability >= THRESHOLD_VALUE, tf.int64),
            THRESHOLD: tf.fill(tf.shape(probability), THRESHOLD_VALUE),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def predict(self, examples):
        features = tf.io.parse_example(
            examples,
            {
                INTERCEPT: tf.io.FixedLenFeature([], tf.float32),
                IMAGE: tf.io.FixedLenFeature([], tf.string),
            },
        )
        return self._outputs(features[INTERCEPT] / -1500.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)])
    def predict_image(self, image_bytes):
        end = tf.timestamp() + self.seconds
        (turns,) = tf.while_loop(
            lambda turns: tf.timestamp() < end, lambda turns: (turns + 1,), (tf.constant(0),)
        )

        def grey(encoded):
            mean = tf.reduce_mean(tf.cast(tf.io.decode_png(encoded, channels=1), tf.float32))
            with tf.control_dependencies([tf.debugging.assert_less(mean, 250.0)]):
                return mean / 255.0

        with tf.control_dependencies([turns]):
            return self._outputs(tf.map_fn(grey, image_bytes, fn_output_signature=tf.float32))


def export(folder, *, card="# A card\n\n**Passed the gate.** Every bound holds.\n", seconds=0.0):
    model = Tiny(seconds)
    signatures = {SERVING_DEFAULT: model.predict, PREDICT_IMAGE: model.predict_image}
    tf.saved_model.save(model, str(folder), signatures=signatures)
    if card is not None:
        (folder / "assets.extra").mkdir()
        (folder / "assets.extra/model_card.md").write_text(card)
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run's folder with two pushed versions."""
    folder = tmp_path_factory.mktemp("work")
    for version in ("7", "12"):
        export(folder / "serving/ctnet" / version)
    (folder / "patient.key").write_text(KEY)
    return folder


@pytest.fixture
def score(ctnet_main, workdir, monkeypatch):
    monkeypatch.delenv("CTNET_PATIENT_KEY", raising=False)

    def run(data, out, *arguments, model=workdir):
        return ctnet_main("score", "--data", data, "--model", model, "--out", out, *arguments)

    return run


def draw(path, grey, seed=0):
    """A picture of about this grey level: a constant one would be refused."""
    noise = np.random.default_rng(seed).integers(-4, 5, (24, 24))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((grey + noise).astype(np.uint8)).save(path)


def write_dicom(path, intercept, height, patient="MRN-0042", series="1.2.3"):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.RescaleIntercept = intercept
    dataset.ImagePositionPatient = [0, 0, height]
    dataset.PatientID = patient
    dataset.SeriesInstanceUID = series
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path)


def write_manifest(path, rows, columns=("path", "patient_id")):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_quarantine(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def mixed(tmp_path):
    """A manifest of pictures, a DICOM series and what cannot be used."""
    data = tmp_path / "data"
    for number, grey in enumerate((40, 90, 200)):
        draw(data / f"pictures/{number}.png", grey, number)
    for height in range(3):
        write_dicom(data / f"series/{height}.dcm", -400 - 400 * height, height)
    (data / "broken.dcm").write_bytes(get_dicom_bytes()[:2000])
    draw(data / "white.png", 251, 9)
    return write_manifest(
        data / "manifest.csv",
        [
            ("pictures/2.png", "ann"),
            ("series", ""),
            ("pictures/0.png", "ann"),
            ("broken.dcm", "ann"),
            ("pictures/../pictures/2.png", "ann"),
            ("white.png", "bob"),
            ("missing.png", "bob"),
            ("pictures/1.png", "cid"),
        ],
    )


def get_dicom_bytes():
    with open(get_testdata_file("CT_small.dcm"), "rb") as file:
        return file.read()


LENIENT = ("--set", "ingest.max_quarantined=1")


def test_every_answer_is_what_a_server_says_of_the_same_slice(score, mixed, workdir, tmp_path):
    out = tmp_path / "results.csv"
    code, _, err = score(mixed, out, *LENIENT)
    assert (code, err) == (0, "")
    rows = read_csv(out)
    assert [row["id"] for row in rows] == [
        "pictures/2.png",
        *(f"series/{height}.dcm" for height in range(3)),
        "pictures/0.png",
        "pictures/1.png",
    ]
    with (
        EmbeddedServer(workdir / "serving/ctnet", port=0) as server,
        Client(server.address) as client,
    ):
        said = [client.predict_file(mixed.parent / row["path"]) for row in rows]
    for row, one in zip(rows, said, strict=True):
        assert float(row["probability"]) == pytest.approx(one.prediction.probability, abs=1e-6)
        assert int(row["decision"]) == one.prediction.decision
        assert float(row["threshold"]) == one.prediction.threshold
        assert row["version"] == "12"
    assert {row["decision"] for row in rows} == {"0", "1"}


def test_what_cannot_be_scored_is_in_quarantine_with_its_reason(score, mixed, tmp_path):
    code, out, _ = score(mixed, tmp_path / "results.csv", *LENIENT, "--json")
    assert code == 0
    quarantined = read_quarantine(tmp_path / "results.quarantine.jsonl")
    assert [(one["id"], one["reason"]) for one in quarantined] == [
        ("broken.dcm", "unreadable"),
        ("pictures/../pictures/2.png", "duplicate_id"),
        ("white.png", "unreadable"),
        ("missing.png", "missing_file"),
    ]
    assert "row 1" in quarantined[1]["detail"]
    assert "refused by the model" in quarantined[2]["detail"]
    summary = json.loads(out)
    assert summary["quarantined"] == {"duplicate_id": 1, "missing_file": 1, "unreadable": 2}
    assert (summary["slices"], summary["positive"]) == (6, 3)
    assert (summary["patients"], summary["positive_patients"]) == (3, 1)
    assert summary["slices_per_second"] > 0


def test_a_patients_result_is_the_mean_of_the_slices(score, mixed, workdir, tmp_path):
    assert score(mixed, tmp_path / "results.csv", *LENIENT)[0] == 0
    slices = read_csv(tmp_path / "results.csv")
    patients = read_csv(tmp_path / "results.patients.csv")
    ids = [pseudonym(one, KEY.encode()) for one in ("ann", "MRN-0042", "bob", "cid")]
    assert [row["patient_id"] for row in patients] == ids
    assert [(row["slices"], row["quarantined"]) for row in patients] == [
        ("2", "2"),
        ("3", "0"),
        ("0", "2"),
        ("1", "0"),
    ]
    for row in patients:
        own = [
            float(one["probability"]) for one in slices if one["patient_id"] == row["patient_id"]
        ]
        if own:
            assert float(row["probability"]) == pytest.approx(np.mean(own), abs=1e-12)
            assert row["decision"] == str(int(np.mean(own) >= THRESHOLD_VALUE))
        else:
            assert row["probability"] == row["decision"] == row["threshold"] == ""


def test_parquet_says_what_csv_says(score, mixed, tmp_path):
    out = tmp_path / "results.csv", tmp_path / "results.parquet"
    assert score(mixed, out[0], "--out", out[1], *LENIENT)[0] == 0
    for name in ("results", "results.patients"):
        rows = parquet.read_table(tmp_path / f"{name}.parquet").to_pylist()
        assert rows
        written = read_csv(tmp_path / f"{name}.csv")
        texts = [
            {key: "" if value is None else str(value) for key, value in row.items()} for row in rows
        ]
        assert texts == written
    assert len(list(tmp_path.glob("*.quarantine.jsonl"))) == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_neither_order_nor_answers_depend_on_the_number_of_workers(score, tmp_path):
    data = tmp_path / "data"
    rows = []
    generator = np.random.default_rng(0)
    # Three shards, by names that do not sort as they stand.
    for number in generator.permutation(2 * ROWS_A_SHARD + 5):
        name = f"{number:03d}.png"
        if number % 50 == 7:
            (data / name).write_bytes(b"junk")
        else:
            draw(data / name, 20 + number % 200, number)
        rows.append((name, f"p{number % 20}"))
    manifest = write_manifest(data / "manifest.csv", rows)
    found = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.csv"
        args = f"['--runner=FnApiRunner', '--direct_num_workers={workers}', "
        args += "'--direct_running_mode=multi_threading']"
        code, _, err = score(manifest, out, "--set", f"beam.args={args}")
        assert code == 0, err
        found.append(
            [
                (tmp_path / f"{workers}{suffix}").read_bytes()
                for suffix in (".csv", ".patients.csv", ".quarantine.jsonl")
            ]
        )
    assert found[0] == found[1]
    scored = [row["id"] for row in read_csv(tmp_path / "1.csv")]
    assert scored == [name for name, _ in rows if int(name[:3]) % 50 != 7]


def test_a_label_is_passed_on(score, tmp_path):
    draw(tmp_path / "a.png", 40)
    draw(tmp_path / "b.png", 50)
    rows = [("a.png", "ann", "1"), ("b.png", "bob", "")]
    manifest = write_manifest(tmp_path / "m.csv", rows, ("path", "patient_id", "label"))
    assert score(manifest, tmp_path / "results.csv")[0] == 0
    assert [row["label"] for row in read_csv(tmp_path / "results.csv")] == ["1", ""]


def test_patient_ids_are_written_only_where_that_is_asked_for(score, tmp_path, monkeypatch):
    draw(tmp_path / "a.png", 40)
    manifest = write_manifest(tmp_path / "m.csv", [("a.png", "ann")])

    def patient(out, *arguments):
        assert score(manifest, out, *arguments)[0] == 0
        (row,) = read_csv(out)
        return row["patient_id"]

    assert patient(tmp_path / "kept.csv", "--keep-patient-ids") == "ann"
    other = "another key of more than sixteen characters"
    monkeypatch.setenv("CTNET_PATIENT_KEY", other)
    assert patient(tmp_path / "hashed.csv") == pseudonym("ann", other.encode())


def test_a_folder_is_scored_series_by_series(score, workdir, tmp_path):
    data = tmp_path / "data"
    for height in range(3):
        write_dicom(data / f"a/{height}.dcm", -400 - 400 * height, height)
    write_dicom(data / "b/deep/0.dcm", -1200, 0, patient="MRN-7", series="1.2.4")
    (data / "a/3.dcm").write_bytes(get_dicom_bytes()[:2000])
    draw(data / "top.png", 90)
    code, _, err = score(data, tmp_path / "results.csv", *LENIENT, "--keep-patient-ids")
    assert code == 0, err
    ids = [row["id"] for row in read_csv(tmp_path / "results.csv")]
    assert ids == ["top.png", "a/0.dcm", "a/1.dcm", "a/2.dcm", "b/deep/0.dcm"]
    patients = read_csv(tmp_path / "results.patients.csv")
    assert [(row["patient_id"], row["slices"], row["quarantined"]) for row in patients] == [
        (".", "1", "0"),
        ("MRN-0042", "3", "1"),
        ("MRN-7", "1", "0"),
    ]
    with (
        EmbeddedServer(workdir / "serving/ctnet", port=0) as server,
        Client(server.address) as client,
    ):
        asked = patient_results(client.predict_files([data]))
    assert [float(row["probability"]) for row in patients] == [
        pytest.approx(one.probability, abs=1e-6) for one in asked
    ]


def test_too_much_in_quarantine_ends_with_4_and_leaves_the_results(score, mixed, tmp_path):
    code, _, err = score(mixed, tmp_path / "results.csv")
    assert code == 4
    assert "4 of 10 slices are quarantined" in err
    assert len(read_csv(tmp_path / "results.csv")) == 6


def test_nothing_to_score_ends_with_4_and_the_quarantine_alone(score, tmp_path):
    manifest = write_manifest(tmp_path / "m.csv", [("missing.png", "ann")])
    code, _, err = score(manifest, tmp_path / "results.csv")
    assert code == 4
    assert len(err.splitlines()) == 1
    assert "1 missing_file" in err
    assert {path.name for path in tmp_path.iterdir()} == {"m.csv", "results.quarantine.jsonl"}
    empty = tmp_path / "empty"
    empty.mkdir()
    for nothing in (empty, tmp_path / "nowhere.csv", write_manifest(tmp_path / "e.csv", [])):
        code, _, err = score(nothing, tmp_path / "other.csv")
        assert (code, len(err.splitlines())) == (4, 1)


@pytest.mark.parametrize("card", [None, "# A card\n\n**Refused by the gate.** A bound fails.\n"])
def test_a_model_that_no_gate_let_pass_is_refused(score, tmp_path, card):
    draw(tmp_path / "a.png", 40)
    manifest = write_manifest(tmp_path / "m.csv", [("a.png", "ann")])
    model = export(tmp_path / "Format-Serving", card=card)
    out = tmp_path / "results.csv"
    code, _, err = score(manifest, out, model=model)
    assert code == 2
    assert "--unblessed" in err
    assert len(err.splitlines()) == 1
    assert not out.exists()
    code, printed, _ = score(manifest, out, "--unblessed", model=model)
    assert code == 0
    assert "not blessed" in printed
    (row,) = read_csv(out)
    assert row["version"] == "Format-Serving"


def test_a_model_is_a_version_or_a_folder_of_them(score, workdir, tmp_path):
    draw(tmp_path / "a.png", 40)
    manifest = write_manifest(tmp_path / "m.csv", [("a.png", "ann")])
    serving = workdir / "serving/ctnet"
    for number, (model, version) in enumerate(
        ((workdir, "12"), (serving, "12"), (serving / "7", "7"))
    ):
        out = tmp_path / f"{number}.csv"
        assert score(manifest, out, model=model)[0] == 0
        (row,) = read_csv(out)
        # The key of the run's folder, from wherever in it.
        assert (row["version"], row["patient_id"]) == (version, pseudonym("ann", KEY.encode()))


def test_another_model_is_refused_in_one_line(score, tmp_path):
    draw(tmp_path / "a.png", 40)
    manifest = write_manifest(tmp_path / "m.csv", [("a.png", "ann")])
    other = tf.Module()
    other.double = tf.function(lambda x: {"y": 2 * x}, [tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(other, str(tmp_path / "other"), {SERVING_DEFAULT: other.double})
    for model in (tmp_path / "other", tmp_path, tmp_path / "nowhere"):
        code, _, err = score(manifest, tmp_path / "results.csv", model=model)
        assert (code, len(err.splitlines())) == (2, 1), err


def test_nothing_is_written_over_unless_that_is_asked_for(score, tmp_path):
    data = tmp_path / "data"
    draw(data / "a.png", 40)
    manifest = write_manifest(data / "manifest.csv", [("a.png", "ann")])
    out = tmp_path / "results.csv"
    out.write_text("mine")
    assert score(manifest, out)[0] == 2
    assert out.read_text() == "mine"
    assert score(manifest, out, "--overwrite")[0] == 0
    assert len(read_csv(out)) == 1
    before = manifest.read_bytes()
    code, _, err = score(manifest, manifest, "--overwrite")
    assert (code, manifest.read_bytes()) == (2, before)
    assert len(err.splitlines()) == 1
    manifest.unlink()
    assert score(data, data / "results.csv")[0] == 2
    assert score(data, tmp_path / "results.txt")[0] == 2
    assert {path.name for path in data.iterdir()} == {"a.png"}


def test_two_results_never_go_to_one_file(score, tmp_path):
    draw(tmp_path / "a.png", 40)
    manifest = write_manifest(tmp_path / "m.csv", [("a.png", "ann")])
    out = tmp_path / "x.csv"
    (tmp_path / "link").symlink_to(tmp_path)
    for other in (tmp_path / "x.patients.csv", tmp_path / "link/x.csv", out):
        code, _, err = score(manifest, out, "--out", other)
        assert (code, len(err.splitlines())) == (2, 1)
        assert "two of the files" in err
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "m.csv", "link"}


@pytest.mark.parametrize("when", ["_write_quarantine", "workplace"])
def test_a_full_disk_is_no_bad_usage(score, tmp_path, monkeypatch, when):
    draw(tmp_path / "a.png", 40)
    manifest = write_manifest(tmp_path / "m.csv", [("a.png", "ann")])

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "results.csv"))

    if when == "workplace":
        monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    else:
        monkeypatch.setattr(f"pipeline.scoring.bulk_scoring.{when}", refuse)
    code, _, err = score(manifest, tmp_path / "results.csv")
    assert code == 1
    assert err.startswith(f"ctnet: no space left: {tmp_path}/results.csv")
    monkeypatch.undo()
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "m.csv"}


@pytest.mark.parametrize("linked", [True, False])
def test_a_model_that_is_pruned_meanwhile_answers_to_the_end(score, tmp_path, monkeypatch, linked):
    draw(tmp_path / "a.png", 40)
    manifest = write_manifest(tmp_path / "m.csv", [("a.png", "ann")])
    model = export(tmp_path / "versions/3")
    run_job = bulk_scoring._run_job

    def prune_and_run(*arguments):
        shutil.rmtree(model)
        run_job(*arguments)

    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(bulk_scoring, "_run_job", prune_and_run)
    if not linked:
        monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    code, printed, err = score(manifest, tmp_path / "results.csv", "--json", model=model)
    assert (code, err) == (0, "")
    assert json.loads(printed)["model"] == str(model)
    (row,) = read_csv(tmp_path / "results.csv")
    assert row["version"] == "3"


def test_slices_that_a_runner_loses_are_noticed(score, mixed, tmp_path, monkeypatch):
    def lose(part_and_rows, folder):
        part, rows = part_and_rows
        # Neither the counts nor the quarantine, but a slice.
        kept = list(rows)
        is_slices = folder.endswith("slices")
        write_part((part, kept[1:] if is_slices else kept), folder)

    monkeypatch.setattr("pipeline.scoring.part_files.write_part", lose)
    code, _, err = score(mixed, tmp_path / "results.csv", *LENIENT)
    assert code == 1
    assert "beam.args" in err
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_is_interrupted_leaves_no_half_file(tmp_path, how, score):
    data = tmp_path / "data"
    for number in range(60):
        draw(data / f"{number:02d}.png", 40 + number, number)
    # A minute, unless it is ended.
    slow = export(tmp_path / "slow/1", seconds=1.0)
    out = tmp_path / "out/results.csv"
    out.parent.mkdir()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.cli", "score", "--data", data, "--model", slow),
            *("--out", out, "--batch-size", "1"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ},
        # Whoever started the tests in the background may have had SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 300
        while not list(out.parent.glob(".*/progress/*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(how)
        assert process.wait(60) != 0
    finally:
        process.kill()
        process.wait()
    left = {path.name for path in out.parent.iterdir()}
    assert not {name for name in left if not name.startswith(".")}
    if how != signal.SIGKILL:
        assert not left
    assert score(data, out)[0] == 0
    assert {path.name for path in out.parent.iterdir()} == {
        "results.csv",
        "results.patients.csv",
        "results.quarantine.jsonl",
    }
