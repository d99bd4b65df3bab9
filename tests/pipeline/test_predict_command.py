"""`ctnet predict`: what it prints, writes and ends with, against a server of a tiny model."""

import csv
import io
import json
import sys

import numpy as np
import pydicom
import pytest
import tensorflow as tf
from PIL import Image
from pydicom.data import get_testdata_file

from components.ct_example_gen.patient_ids import pseudonym
from pipeline import cli
from pipeline.prediction_output import PATIENT_COLUMNS, SLICE_COLUMNS
from serving.server import EmbeddedServer
from transform.ct_example import INTERCEPT
from transform.prediction import (
    DECISION,
    EXAMPLES,
    EXPLAIN_IMAGE,
    HEATMAP,
    IMAGE_BYTES,
    PREDICT_IMAGE,
    PROBABILITY,
    SERVING_DEFAULT,
    THRESHOLD,
)

KEY = "a key of more than sixteen characters"


class Tiny(tf.Module):
    """Tells pictures by their mean grey level, and examples by their intercept in -1000 HU."""

    def _outputs(self, probability):
        return {
            PROBABILITY: probability,
            DECISION: tf.cast(probability >= 0.5, tf.int64),
            THRESHOLD: tf.fill(tf.shape(probability), 0.5),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def predict(self, examples):
        features = tf.io.parse_example(examples, {INTERCEPT: tf.io.FixedLenFeature([], tf.float32)})
        return self._outputs(features[INTERCEPT] / -1000.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)])
    def predict_image(self, image_bytes):
        def grey(encoded):
            return tf.reduce_mean(tf.cast(tf.io.decode_png(encoded), tf.float32)) / 255.0

        return self._outputs(tf.map_fn(grey, image_bytes, fn_output_signature=tf.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)])
    def explain_image(self, image_bytes):
        heatmap = tf.fill([tf.size(image_bytes), 8, 8], 0.5)
        return {**self.predict_image(image_bytes), HEATMAP: heatmap}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = Tiny()
    signatures = {
        SERVING_DEFAULT: model.predict,
        PREDICT_IMAGE: model.predict_image,
        EXPLAIN_IMAGE: model.explain_image,
    }
    tf.saved_model.save(model, str(folder / "1"), signatures=signatures)
    with EmbeddedServer(folder, port=0) as running:
        yield running.address


@pytest.fixture
def ctnet(server, monkeypatch, capfd):
    """Runs `ctnet predict`; gives exit code, standard output and standard error."""
    # Standard streams of a wide terminal, so that no path is folded.
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.delenv("CTNET_PATIENT_KEY", raising=False)

    def run(*arguments, address=server):
        capfd.readouterr()
        command = ["ctnet", "predict", *map(str, arguments), "--server", address]
        monkeypatch.setattr(sys, "argv", command)
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def picture(tmp_path):
    def write(name, grey):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32), grey, np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def series(tmp_path):
    """Writes a DICOM series whose slices have these intercepts."""

    def write(name, intercepts, patient="MRN-0042"):
        folder = tmp_path / name
        folder.mkdir()
        for height, intercept in enumerate(intercepts):
            dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
            dataset.RescaleIntercept = intercept
            dataset.ImagePositionPatient = [0, 0, height]
            dataset.PatientID = patient
            dataset.SeriesInstanceUID = f"1.2.{len(name)}"
            dataset.save_as(folder / f"{height}.dcm")
        return folder

    return write


def json_lines(out):
    return [json.loads(line) for line in out.splitlines()]


def test_a_table_shows_every_slice(ctnet, picture):
    code, out, err = ctnet(picture("a.png", 51), picture("b.png", 255))
    assert (code, err) == (0, "")
    header, first, second = out.splitlines()
    assert header.split() == ["file", "probability", "decision", "threshold"]
    assert first.split()[-3:] == ["0.2000", "negative", "0.5000"]
    assert second.split()[-3:] == ["1.0000", "positive", "0.5000"]


def test_a_path_in_brackets_is_shown_as_it_is(ctnet, picture):
    path = picture("[bold]scan[0].png", 51)
    assert path.name in ctnet(path)[1]


def test_json_is_one_list_of_all_slices(ctnet, picture, tmp_path):
    code, out, err = ctnet(picture("a.png", 51), tmp_path / "none.png", "--json")
    assert code == 1
    first, second = json.loads(out)
    assert first["path"] == str(tmp_path / "a.png")
    assert first["probability"] == pytest.approx(0.2)
    assert (first["decision"], first["threshold"], first["error"]) == (0, 0.5, None)
    assert second["probability"] is second["decision"] is second["threshold"] is None
    assert second["error"] in err


def test_json_lines_and_csv_say_the_same(ctnet, picture, tmp_path):
    files = [picture("a.png", 51), tmp_path / "none.png", picture("b, c.png", 255)]
    code, out, _ = ctnet(*files, "--format", "jsonl")
    assert code == 1
    lines = json_lines(out)
    assert all(tuple(line) == SLICE_COLUMNS for line in lines)
    code, out, _ = ctnet(*files, "--format", "csv")
    assert code == 1
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["path"] for row in rows] == [str(path) for path in files]
    for line, row in zip(lines, rows, strict=True):
        assert {name: "" if value is None else str(value) for name, value in line.items()} == row


def test_csv_without_an_answer_is_a_header_and_the_error(ctnet, tmp_path):
    code, out, err = ctnet(tmp_path / "none.png", "--format", "csv")
    assert code == 1
    assert out.splitlines()[0] == ",".join(SLICE_COLUMNS)
    assert "none.png" in err


def test_results_go_to_a_file_and_nothing_else_does(ctnet, picture, tmp_path):
    target = tmp_path / "results.jsonl"
    code, out, err = ctnet(picture("a.png", 51), "--format", "jsonl", "--output", target)
    assert (code, out, err) == (0, "", "")
    assert json_lines(target.read_text())[0]["decision"] == 0


