"""Every row of a manifest ends in one place: a split, or the quarantine with its reason."""

import json
import random

import pytest
import tensorflow as tf
from pydicom.data import get_testdata_file

from components.ct_example_gen.example_shards import distribute, pending_path, written_whole
from transform.errors import BadDataError
from transform.reading import Reason


@pytest.fixture(scope="module")
def dirty(tmp_path_factory, make_study, make_sound_rows, run_ct_example_gen):
    """One run over a manifest with every kind of bad row, and what was expected of each row."""
    folder = tmp_path_factory.mktemp("dirty")
    study = make_study(folder / "study")
    sound = make_sound_rows()
    study.write(sound)
    (folder / "outside").mkdir()
    secret = make_study(folder / "outside").picture("secret.png")
    (study.folder / "link.png").symlink_to(secret)
    (study.folder / "linked-folder").symlink_to(secret.parent)
    (study.folder / "text.png").write_text("not a picture")
    (study.folder / "empty.png").touch()
    (study.folder / "cut.png").write_bytes((study.folder / sound[0]["path"]).read_bytes()[:50])
    (study.folder / "empty-folder").mkdir()
    for name in (
        "no-label.png",
        "odd-label.png",
        "true-label.png",
        "no-patient.png",
        "blank-patient.png",
        "odd-split.png",
        "no-split.png",
        "full.png",
        "odd-age.png",
        "nan-age.png",
        "inner/in.png",
    ):
        study.picture(name)

    def row(path, label="1", patient_id="p", split="train", **more):
        return {"path": path, "label": label, "patient_id": patient_id, "split": split, **more}

    bad = [
        (row("gone.png"), Reason.MISSING_FILE),
        (row(""), Reason.MISSING_FILE),
        (row("", patient_id="q"), Reason.MISSING_FILE),
        (row("text.png"), Reason.UNKNOWN_FORMAT),
        (row("empty.png"), Reason.UNKNOWN_FORMAT),
        (row("cut.png"), Reason.UNREADABLE),
        (row("empty-folder"), Reason.MISSING_FILE),
        (row("no\0name.png"), Reason.UNREADABLE),
        (row("no-label.png", label=""), Reason.BAD_LABEL),
        (row("odd-label.png", label="2"), Reason.BAD_LABEL),
        (row("true-label.png", label="positive"), Reason.BAD_LABEL),
        (row("no-patient.png", patient_id=""), Reason.NO_PATIENT),
        (row("blank-patient.png", patient_id="  "), Reason.NO_PATIENT),
        (row("odd-split.png", split="val"), Reason.BAD_SPLIT),
        (row("no-split.png", split=""), Reason.BAD_SPLIT),
        (row(sound[0]["path"], patient_id="p"), Reason.DUPLICATE_ID),
        (row(f"./{sound[0]['path']}", patient_id="q"), Reason.DUPLICATE_ID),
        # What is wrong with a row itself is said first.
        (row(sound[0]["path"], label="9", patient_id=""), Reason.BAD_LABEL),
        (row("link.png"), Reason.OUTSIDE_ROOT),
        (row("linked-folder/secret.png"), Reason.OUTSIDE_ROOT),
        (row("../outside/secret.png"), Reason.OUTSIDE_ROOT),
        # Another spelling of the row before.
        (row(str(secret)), Reason.DUPLICATE_ID),
        # An absolute spelling of a sound row.
        (row(str(study.folder / "nan-age.png"), label="0"), Reason.DUPLICATE_ID),
    ]
    odd_but_sound = [
        row("full.png", age=" 41 ", sex=" F ", source="Tongji", study_date="2020-02-11"),
        row("odd-age.png", age="forty", sex=""),
        row("nan-age.png", age="nan"),
        row("inner/../inner/in.png"),
    ]
    manifest = study.write([*sound, *odd_but_sound, *(one for one, _ in bad)], pictures=False)
    accepted = [*sound, *odd_but_sound]
    outcome = run_ct_example_gen(manifest, folder / "output", root=str(study.folder))
    return outcome, accepted, bad, folder, manifest, study


def test_every_row_is_in_a_split_or_in_quarantine_and_never_in_both(dirty):
    ingested, accepted, bad, *_ = dirty
    assert set(ingested.features()) == {row["path"] for row in accepted}
    quarantined = sorted((one.path, one.reason) for one in ingested.quarantined)
    assert quarantined == sorted((row["path"], reason.value) for row, reason in bad)


