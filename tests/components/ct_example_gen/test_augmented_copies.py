"""The paper's order, augmenting before the split: how many copies, which, and where they fall."""

import collections
import dataclasses
import json

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ct_example_gen.augmented_copies import (
    AugmentedCopies,
    MakeCopies,
    copies_of_example,
)
from components.ct_example_gen.changed_slice import SliceChanges
from components.ct_example_gen.outcome import IngestOutcome, check_outcome
from components.ct_example_gen.settings import IngestSettings, SplitBy
from components.ct_example_gen.slice_record import SliceRecord
from components.ct_example_gen.splitting import SplitShares, hashed_split
from transform import ct_example
from transform.ct_example import SPLITS
from transform.errors import BadDataError, ConfigError

PAPER = SliceChanges(rotation=15.0, shift=0.1, flip=True, pad=0.1)
BY_IMAGE = SplitShares(train=0.6, eval=0.2, test=0.2, by="image")
ONE_WORKER = ("--runner=FnApiRunner", "--direct_num_workers=1")


def copies(examples_per_class, seed=3):
    return AugmentedCopies(examples_per_class, seed, PAPER)


def records_of(counts):
    return [
        SliceRecord(
            id=f"{label}-{number}.png",
            path="",
            frame=None,
            shard=0,
            label=label,
            split="",
            patient_id="p",
            patient_digest="d",
        )
        for label, count in counts.items()
        for number in range(count)
    ]


@pytest.mark.slow
@given(
    negative=st.integers(1, 30),
    positive=st.integers(1, 30),
    wanted=st.integers(30, 100),
    turned=st.booleans(),
)
@settings(deadline=None, max_examples=5, derandomize=True)
def test_each_class_gets_its_number_spread_evenly_over_its_slices(
    negative, positive, wanted, turned
):
    records = records_of({"0": negative, "1": positive})

    def check(made):
        assert len({one.id for one in made}) == len(made)
        per_slice = collections.Counter(one.copy_of for one in made)
        assert set(per_slice) == {one.id for one in records}
        for label, count in (("0", negative), ("1", positive)):
            shares = [per_slice[one.id] for one in records if one.label == label]
            assert sum(shares) == wanted
            assert max(shares) - min(shares) <= 1
            assert min(shares) == wanted // count

    with beam.Pipeline(argv=list(ONE_WORKER)) as pipeline:
        made = (
            pipeline
            | beam.Create(records[::-1] if turned else records, reshuffle=False)
            | MakeCopies(wanted)
        )
        assert_that(made, check)


@pytest.fixture(scope="module")
def example():
    stored = np.random.default_rng(1).integers(0, 2000, (24, 32)).astype(np.uint16)
    return ct_example.make_example(
        ct_example.StoredSlice(stored, 1.0, -1024.0, True, 0.8),
        ct_example.SliceFacts("a/1.dcm", "p1", "ward", 1, 63.0, "F"),
    ).SerializeToString(deterministic=True)


def as_values(serialised):
    features = tf.train.Example.FromString(serialised).features.feature
    return {name: getattr(one, one.WhichOneof("kind")).value[0] for name, one in features.items()}


def test_the_first_copy_is_the_slice_as_it_is(example):
    (first, *others) = copies_of_example("a/1.dcm", example, 3, copies(3))
    assert first == ("a/1.dcm", example)
    assert [name for name, _ in others] == ["a/1.dcm#copy-1", "a/1.dcm#copy-2"]


def test_a_copy_keeps_what_is_known_of_the_slice_and_has_other_pixels(example):
    before = as_values(example)
    for name, copy in list(copies_of_example("a/1.dcm", example, 4, copies(4)))[1:]:
        after = as_values(copy)
        assert after["image/id"].decode() == name
        assert after["image/encoded"] != before["image/encoded"]
        assert after["stats/mean_hu"] != before["stats/mean_hu"]
        same = {"patient_id", "source", "label", "age", "sex", "image/slope", "image/intercept"}
        assert {one: after[one] for one in same} == {one: before[one] for one in same}
        assert set(after) == set(before)