def test_an_input_is_never_written_over(ctnet, picture):
    path = picture("a.png", 51)
    before = path.read_bytes()
    code, _, err = ctnet(path, "--output", path)
    assert code == 2
    assert "one of the files to predict" in err
    assert path.read_bytes() == before


def test_patients_stand_below_the_slices_of_a_table(ctnet, series, picture):
    folder = series("scan", [-1000, -800, -300])
    code, out, _ = ctnet(folder, picture("a.png", 51), "--patients")
    assert code == 0
    slices, patients = out.split("\n\n")
    assert len(slices.splitlines()) == 1 + 4
    header, first, second = patients.splitlines()
    assert header.split()[0] == "patient"
    assert first.split()[1:] == ["0.7000", "positive", "0.5000", "3", "0"]
    assert second.split()[1:] == ["0.2000", "negative", "0.5000", "1", "0"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "json"])
def test_patients_take_the_place_of_slices_in_data(ctnet, series, form):
    folder = series("scan", [-1000, -800, -300])
    (folder / "3.dcm").write_bytes((folder / "2.dcm").read_bytes()[:3000])
    options = ("--json",) if form == "json" else ("--format", form)
    code, out, err = ctnet(folder, "--patients", *options)
    assert code == 1
    assert "3.dcm" in err
    if form == "csv":
        (one,) = csv.DictReader(io.StringIO(out))
    else:
        (one,) = json.loads(out) if form == "json" else json_lines(out)
    assert tuple(one) == PATIENT_COLUMNS
    assert float(one["probability"]) == pytest.approx(0.7)
    counts = [int(one[name]) for name in ("decision", "slices", "failed", "series")]
    assert counts == [1, 3, 1, 1]


def test_patient_ids_of_dicom_are_hashed_unless_they_are_asked_for(ctnet, series, monkeypatch):
    folder = series("scan", [-1000], patient="MRN-0042")

    def patient(*options):
        code, out, err = ctnet(folder, "--format", "jsonl", *options)
        assert code == 0
        assert ("MRN-0042" in out + err) == bool(options)
        return json_lines(out)[0]["patient"]

    first, second = patient(), patient()
    assert first != second
    monkeypatch.setenv("CTNET_PATIENT_KEY", KEY)
    assert patient() == patient() == pseudonym("MRN-0042", KEY.encode())
    assert patient("--keep-patient-ids") == "MRN-0042"


def test_one_id_in_two_series_is_averaged_with_a_word_of_caution(ctnet, series):
    first, second = series("now", [-1000]), series("later", [-200])
    code, out, err = ctnet(first, second, "--patients", "--format", "jsonl")
    (one,) = json_lines(out)
    assert code == 0
    assert (one["series"], one["slices"]) == (2, 2)
    assert one["probability"] == pytest.approx(0.6)
    assert "slices of 2 series were averaged" in err


def test_only_the_picked_slices_are_asked_about(ctnet, series):
    folder = series("scan", [-100 * place for place in range(9)])
    _, out, _ = ctnet(folder, "--slices", "middle:3", "--format", "jsonl")
    expected = pytest.approx([0.3, 0.4, 0.5], abs=1e-5)
    assert [line["probability"] for line in json_lines(out)] == expected


def test_overlays_are_written_and_named(ctnet, picture, tmp_path):
    code, out, _ = ctnet(
        picture("a.png", 51), tmp_path / "no.png", "--format", "jsonl", "--explain", tmp_path / "o"
    )
    assert code == 1
    first, second = json_lines(out)
    assert first["overlay"] == str(tmp_path / "o" / "a.png.png")
    assert second["overlay"] is None
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["a.png.png"]


def test_a_model_that_cannot_explain_ends_in_one_line(ctnet, series, tmp_path):
    # The tiny model explains pictures only.
    code, out, err = ctnet(series("scan", [-1000]), "--explain", tmp_path / "o")
    assert (code, out) == (1, "")
    assert "cannot explain" in err
    assert len(err.splitlines()) == 1


def test_what_was_answered_before_the_server_failed_is_written(ctnet, picture, series, tmp_path):
    files = [picture("a.png", 51), series("scan", [-1000])]
    explain = ("--explain", tmp_path / "o", "--batch-size", "1", "--patients")
    code, out, err = ctnet(*files, *explain)
    assert code == 1
    assert "a.png" in out
    # A mean over the slices that happened to be answered would mislead.
    assert "patient" not in out
    assert "cannot explain" in err


def test_no_server_is_one_line(ctnet, picture):
    code, out, err = ctnet(picture("a.png", 51), "--retries", "0", address="127.0.0.1:1")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "no server answers at 127.0.0.1:1" in err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--slices", "some"), "--slices"),
        (("--timeout", "0"), "--timeout"),
        (("--timeout", "nan"), "--timeout"),
        (("--json", "--format", "csv"), "--json"),
        (("--tls-ca", "nowhere.pem"), "nowhere.pem"),
        (("--tls-cert", "nowhere.pem"), "together"),
        (("--output", "no/such/folder/file"), "no/such/folder/file"),
        (("--retries", "9"), "--retries"),
        (("--batch-size", "0"), "--batch-size"),
    ],
)
def test_bad_usage_is_told_before_anything_is_asked(ctnet, picture, options, named):
    code, out, err = ctnet(picture("a.png", 51), *options)
    assert (code, out) == (2, "")
    assert named in err


def test_the_model_that_is_asked_can_be_named(ctnet, picture):
    code, _, err = ctnet(picture("a.png", 51), "--model-name", "other")
    assert code == 1
    assert "'other'" in err
