"""A reference set is the whole test split, run after run, and nothing of it is trained on."""

import dataclasses
import shutil

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from components.ct_example_gen import grouping
from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.settings import IngestSettings, SplitBy
from components.ct_example_gen.slice_record import QUARANTINED, SliceRecord
from components.ct_example_gen.spans import newest_span, resolve_manifests
from components.ct_example_gen.splitting import SplitShares, hashed_split, split_digest
from components.slice_evaluator.answers import IdentifiedAnswers, paired_answers
from components.slice_evaluator.predictions import SlicePrediction
from transform.errors import BadDataError, ConfigError
from transform.reading import Reason

pytestmark = pytest.mark.slow

SHARES = SplitShares(train=0.5, eval=0.25, test=0.25)


def row(name, label=0, **cells):
    patient = name.split("-")[0]
    return {"path": f"{name}.png", "label": str(label), "patient_id": patient, **cells}


def rows_of(numbers, name="p"):
    """Two slices a patient, every other patient positive."""
    return [row(f"{name}{one}-{of}", label=one % 2) for one in numbers for of in range(2)]


@pytest.fixture
def reference(tmp_path, make_study):
    """Four patients, in a folder beside the data's."""
    study = make_study(tmp_path / "fixed" / "set")
    study.write(rows_of(range(4), "r"))
    return study


@pytest.fixture
def ingest_with(ingest, reference):
    """`(data, **settings) -> Ingested` with the reference set; other groups may not leak."""
    return lambda data, **settings: ingest(data, reference=str(reference.manifest), **settings)


def test_the_reference_set_is_the_test_split_and_the_data_is_not(study, ingest_with):
    study.write(rows_of(range(24)))
    found = ingest_with(study.manifest)
    splits = {name: values["split"] for name, values in found.features().items()}
    in_test = {name for name, split in splits.items() if split == "test"}
    assert in_test == {f"reference:/r{one}-{of}.png" for one in range(4) for of in range(2)}
    assert set(splits.values()) == {"train", "eval", "test"}
    assert len(splits) == 48 + 8
    assert found.quarantined == found.leaks == []


def test_only_patients_of_the_former_test_split_change_sides():
    drawn_again = []
    for number in range(2000):
        digest = split_digest(f"patient {number}")
        before = hashed_split(digest, "", SHARES)
        after = hashed_split(digest, "", SHARES, test_apart=True)
        if before == "test":
            drawn_again.append(after)
        else:
            assert after == before
    assert set(drawn_again) == {"train", "eval"}
    # Two thirds, with five standard deviations.
    assert abs(drawn_again.count("train") / len(drawn_again) - 2 / 3) < 0.11


@pytest.mark.parametrize("given", [False, True])
def test_patients_of_the_reference_set_are_kept_out_whatever_on_leak_says(
    study, ingest_with, given
):
    rows = rows_of(range(24))
    if given:
        for one in rows:
            one["split"] = "eval" if int(one["patient_id"][1:]) % 6 < 2 else "train"
    back = [
        {**one, "split": "train"} if given else one
        for one in (row("r1-7", label=1), row("r1-8", label=1))
    ]
    study.write(rows + back)
    found = ingest_with(study.manifest, on_leak="stop", max_quarantined=0.0)
    assert found.reasons() == dict.fromkeys(("r1-7.png", "r1-8.png"), Reason.IN_REFERENCE)
    assert {one.detail for one in found.quarantined} == {"patient r1 is in the reference set"}
    assert found.leaks == []
    assert len(found.features()) == 48 + 8
    if given:
        splits = {name: values["split"] for name, values in found.features().items()}
        assert all(splits[one["path"]] == one["split"] for one in rows)


def test_a_patient_with_a_picture_of_the_reference_set_is_kept_out(study, ingest_with, reference):
    study.write([*rows_of(range(24)), row("copyist-0"), row("copyist-1")])
    shutil.copy(reference.folder / "r0-0.png", study.folder / "copyist-0.png")
    found = ingest_with(study.manifest)
    assert found.reasons() == dict.fromkeys(("copyist-0.png", "copyist-1.png"), Reason.IN_REFERENCE)
    assert "copyist has a picture in common with" in found.quarantined[0].detail
    assert found.features()["reference:/r0-0.png"]["split"] == "test"


