"""No patient lands in two splits, whatever the manifest says."""

import collections
import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from components.ct_example_gen.splitting import SplitShares, hashed_split, split_digest
from transform.ct_example import EVAL, SPLITS, TEST, TRAIN
from transform.errors import BadDataError
from transform.reading import Reason

SHARES = SplitShares(train=0.7, eval=0.15, test=0.15)

few_patients = st.sampled_from(["p1", "p2", "P1", " ", "ä", "患者", "1", "01"])
shares = st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98)).map(
    lambda two: SplitShares(
        train=two[0], eval=(1 - two[0]) * two[1], test=(1 - two[0]) * (1 - two[1])
    )
)


@given(st.lists(st.tuples(few_patients | st.text(), st.text())), shares)
def test_a_patient_never_lands_in_two_splits_of_the_hash(slices, shares):
    splits = collections.defaultdict(set)
    for patient, image in slices:
        splits[patient].add(hashed_split(split_digest(patient), image, shares))
    assert all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) <= set(SPLITS)


@given(st.text(), st.text(), st.floats(0.02, 0.97))
def test_a_patient_stays_in_training_when_its_share_grows(patient, image, share):
    def shares(train):
        return SplitShares(train=train, eval=(1 - train) / 2, test=(1 - train) / 2)

    if hashed_split(split_digest(patient), image, shares(share)) == TRAIN:
        assert hashed_split(split_digest(patient), image, shares(share + 0.01)) == TRAIN


@pytest.mark.parametrize(
    ("patient", "split"),
    [("p1", TEST), ("p2", TRAIN), ("covid/patient_1", TRAIN), ("A0002", EVAL), ("患者", TRAIN)],
)
def test_a_patient_who_comes_back_next_year_falls_into_the_same_split(patient, split):
    # Written down once: another hash would move patients from test into training.
    assert hashed_split(split_digest(patient), "a.png", SHARES) == split


def test_the_shares_come_out_about_right():
    found = collections.Counter(
        hashed_split(split_digest(f"p{i}"), "", SHARES) for i in range(20_000)
    )
    for split, share in ((TRAIN, 0.7), (EVAL, 0.15), (TEST, 0.15)):
        assert found[split] / 20_000 == pytest.approx(share, abs=0.01)


def test_a_split_by_image_is_what_puts_a_patient_on_both_sides():
    by_image = SplitShares(train=0.7, eval=0.15, test=0.15, by="image")
    found = collections.Counter(
        hashed_split(split_digest("p"), f"{i}.png", by_image) for i in range(2000)
    )
    assert found[TRAIN] / 2000 == pytest.approx(0.7, abs=0.04)
    assert set(found) == set(SPLITS)


def random_rows(seed, patients, with_split):
    """Rows of random patients and labels, with padded ids; splits drawn without regard to them."""
    generator = random.Random(seed)
    rows = []
    for number in range(6 * patients):
        patient = f"p{generator.randrange(patients)}"
        row = {
            "path": f"{seed}-{number}.png",
            "label": generator.choice("01"),
            "patient_id": generator.choice([patient, f" {patient}", f"{patient}\t"]),
        }
        if with_split:
            row["split"] = generator.choice(SPLITS)
        rows.append(row)
    return rows


def assert_apart(ingested):
    splits = ingested.splits_of_patients()
    assert splits
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize("seed", [1, 2])
def test_ingestion_by_hash_never_puts_a_patient_into_two_splits(study, ingest, seed):
    rows = random_rows(seed, patients=24, with_split=False)
    ingested = ingest(study.write(rows))
    assert_apart(ingested)
    assert len(ingested.features()) == len(rows)
    for path, found in ingested.features().items():
        patient = found["patient_id"].decode()
        assert found["split"] == hashed_split(
            split_digest(patient), path, SplitShares(0.5, 0.25, 0.25)
        )


@pytest.mark.slow
def test_the_split_of_a_patient_does_not_depend_on_the_other_rows(study, ingest):
    rows = random_rows(1, patients=24, with_split=False)
    of_all = ingest(study.write(rows)).splits_of_patients()
    of_some = ingest(study.write([row for row in rows if "p2" not in row["patient_id"]]))
    some = of_some.splits_of_patients()
    assert 0 < len(some) < len(of_all)
    assert all(of_all[patient] == splits for patient, splits in some.items())


@pytest.mark.slow
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 10_000))
def test_a_manifest_that_puts_patients_on_both_sides_stops_the_run(study, ingest, seed):
    rows = random_rows(seed, patients=6, with_split=True)
    with pytest.raises(
        BadDataError, match="patients stand in two splits of the manifest"
    ) as caught:
        ingest(study.write(rows))
    assert "set ingest.on_leak to" in str(caught.value)


@pytest.mark.slow
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 10_000))
@example(seed=0)
def test_dropping_leaked_patients_leaves_each_in_one_split_and_says_which_went(
    study, ingest, make_sound_rows, seed
):
    leaking = random_rows(seed, patients=8, with_split=True)
    sound = make_sound_rows()
    ingested = ingest(study.write([*sound, *leaking]), on_leak="drop_from_train")
    assert_apart(ingested)
    # Patients who were in one split only lost nothing; the others kept the split nearest to test.
    by_patient = collections.defaultdict(set)
    for row in leaking:
        by_patient[row["patient_id"].strip()].add(row["split"])
    kept = {patient: max(splits, key=SPLITS.index) for patient, splits in by_patient.items()}
    expected = {
        row["path"] for row in leaking if row["split"] == kept[row["patient_id"].strip()]
    } | {row["path"] for row in sound}
    assert set(ingested.features()) == expected
    assert set(ingested.reasons().values()) == {Reason.LEAKED_PATIENT}
    assert set(ingested.reasons()) == {row["path"] for row in leaking} - expected


@pytest.mark.parametrize("on_leak", ["stop", "drop_from_train"])
@pytest.mark.parametrize("sides", [(TRAIN, TEST), (TRAIN, EVAL), (EVAL, TEST)])
def test_one_leaked_patient_is_enough(study, ingest, sound_rows, on_leak, sides):
    rows = sound_rows + [
        {"path": f"leak-{split}.png", "label": "1", "patient_id": "leak", "split": split}
        for split in sides
    ]
    manifest = study.write(rows)
    if on_leak == "stop":
        with pytest.raises(BadDataError, match=r"patients stand in two splits .*1 in "):
            ingest(manifest)
    else:
        ingested = ingest(manifest, on_leak=on_leak)
        assert ingested.splits_of_patients()["leak"] == {sides[1]}
        (left_out,) = ingested.quarantined
        assert left_out.path == f"leak-{sides[0]}.png"
        assert left_out.detail == f"patient leak also stands in {sides[1]}"