def test_accepted_slices_keep_their_facts(dirty):
    ingested, accepted, *_ = dirty
    features = ingested.features()
    for row in accepted:
        found = features[row["path"]]
        assert found["split"] == row["split"]
        assert found["label"] == int(row["label"])
        assert found["patient_id"].decode() == row["patient_id"]
        assert found["image/calibrated"] == 0
        assert (found["stats/height"], found["stats/width"]) == (18.0, 20.0)
    full = features["full.png"]
    assert (full["age"], full["sex"], full["source"]) == (41.0, b"F", b"Tongji")
    assert full["study_date"] == b"2020-02-11"


def test_an_age_that_is_no_number_is_left_out_and_its_slice_kept(dirty):
    features = dirty[0].features()
    for path in ("odd-age.png", "nan-age.png"):
        assert "age" not in features[path]
    assert "sex" not in features["odd-age.png"]


def test_a_quarantined_row_says_in_one_line_what_is_wrong(dirty):
    ingested, *_ = dirty
    for one in ingested.quarantined:
        assert one.detail
        assert len(one.detail.splitlines()) == 1
    details = {one.path: one.detail for one in ingested.quarantined}
    assert details["odd-label.png"].endswith("has label '2'; it must be 1 (positive) or 0")
    assert details["odd-split.png"].endswith("has split 'val'; it must be one of train, eval, test")
    assert "no such file" in details["gone.png"]


def test_the_first_of_rows_that_name_one_file_is_kept_however_they_spell_it(dirty):
    ingested, accepted, *_ = dirty
    path = accepted[0]["path"]
    assert ingested.features()[path]["patient_id"].decode() == accepted[0]["patient_id"]
    repeats = [one for one in ingested.quarantined if one.path in (path, f"./{path}")]
    assert sorted(one.reason for one in repeats) == ["bad_label", *["duplicate_id"] * 2]
    for one in repeats:
        assert one.reason == "bad_label" or one.detail.endswith("names the file of row 1")


def test_the_counts_are_those_of_the_files(dirty):
    ingested, accepted, bad, *_ = dirty
    outcome = json.loads(ingested.examples.get_string_custom_property("outcome"))
    assert sum(sum(split.values()) for split in outcome["accepted"].values()) == len(accepted)
    assert sum(outcome["quarantined"].values()) == len(bad)
    assert outcome["quarantined"]["outside_root"] == 3
    for split, records in ingested.records.items():
        assert sum(outcome["accepted"][split].values()) == len(records)
    assert json.loads(ingested.examples.split_names) == ["train", "eval", "test"]


def test_no_unfinished_file_stays(dirty):
    folder = dirty[3]
    files = [path for path in (folder / "output" / "examples").rglob("*") if path.is_file()]
    assert all(path.name.startswith("data_tfrecord-") for path in files)
    assert sorted(path.name for path in (folder / "output" / "examples").iterdir()) == [
        "Split-eval",
        "Split-test",
        "Split-train",
    ]


def test_two_runs_write_the_same_records_in_the_same_order(dirty, run_ct_example_gen, tmp_path):
    ingested, _, _, _, manifest, study = dirty
    again = run_ct_example_gen(manifest, tmp_path, root=str(study.folder))
    assert again.records == ingested.records
    order = lambda one: (one.id, one.detail)  # noqa: E731
    assert sorted(again.quarantined, key=order) == sorted(ingested.quarantined, key=order)


def test_a_cell_that_may_be_a_name_is_not_repeated(study, sound_rows, ingest):
    slipped = {"path": "slipped.png", "label": "DOE^JANE 1950-01-02", "patient_id": "p"}
    study.picture("slipped.png")
    ingested = ingest(study.write([*sound_rows, {**slipped, "split": "DOE^JANE"}]))
    (one,) = ingested.quarantined
    assert one.reason == Reason.BAD_LABEL.value
    assert "DOE" not in one.detail


def test_an_example_that_went_missing_stops_the_run(tmp_path):
    scratch = str(tmp_path / "scratch")
    with written_whole(pending_path(scratch, 0), scratch) as writer:
        writer.write(b"a")
        writer.write(b"example of a")
    with pytest.raises(RuntimeError, match="1 accepted slices are not in "):
        distribute(scratch, str(tmp_path / "examples"), 0, 1, {"a": "train", "b": "train"})
    assert not list((tmp_path / "examples").rglob("data_tfrecord*"))


def test_a_record_has_the_same_bytes_in_every_process(dirty):
    # Left to itself, protobuf orders the features by a hash that each process draws anew.
    for records in dirty[0].records.values():
        for record in records:
            example = tf.train.Example.FromString(record)
            assert example.SerializeToString(deterministic=True) == record


def test_the_order_of_the_manifest_does_not_matter(study, sound_rows, ingest):
    straight = ingest(study.write(sound_rows))
    random.Random(1).shuffle(sound_rows)
    assert ingest(study.write(sound_rows)).records == straight.records