def test_a_reference_set_drawn_from_the_data_takes_its_patients_along(study, ingest, tmp_path):
    study.write(rows_of(range(24)))
    folder = tmp_path / "chosen"
    folder.mkdir()
    lines = [
        f"{study.folder / one['path']},{one['label']},{one['patient_id']}"
        for one in rows_of(range(4))
    ]
    # Of the last patient one slice only.
    (folder / "manifest.csv").write_text("\n".join(["path,label,patient_id", *lines[:-1]]) + "\n")
    found = ingest(study.manifest, reference=str(folder / "manifest.csv"), max_quarantined=0.0)
    in_test = {name for name, one in found.features().items() if one["split"] == "test"}
    assert in_test == {line.split(",")[0] for line in lines[:-1]}
    assert found.reasons() == {one["path"]: Reason.IN_REFERENCE for one in rows_of(range(4))}
    details = {one.id: one.detail for one in found.quarantined}
    assert details["p0-0.png"] == "row 1 names the file of row 1 of the reference set"
    assert details["p3-1.png"] == "patient p3 is in the reference set"
    assert len(found.features()) == 40 + 7


def test_a_folder_of_the_data_takes_no_slice_from_the_reference_set(study, ingest, tmp_path):
    rows = rows_of(range(24))
    study.write(rows)
    for one in ("a", "b"):
        study.picture(f"whole/{one}.png")
    with study.manifest.open("a") as file:
        file.write("whole,0,somebody\n")
    chosen = tmp_path / "manifest.csv"
    lines = [f"{study.folder / one['path']},{one['label']},{one['patient_id']}" for one in rows[:8]]
    inside = study.folder / "whole" / "a.png"
    chosen.write_text(
        "\n".join(["path,label,patient_id", *lines, f"{inside},0,somebody else"]) + "\n"
    )
    found = ingest(study.manifest, reference=str(chosen))
    assert found.features()[str(inside)]["split"] == "test"
    assert {found.reasons()[f"whole/{one}.png"] for one in "ab"} == {Reason.IN_REFERENCE}


def test_another_label_in_the_data_takes_nothing_out_of_the_reference_set(
    study, ingest_with, reference
):
    study.write([*rows_of(range(24)), row("other-0", label=1)])
    shutil.copy(reference.folder / "r0-0.png", study.folder / "other-0.png")
    found = ingest_with(study.manifest)
    assert found.reasons() == {"other-0.png": Reason.CONFLICTING_LABEL}
    assert found.features()["reference:/r0-0.png"]["split"] == "test"


def test_a_conflict_within_the_reference_set_is_one(study, ingest_with, reference):
    study.write(rows_of(range(24)))
    shutil.copy(reference.folder / "r0-0.png", reference.folder / "r1-0.png")
    found = ingest_with(study.manifest)
    assert found.reasons() == dict.fromkeys(
        ("reference:/r0-0.png", "reference:/r1-0.png"), Reason.CONFLICTING_LABEL
    )


def test_slices_that_only_the_data_joins_stay_in_the_reference_set():
    def record(name, label, *, reference):
        split = "test" if reference else ""
        return SliceRecord(
            *(name, f"{name}.png", None, 0, label, split, name, split_digest(name)),
            reference=reference,
        )

    settings = IngestSettings((-1000.0, 400.0), SHARES, reference="reference.csv")
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline:
        records = pipeline | "Records" >> beam.Create(
            [
                record("one", "1", reference=True),
                record("two", "0", reference=True),
                record("between", "1", reference=False),
            ]
        )
        pairs = pipeline | "Pairs" >> beam.Create([("between", "one"), ("between", "two")])
        decided = grouping.decide(records, pairs, settings, SplitBy.HASH)
        kept = decided["records"] | "Kept" >> beam.Map(lambda one: (one.id, one.split))
        gone = decided[QUARANTINED] | "Gone" >> beam.Map(lambda one: (one.id, one.reason))
        assert_that(kept, equal_to([("one", "test"), ("two", "test")]), "kept")
        assert_that(gone, equal_to([("between", Reason.CONFLICTING_LABEL.value)]), "gone")