def test_the_numbers_about_a_copy_are_those_of_its_own_pixels(example):
    (_, (_, copy)) = copies_of_example("a/1.dcm", example, 2, copies(2))
    after = as_values(copy)
    stored = tf.io.decode_png(after["image/encoded"], dtype=tf.uint16).numpy()[:, :, 0]
    hounsfield = stored.astype(float) - 1024.0
    assert after["stats/mean_hu"] == pytest.approx(hounsfield.mean())
    assert after["stats/max_hu"] == hounsfield.max()


def test_a_slice_of_unknown_spacing_has_copies_of_unknown_spacing(example):
    parsed = tf.train.Example.FromString(example)
    del parsed.features.feature[ct_example.SPACING]
    (_, (_, copy)) = copies_of_example("a", parsed.SerializeToString(), 2, copies(2))
    assert ct_example.SPACING not in as_values(copy)


def test_a_copy_depends_on_seed_slice_and_number_alone(example):
    def pictures(slice_id="a", count=4, seed=3):
        made = copies_of_example(slice_id, example, count, copies(count, seed))
        return [as_values(one)["image/encoded"] for _, one in made]

    assert pictures(count=4) == pictures(count=6)[:4]
    assert len(set(pictures())) == 4
    for other in (pictures(seed=4), pictures(slice_id="b")):
        assert all(one != two for one, two in zip(pictures()[1:], other[1:], strict=True))


@dataclasses.dataclass
class PaperRun:
    study: object
    rows: list
    ingested: object