def test_a_byte_order_mark_padded_cells_and_windows_line_ends_are_read(study, sound_rows, ingest):
    manifest = study.write(sound_rows)
    lines = ["path , label,patient_id  ,split, note"]
    lines += [
        f' {row["path"]} ,{row["label"]} , {row["patient_id"]}\t, {row["split"]},"a, b"'
        for row in sound_rows
    ]
    manifest.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    padded = ingest(manifest)
    assert not padded.quarantined
    assert {
        (path, found["patient_id"].decode(), found["split"])
        for path, found in padded.features().items()
    } == {(row["path"], row["patient_id"], row["split"]) for row in sound_rows}


def test_dicom_keeps_the_hounsfield_units_of_its_scanner(study, sound_rows, ingest):
    sound_rows[0]["path"] = get_testdata_file("CT_small.dcm")
    manifest = study.write(sound_rows, pictures=False)
    for row in sound_rows[1:]:
        study.picture(row["path"])
    found = ingest(manifest).features()[sound_rows[0]["path"]]
    assert found["image/calibrated"] == 1
    assert (found["image/slope"], found["image/intercept"]) == (1.0, -1024.0)
    assert tf.io.decode_png(found["image/encoded"], dtype=tf.uint16).shape == (128, 128, 1)


def stopped(ingest, *arguments, **settings):
    with pytest.raises(BadDataError) as caught:
        ingest(*arguments, **settings)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_a_run_without_a_usable_slice_stops(study, sound_rows, ingest):
    message = stopped(ingest, study.write(sound_rows, pictures=False))
    assert message.startswith("no usable slice among 12 (12 missing_file); see ")


@pytest.mark.parametrize(
    ("split", "label", "name"), [("test", "1", "positive"), ("train", "0", "negative")]
)
def test_a_run_with_a_class_missing_from_a_split_stops(
    study, sound_rows, ingest, split, label, name
):
    left = [row for row in sound_rows if (row["split"], row["label"]) != (split, label)]
    message = stopped(ingest, study.write(left))
    assert message.startswith(f"the {split} split has no {name} slice; ")


def test_a_class_that_is_missing_only_because_its_files_are_broken_stops_too(
    study, sound_rows, ingest
):
    manifest = study.write(sound_rows)
    for row in sound_rows:
        if (row["split"], row["label"]) == ("eval", "0"):
            (study.folder / row["path"]).write_bytes(b"")
    assert stopped(ingest, manifest).startswith("the eval split has no negative slice; ")


def test_too_large_a_share_in_quarantine_stops_and_leaves_a_copy_to_read(
    study, sound_rows, ingest, tmp_path
):
    manifest = study.write(sound_rows)
    (study.folder / sound_rows[0]["path"]).unlink()
    (study.folder / sound_rows[2]["path"]).unlink()
    copy = tmp_path / "workdir" / "quarantine.jsonl"
    message = stopped(ingest, manifest, max_quarantined=0.1, findings_copy=str(copy.parent))
    assert message == (
        "2 of 12 slices are quarantined (2 missing_file), more than ingest.max_quarantined allows "
        f"(10%); see {copy}"
    )
    lines = [json.loads(line) for line in copy.read_text().splitlines()]
    assert {line["path"] for line in lines} == {sound_rows[0]["path"], sound_rows[2]["path"]}
    assert sorted(path.name for path in copy.parent.iterdir()) == [
        "duplicates.jsonl",
        "leaks.jsonl",
        "quarantine.jsonl",
    ]
    # Exactly the allowed share is allowed.
    assert len(ingest(manifest, max_quarantined=2 / 12).quarantined) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"path,label,patient_id\n", "the manifest has no row"),
        (b"", "no column path, label, patient_id"),
        (b"path,label\na.png,1\n", "no column patient_id"),
        (b"path;label;patient_id\na.png;1;p\n", "no column path, label, patient_id"),
        (b"path,label,patient_id\n\xff\xfe,1,p\n", "cannot be read as UTF-8 CSV"),
        (b'path,label,patient_id\n"' + b"x" * 200_000 + b'",1,p\n', "cannot be read as UTF-8 CSV"),
        (None, "no such manifest"),
    ],
    ids=["no row", "empty", "no patients", "semicolons", "not UTF-8", "not CSV", "missing"],
)
def test_a_manifest_that_cannot_be_used_stops_the_run_and_says_why(study, ingest, content, words):
    if content is not None:
        study.manifest.write_bytes(content)
    message = stopped(ingest, study.manifest)
    assert message.startswith(str(study.manifest))
    assert words in message
