"""`ctnet predict`: what it prints, writes and ends with, against a server of a tiny model."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tensorflow as tf
from PIL import Image
from pydicom.data import get_testdata_file

from components.ct_example_gen.patient_ids import pseudonym
from pipeline import cli
from pipeline.prediction_output import PATIENT_COLUMNS, SLICE_COLUMNS
from pipeline.results_file import results_file
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


NASTY = "a\nb\x1b[31m\u202e.png"
"""A name that breaks a line, colours a terminal and turns the direction of writing."""


def test_a_table_shows_control_characters_as_text(ctnet, picture, tmp_path):
    (tmp_path / f"bad{NASTY}").write_bytes(b"junk")
    code, out, err = ctnet(picture(NASTY, 51), tmp_path / f"bad{NASTY}", "--patients")
    assert code == 1
    assert r"a\nb\x1b[31m\u202e.png" in out
    assert r"\x1b[31m\u202e.png" in err
    assert len(err.splitlines()) == 1
    assert not {"\x1b", "\u202e"} & set(out + err)


def test_data_keep_every_character_of_a_name(ctnet, picture):
    path = picture(NASTY, 51)
    (line,) = json_lines(ctnet(path, "--format", "jsonl")[1])
    (row,) = csv.DictReader(io.StringIO(ctnet(path, "--format", "csv")[1], newline=""))
    assert line["path"] == row["path"] == str(path)


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


def test_a_file_that_others_may_not_read_stays_one(ctnet, picture, tmp_path):
    target = tmp_path / "results.csv"
    target.touch(0o600)
    assert ctnet(picture("a.png", 51), "--format", "csv", "--output", target)[0] == 0
    assert target.read_text().startswith("path,")
    assert target.stat().st_mode & 0o777 == 0o600


def test_what_the_process_has_open_is_written_to_and_not_replaced(tmp_path):
    log = tmp_path / "log"
    log.write_text("kept\n")
    with log.open("a") as stream:
        with results_file(Path(f"/proc/self/fd/{stream.fileno()}"), [], pytest.fail) as results:
            results.write("new\n")
        stream.write("later\n")
    assert log.read_text() == "kept\nnew\nlater\n"
    assert list(tmp_path.iterdir()) == [log]


def test_an_input_is_never_written_over(ctnet, picture):
    path = picture("a.png", 51)
    before = path.read_bytes()
    code, _, err = ctnet(path, "--output", path)
    assert code == 2
    assert "one of the files to predict" in err
    assert path.read_bytes() == before


def test_a_slice_of_an_input_folder_is_never_written_over(ctnet, picture, tmp_path):
    picture("scans/a.png", 51)
    path = picture("scans/b/b.png", 51)
    elsewhere = picture("elsewhere.png", 51)
    (tmp_path / "scans" / "link.png").symlink_to(elsewhere)
    for target in (path, elsewhere, tmp_path / "scans" / "link.png"):
        before = target.read_bytes()
        code, out, err = ctnet(tmp_path / "scans", "--output", target)
        assert (code, out) == (2, "")
        assert f"{target}: is a slice" in err
        assert target.read_bytes() == before


def test_a_file_that_is_no_earlier_result_stays_in_an_input_folder(ctnet, picture, tmp_path):
    picture("scans/a.png", 51)
    notes = tmp_path / "scans" / "notes.csv"
    notes.write_text("patient,remark\n")
    code, out, err = ctnet(tmp_path / "scans", "--output", notes)
    assert (code, out) == (2, "")
    assert "no earlier result" in err
    assert notes.read_text() == "patient,remark\n"


@pytest.mark.parametrize("patients", [(), ("--patients",)], ids=["slices", "patients"])
@pytest.mark.parametrize(
    "form", [("--format", "table"), ("--format", "jsonl"), ("--format", "csv"), ("--json",)]
)
def test_results_in_the_folder_of_the_slices_are_no_slice_of_the_next_run(
    ctnet, picture, tmp_path, form, patients
):
    picture("scans/a.png", 51)
    picture("scans/b.png", 255)
    target = tmp_path / "scans" / "results"
    written = []
    for _ in range(2):
        assert ctnet(tmp_path / "scans", *form, *patients, "--output", target) == (0, "", "")
        written.append(target.read_text())
    assert written[0] == written[1]
    assert sorted(path.name for path in (tmp_path / "scans").iterdir()) == [
        "a.png",
        "b.png",
        "results",
    ]


def test_results_where_every_slice_failed_are_replaced_too(ctnet, picture, tmp_path):
    target = tmp_path / "scans" / "results"
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "bad.png").write_bytes(b"junk")
    for form in (("--format", "table"), ("--json",), ("--format", "csv")):
        assert ctnet(tmp_path / "scans", *form, "--output", target)[0] == 1
    picture("scans/bad.png", 51)
    assert ctnet(tmp_path / "scans", "--format", "csv", "--output", target)[0] == 0
    assert len(target.read_text().splitlines()) == 2


def test_a_link_stays_a_link_to_the_file_of_results(ctnet, picture, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "results")
    assert ctnet(picture("a.png", 51), "--format", "csv", "--output", tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert "a.png" in (tmp_path / "results").read_text()


def interrupted(target, told, text):
    with results_file(target, [], told.append) as stream:
        stream.write(text)
        raise KeyboardInterrupt


def test_what_a_run_that_ended_half_way_wrote_is_not_under_the_results_name(tmp_path):
    target, told = tmp_path / "results.csv", []
    target.write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        interrupted(target, told, "half")
    assert target.read_text() == "earlier"
    (unfinished,) = set(tmp_path.iterdir()) - {target}
    assert unfinished.name.startswith(".results.csv.")
    assert unfinished.read_text() == "half"
    assert len(told) == 1
    assert str(unfinished) in told[0]


def test_a_run_that_ended_before_it_wrote_leaves_nothing(tmp_path):
    told = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "results.csv", told, "")
    assert list(tmp_path.iterdir()) == told == []


def test_what_was_answered_before_the_server_failed_is_under_the_results_name(
    ctnet, picture, series, tmp_path
):
    files = [picture("a.png", 51), series("scan", [-1000])]
    target = tmp_path / "results.jsonl"
    explain = ("--explain", tmp_path / "o", "--batch-size", "1", "--format", "jsonl")
    code, out, err = ctnet(*files, *explain, "--output", target)
    assert (code, out) == (1, "")
    assert "cannot explain" in err
    (line,) = json_lines(target.read_text())
    assert line["probability"] == pytest.approx(0.2)
    assert not list(tmp_path.glob(".*"))


def test_earlier_results_stay_where_nothing_was_answered(ctnet, picture, tmp_path):
    target = tmp_path / "results.csv"
    target.write_text("earlier")
    options = ("--output", target, "--retries", "0")
    code, _, err = ctnet(picture("a.png", 51), *options, address="127.0.0.1:1")
    assert code == 1
    assert "no server answers" in err
    assert target.read_text() == "earlier"
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_one_line(ctnet, picture):
    code, out, err = ctnet(picture("a.png", 51), "--format", "csv", "--output", "/dev/full")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "/dev/full: cannot be written (No space left on device)" in err


def test_a_device_is_written_to_and_not_replaced(ctnet, picture):
    assert ctnet(picture("a.png", 51), "--output", "/dev/null") == (0, "", "")
    assert Path("/dev/null").is_char_device()


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


@pytest.mark.parametrize("folder", ["scans", "scans/overlays"])
def test_overlays_never_land_among_the_slices(ctnet, picture, tmp_path, folder):
    picture("scans/a.png", 51)
    code, out, err = ctnet(tmp_path / "scans", "--explain", tmp_path / folder)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "overlays would be taken for slices" in err
    assert [path.name for path in (tmp_path / "scans").iterdir()] == ["a.png"]


def test_overlays_may_stand_beside_a_file_that_is_explained(ctnet, picture, tmp_path):
    assert ctnet(picture("scans/a.png", 51), "--explain", tmp_path / "scans")[0] == 0
    assert (tmp_path / "scans" / "a.png.png").exists()


def test_an_overlay_is_not_predicted_as_a_slice(ctnet, picture, tmp_path):
    ctnet(picture("a.png", 51), "--explain", tmp_path / "o")
    code, out, err = ctnet(tmp_path / "o", picture("b.png", 51), "--format", "jsonl")
    assert code == 1
    overlay, slice_line = json_lines(out)
    assert overlay["probability"] is None
    assert "is an overlay" in overlay["error"]
    assert slice_line["probability"] == pytest.approx(0.2)
    assert len(err.splitlines()) == 1


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
        (("--output", "x" * 300), "cannot be written (File name too long)"),
        (("--output", "."), "cannot be written (Is a directory)"),
        (("--retries", "9"), "--retries"),
        (("--batch-size", "0"), "--batch-size"),
        (("--version", "-1"), "--version"),
        (("--version", "1", "--version-label", "stable"), "--version-label"),
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


def test_the_version_that_is_asked_can_be_named(ctnet, picture):
    path = picture("a.png", 51)
    assert ctnet(path, "--version", "1")[0] == 0
    code, out, err = ctnet(path, "--version", "7")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "'ctnet' version 7" in err


def test_a_label_that_the_server_does_not_have_is_one_line_and_not_one_a_slice(ctnet, picture):
    code, out, err = ctnet(picture("a.png", 51), picture("b.png", 51), "--version-label", "canary")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "version label 'canary'" in err