@pytest.fixture(scope="module")
def paper_run(tmp_path_factory, make_study, make_sound_rows, run_ct_example_gen):
    """Twelve slices and a damaged one through the real executor, to 40 copies of each class."""
    folder = tmp_path_factory.mktemp("paper")
    study = make_study(folder / "study")
    rows = make_sound_rows()
    manifest = study.write([*rows, {**rows[0], "path": "damaged.png"}])
    (study.folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    ingested = run_ct_example_gen(
        manifest,
        folder / "output",
        split=BY_IMAGE,
        ignore_manifest_split=True,
        augment_first=copies(40),
    )
    return PaperRun(study, rows, ingested)


def of_slice(image_id):
    return image_id.partition("#copy-")[0]


def test_every_slice_has_copies_and_each_class_its_number(paper_run):
    features = paper_run.ingested.features()
    assert collections.Counter(one["label"] for one in features.values()) == {0: 40, 1: 40}
    per_slice = collections.Counter(map(of_slice, features))
    assert set(per_slice) == {row["path"] for row in paper_run.rows}
    assert set(per_slice.values()) == {6, 7}


def test_copies_fall_into_splits_by_their_own_ids_so_that_slices_stand_on_both_sides(paper_run):
    features = paper_run.ingested.features()
    sides = collections.defaultdict(set)
    for image_id, found in features.items():
        assert found["split"] == hashed_split("", image_id, BY_IMAGE)
        sides[of_slice(image_id)].add(found["split"])
    leaking = [one for one, splits in sides.items() if {"train", "test"} <= splits]
    assert len(leaking) > len(sides) / 2


def test_patients_whose_copies_are_torn_apart_are_listed_as_leaks(paper_run):
    splits = paper_run.ingested.splits_of_patients()
    torn = {patient for patient, found in splits.items() if len(found) > 1}
    assert torn == {patient for leak in paper_run.ingested.leaks for patient in leak.patients}
    in_leaks = sum(sum(leak.slices.values()) for leak in paper_run.ingested.leaks)
    of_torn = [
        one for one in paper_run.ingested.features().values() if one["patient_id"].decode() in torn
    ]
    assert in_leaks == len(of_torn)


def test_quarantine_and_input_are_counted_in_slices_not_in_copies(paper_run):
    assert [one.id for one in paper_run.ingested.quarantined] == ["damaged.png"]
    told = paper_run.ingested.examples.get_string_custom_property("outcome")
    outcome = json.loads(told)
    assert outcome["slices"] == len(paper_run.rows) + 1
    assert outcome["copied"] == {"0": 6, "1": 6}
    assert sum(sum(one.values()) for one in outcome["accepted"].values()) == 80


@pytest.mark.slow
def test_the_same_input_gives_the_same_copies_whatever_the_order_of_its_rows(
    paper_run, tmp_path, run_ct_example_gen
):
    manifest = paper_run.study.write(paper_run.rows[::-1], pictures=False)
    again = run_ct_example_gen(
        manifest,
        tmp_path,
        split=BY_IMAGE,
        ignore_manifest_split=True,
        augment_first=copies(40),
    )
    assert again.records == paper_run.ingested.records


def outcome_of(copied, made):
    """The outcome of ten slices of each class, and of so many copies in each split."""
    accepted = {split: {"0": made, "1": made} for split in SPLITS}
    return IngestOutcome(accepted, {}, {}, rows=20, slices=20, copied=copied)


def judged(outcome, examples_per_class):
    check_outcome(
        outcome,
        rows=20,
        max_quarantined=0.0,
        stop_on_leak=False,
        where="",
        leaks_file="",
        examples_per_class=examples_per_class,
    )


def test_fewer_copies_than_slices_stop_the_run_and_say_what_to_raise():
    copied = {"0": 12, "1": 8}
    judged(outcome_of(copied, made=4), 12)
    with pytest.raises(BadDataError, match=r"is 11, but there are 12 negative slices.*raise it"):
        judged(outcome_of(copied, made=4), 11)


def test_lost_copies_stop_the_run():
    with pytest.raises(BadDataError, match="of 15 negative copies 12 came out of the Beam job"):
        judged(outcome_of({"0": 10, "1": 10}, made=4), 15)


def test_copies_do_not_go_with_a_split_that_the_manifest_gives(study, ingest, sound_rows):
    with pytest.raises(ConfigError, match=r"set split\.ignore_manifest: true"):
        ingest(study.write(sound_rows), split=BY_IMAGE, augment_first=copies(40))


def test_a_manifest_s_split_is_left_aside_where_that_is_asked_for(study, ingest, sound_rows):
    more = [{**row, "path": f"more-{row['path']}"} for row in sound_rows]
    rows = [*sound_rows, *more, {**sound_rows[0], "path": "odd.png", "split": "no such split"}]
    features = ingest(study.write(rows), split=BY_IMAGE, ignore_manifest_split=True).features()
    assert {one: found["split"] for one, found in features.items()} == {
        row["path"]: hashed_split("", row["path"], BY_IMAGE) for row in rows
    }


def test_settings_come_through_the_execution_parameters_unchanged():
    given_settings = IngestSettings((-1000.0, 400.0), BY_IMAGE, augment_first=copies(7))
    assert IngestSettings.from_json(given_settings.to_json()) == given_settings
    # The seed decides what the copies look like, so that another one must miss the cache.
    other = dataclasses.replace(given_settings, augment_first=copies(7, seed=4))
    assert other.to_json() != given_settings.to_json()


@pytest.mark.parametrize(
    ("split_given", "ignored", "source"),
    [
        (True, False, SplitBy.MANIFEST),
        (True, True, SplitBy.HASH),
        (False, False, SplitBy.HASH),
        (False, True, SplitBy.HASH),
    ],
)
def test_the_split_comes_from_the_manifest_unless_it_has_none_or_is_not_asked(
    split_given, ignored, source
):
    asked = IngestSettings((-1000.0, 400.0), BY_IMAGE, ignore_manifest_split=ignored)
    assert asked.split_source(split_given=split_given) is source