def test_rows_of_the_data_in_the_test_split_and_of_the_reference_in_another_are_refused(
    study, ingest, tmp_path, make_study
):
    given = [
        {**one, "split": "eval" if int(one["patient_id"][1:]) % 6 < 2 else "train"}
        for one in rows_of(range(24))
    ]
    study.write([*given, row("late-0", split="test")])
    reference = make_study(tmp_path / "reference")
    fixed = [
        {**one, "split": ("test", "")[of % 2]} for of, one in enumerate(rows_of(range(4), "r"))
    ]
    reference.write([*fixed, row("wrong-0", split="train")])
    found = ingest(study.manifest, reference=str(reference.manifest))
    details = {one.id: one.detail for one in found.quarantined}
    assert set(found.reasons().values()) == {Reason.BAD_SPLIT}
    assert details == {
        "late-0.png": "row 49 has split 'test'; it must be train or eval, because split.reference "
        "is the test split",
        "reference:/wrong-0.png": "row 9 of the reference set has split 'train'; the reference set "
        "is the test split, whole",
    }


def test_a_reference_set_without_a_class_stops_the_run(study, ingest_with, reference):
    study.write(rows_of(range(24)))
    reference.write(rows_of((0, 2), "r"))
    with pytest.raises(BadDataError, match="the reference set has no usable positive slice; add"):
        ingest_with(study.manifest)


@pytest.mark.slow
def test_patients_stay_where_they_are_and_models_are_asked_the_same_from_span_to_span(
    tmp_path, make_study, ingest_with
):
    data = tmp_path / "data"
    for span, numbers in ((1, range(18)), (2, range(9, 27)), (3, range(20, 40))):
        make_study(data / f"span-{span}").write(rows_of(numbers))
    runs = [ingest_with(data, span=choice) for choice in ("1", "last:2", "newest")]
    stood = {}
    for found in runs:
        for patient, splits in found.splits_of_patients().items():
            stood.setdefault(patient, set()).update(splits)
    assert all(len(splits) == 1 for splits in stood.values())
    assert runs[1].examples.get_int_custom_property("span") == 3
    assert {found.get("span") for found in runs[1].features().values()} == {2, 3, None}
    first, *others = (sorted(found.records["test"]) for found in runs)
    assert all(other == first for other in others)

    def answers(found, patient_key):
        return IdentifiedAnswers.of(
            SlicePrediction(
                id=name,
                patient_id=f"{patient_key} {values['patient_id']}",
                label=values["label"],
                probability=0.5,
                decision=1,
                threshold=0.5,
            )
            for name, values in found.features().items()
            if values["split"] == "test"
        )

    # What `ctnet compare` asks of two runs, here of different folders.
    pair = paired_answers(answers(runs[0], "a"), answers(runs[2], "b"))
    assert [len(one) for one in pair] == [8, 8]


def test_the_fingerprint_of_a_run_changes_with_its_reference_set(study, reference):
    study.write(rows_of(range(4)))

    def survey(*given):
        return survey_manifests(resolve_manifests(study.manifest, "newest", *given))

    alone, both = survey(), survey(str(reference.manifest))
    assert (alone.rows, both.rows) == (8, 16)
    assert alone.fingerprint != both.fingerprint
    assert survey(str(reference.manifest)) == both
    reference.write([*rows_of(range(4), "r"), row("r9-0", split="test")])
    more = survey(str(reference.manifest))
    assert more.fingerprint != both.fingerprint
    # What the reference set says of splits is not about the data's.
    assert more.rows_with_split == 0


def test_the_reference_set_is_no_span(tmp_path, make_study, reference):
    make_study(tmp_path / "data" / "span-7").write(rows_of(range(2)))
    manifests = resolve_manifests(tmp_path / "data", "newest", str(reference.manifest))
    assert [(one.span, one.reference) for one in manifests] == [("7", False), ("", True)]
    assert newest_span(manifests) == 7
    assert newest_span(manifests[1:]) is None


def test_a_reference_set_that_cannot_be_one_is_refused_in_one_line(study, tmp_path):
    study.write(rows_of(range(2)))
    for given, words in (
        (tmp_path / "nowhere.csv", "no such manifest"),
        (study.folder, "is a folder; give the manifest in it"),
        (study.manifest, "is the data itself"),
        # The system refuses to look there, as in a folder that this user may not read.
        (tmp_path / ("n" * 300) / "manifest.csv", "cannot be read: File name too long"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            resolve_manifests(study.manifest, "newest", str(given))
        assert str(caught.value).startswith("split.reference: ")


def test_the_settings_survive_their_way_through_json():
    settings = IngestSettings((-1000.0, 400.0), SHARES, reference="a/manifest.csv")
    assert IngestSettings.from_json(settings.to_json()) == settings
    assert dataclasses.replace(settings, reference=None).to_json() != settings.to_json()
