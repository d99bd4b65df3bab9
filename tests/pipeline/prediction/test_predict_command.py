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
from pipeline.prediction.output import PATIENT_COLUMNS, SLICE_COLUMNS, looks_like_results
from pipeline.prediction.results_file import results_file
from serving.server import EmbeddedServer
from transform.ct_example import INTERCEPT
from transform.errors import CtnetError
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
    assert len(err.splitlines()) == 2
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
        with results_file(Path(f"/proc/self/fd/{stream.fileno()}"), pytest.fail) as results:
            results.stream.write("new\n")
        stream.write("later\n")
    assert log.read_text() == "kept\nnew\nlater\n"
    assert list(tmp_path.iterdir()) == [log]


MANIFEST = "path,label,patient_id,split\nscans/a.png,1,P1,train\n"


@pytest.mark.parametrize("name", ["manifest.csv", "scans/manifest.csv", "scans/b.png", "link.png"])
def test_only_an_earlier_result_is_written_over(ctnet, picture, tmp_path, name):
    picture("scans/a.png", 51)
    picture("scans/b.png", 51)
    for folder in (tmp_path, tmp_path / "scans"):
        (folder / "manifest.csv").write_text(MANIFEST)
    (tmp_path / "link.png").symlink_to(tmp_path / "scans" / "b.png")
    target = tmp_path / name
    before = target.read_bytes()
    code, out, err = ctnet(tmp_path / "scans", "--output", target)
    assert (code, out) == (2, "")
    assert f"{target}: is there already and no earlier result" in err
    assert len(err.splitlines()) == 1
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        MANIFEST,
        '{"path": "a.png", "label": 1}\n',
        '[{"path": "a.png", "label": 1}]',
        "path\n",
        "[]",
        "file probability\n",
        "earlier",
    ],
)
def test_what_others_write_does_not_look_like_results(text):
    assert not looks_like_results(text)


def test_an_empty_file_is_written_to(ctnet, picture, tmp_path):
    (tmp_path / "results").touch()
    assert ctnet(picture("a.png", 51), "--output", tmp_path / "results") == (0, "", "")
    assert "a.png" in (tmp_path / "results").read_text()


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
    for earlier in (False, True):
        code, out, err = ctnet(tmp_path / "scans", *form, *patients, "--output", target)
        assert (code, out) == (0, "")
        assert ("passed over what is text and no slice: results" in err) == earlier
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


def ended(target, told, text, answered, error):
    with results_file(target, told.append) as results:
        results.stream.write(text)
        results.answered = answered
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CtnetError("gone"), OSError(28, "full")])
@pytest.mark.parametrize(
    ("answered", "said"),
    [(1, "1 slice was answered; it is in"), (12, "12 slices were answered; they are in")],
)
def test_a_run_that_ended_half_way_leaves_the_file_of_before(tmp_path, answered, said, error):
    target, told = tmp_path / "results.csv", []
    earlier = ",".join(SLICE_COLUMNS)
    target.write_text(earlier)
    with pytest.raises((KeyboardInterrupt, CtnetError)) as info:
        ended(target, told, "half", answered, type(error)(*error.args))
    assert target.read_text() == earlier
    (unfinished,) = set(tmp_path.iterdir()) - {target}
    assert unfinished.name.startswith(".results.csv.")
    assert unfinished.read_text() == "half"
    (line,) = told or [str(info.value)]
    assert f"{said} {unfinished}" in line


@pytest.mark.parametrize("error", [KeyboardInterrupt, CtnetError])
def test_a_run_that_ended_before_an_answer_leaves_nothing(tmp_path, error):
    told = []
    with pytest.raises(error):
        ended(tmp_path / "results.csv", told, "a header", 0, error("gone"))
    assert list(tmp_path.iterdir()) == told == []


@pytest.mark.parametrize("form", [("--format", "table"), ("--format", "jsonl"), ("--json",)])
def test_what_was_answered_before_the_server_failed_is_in_the_unfinished_file(
    ctnet, picture, series, tmp_path, form
):
    # The tiny model explains pictures only.
    files = [picture("a.png", 51), series("scan", [-1000])]
    target = tmp_path / "results"
    explain = ("--explain", tmp_path / "o", "--batch-size", "1")
    code, out, err = ctnet(*files, *explain, *form, "--output", target)
    assert (code, out) == (1, "")
    assert "cannot explain" in err
    assert len(err.splitlines()) == 1
    assert not target.exists()
    (unfinished,) = tmp_path.glob(".results.*")
    assert f"1 slice was answered; it is in {unfinished}" in err
    assert "a.png" in unfinished.read_text()
    assert looks_like_results(unfinished.read_text())


def test_patients_that_lack_slices_are_written_nowhere(ctnet, picture, series, tmp_path):
    files = [picture("a.png", 51), series("scan", [-1000])]
    options = ("--explain", tmp_path / "o", "--batch-size", "1", "--patients", "--json")
    code, out, err = ctnet(*files, *options, "--output", tmp_path / "results")
    assert (code, out) == (1, "")
    assert "answered;" not in err
    assert not [*tmp_path.glob(".results*"), *tmp_path.glob("results")]


def test_earlier_results_stay_where_nothing_was_answered(ctnet, picture, tmp_path):
    target = tmp_path / "results.csv"
    earlier = ",".join(SLICE_COLUMNS)
    target.write_text(earlier)
    options = ("--output", target, "--retries", "0", "--batch-size", "1", "--format", "csv")
    files = (tmp_path / "none.png", picture("a.png", 51))
    code, _, err = ctnet(*files, *options, address="127.0.0.1:1")
    assert code == 1
    assert "no server answers" in err
    assert "answered;" not in err
    assert target.read_text() == earlier
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
    assert slices.split()[:3] == ["file", "patient", "probability"]
    header, first, second = patients.splitlines()
    assert header.split()[:2] == ["path", "patient"]
    assert first.split()[2:] == ["0.7000", "positive", "0.5000", "3", "0"]
    assert second.split()[2:] == ["0.2000", "negative", "0.5000", "1", "0"]
    # A hashed id alone would lead nobody back to the scan, nor from the slices to the patient.
    path, patient = first.split()[:2]
    assert path == str(folder)
    assert [line.split()[1] == patient for line in slices.splitlines()[1:]] == [True] * 3 + [False]


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
    assert one["path"] == str(folder)
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


def test_a_folder_of_pictures_is_averaged_with_a_word_of_caution(ctnet, picture, series, tmp_path):
    for name in ("p/1.png", "p/2.png", "q/1.png", "q/2.png", "alone/1.png"):
        picture(name, 51)
    nameless = series("nameless", [-1000, -800], patient="")
    folders = [tmp_path / name for name in ("p", "q", "alone")]
    code, _, err = ctnet(*folders, nameless, "--patients")
    assert code == 0
    assert err.splitlines() == [
        f"ctnet: {tmp_path / 'p'}: its 2 pictures name no patient and were averaged as one; so "
        "were those of 1 more"
    ]
    assert ctnet(*folders)[2] == ""


def test_text_beside_the_slices_of_a_folder_is_passed_over_with_one_line(ctnet, picture, tmp_path):
    picture("scans/a.png", 51)
    for name in ("manifest.csv", "LICENSE", "README.md", "notes.txt"):
        (tmp_path / "scans" / name).write_text(MANIFEST)
    code, out, err = ctnet(tmp_path / "scans", "--format", "jsonl")
    assert (code, len(json_lines(out))) == (0, 1)
    assert err.splitlines() == [
        f"ctnet: {tmp_path / 'scans'}: passed over what is text and no slice: LICENSE, README.md, "
        "manifest.csv and 1 more"
    ]
    code, out, _ = ctnet(tmp_path / "scans" / "LICENSE", "--format", "jsonl")
    assert (code, json_lines(out)[0]["probability"]) == (1, None)


def test_the_end_says_how_many_slices_were_not_predicted(ctnet, picture, tmp_path):
    files = [picture("a.png", 51), tmp_path / "x.png", tmp_path / "y.png"]
    assert ctnet(*files)[2].splitlines()[-1] == "ctnet: 2 of 3 slices were not predicted"
    assert ctnet(*files[:2])[2].splitlines()[-1] == "ctnet: 1 of 2 slices was not predicted"


@pytest.mark.parametrize("terminal_width", ["40", "80"])
def test_a_table_that_is_piped_breaks_no_path(ctnet, picture, monkeypatch, terminal_width):
    monkeypatch.setenv("COLUMNS", terminal_width)
    path = picture(f"{'long' * 50}.png", 51)
    header, row, *_ = ctnet(path)[1].splitlines()
    assert row.split() == [str(path), "0.2000", "negative", "0.5000"]
    assert max(len(header), len(row)) < len(str(path)) + 80


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:8500", "127.0.0.1", "localhost:", "127.0.0.1:8500/v1", "host:99999", ""],
)
def test_an_address_that_is_none_is_told_at_once(ctnet, picture, tmp_path, address):
    target = tmp_path / "results"
    code, out, err = ctnet(picture("a.png", 51), "--output", target, address=address)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert repr(address) in err
    assert "HOST:PORT" in err
    assert "attempts" not in err


def test_only_the_picked_slices_are_asked_about(ctnet, series):
    folder = series("scan", [-100 * place for place in range(9)])
    _, out, _ = ctnet(folder, "--slices", "middle:3", "--format", "jsonl")
    expected = pytest.approx([0.3, 0.4, 0.5], abs=1e-5)
    assert [line["probability"] for line in json_lines(out)] == expected


def test_overlays_are_written_and_named(ctnet, picture, tmp_path):
    code, out, err = ctnet(
        picture("a.png", 51), tmp_path / "no.png", "--format", "jsonl", "--explain", tmp_path / "o"
    )
    assert code == 1
    first, second = json_lines(out)
    assert first["overlay"] == str(tmp_path / "o" / "a.png.png")
    assert second["overlay"] is None
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["a.png.png"]
    assert f"ctnet: the overlays are in {tmp_path / 'o'}" in err.splitlines()


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
    assert len(err.splitlines()) == 2


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
    assert "path" not in out.split()
    assert len(out.splitlines()) == 2
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
