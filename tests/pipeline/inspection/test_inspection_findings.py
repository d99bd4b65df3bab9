import json

import pytest

from pipeline.inspection import to_json
from pipeline.inspection.verdict import reach_verdict
from transform.errors import CtnetError


def test_the_answer_for_programs_has_the_keys_that_are_promised(job):
    job.accept_all_classes_and_splits()
    job.quarantine("bad", "unreadable", "cut off")
    job.duplicate(["train0", "train1"], labels=["0", "0"])
    job.duplicate(["x", "y"], labels=["0", "1"])
    answer = json.loads(json.dumps(to_json(job.gather()), allow_nan=False))
    assert set(answer) == {
        "accepted",
        "quarantined",
        "duplicates",
        "conflicts",
        "counts",
        "leaks",
        "confounds",
    }
    assert len(answer["accepted"]) == 6
    assert {"id", "path", "min_hu", "mean_hu", "max_hu"} <= set(answer["accepted"][0])
    (bad,) = answer["quarantined"]
    assert {name: bad[name] for name in ("id", "path", "reason", "detail")} == {
        "id": "bad",
        "path": "bad",
        "reason": "unreadable",
        "detail": "cut off",
    }
    assert answer["duplicates"] == [["train0", "train1"]]
    assert answer["conflicts"] == [["x", "y"]]
    assert answer["counts"]["accepted"] == 6
    assert answer["counts"]["reasons"] == {"unreadable": 1}
    assert answer["counts"]["splits"]["test"]["positive"] == {"slices": 1, "patients": 1}


def test_confounds_in_the_answer_say_feature_auc_interval_and_note(job):
    for patient in range(40):
        job.accept(
            f"{patient}",
            patient_id=f"{patient}",
            label=patient % 2,
            format="jpeg" if patient % 2 else "png",
        )
    (one,) = to_json(job.gather())["confounds"]
    assert {"feature", "auc", "low", "high", "note"} <= set(one)
    assert one["feature"] == "format"
    assert one["auc"] == pytest.approx(1.0)


def test_the_order_in_which_lines_were_written_does_not_matter(job):
    job.accept_all_classes_and_splits()
    for number in range(50):
        job.quarantine(f"bad{number}", "unreadable")
        job.duplicate([f"a{number}", f"b{number}"])
    first, first_answer = job.gather(), to_json(job.gather())
    for file in job.folder.iterdir():
        file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    second = job.gather()
    assert to_json(second) == first_answer
    assert second.quarantine_shown == first.quarantine_shown
    assert second.duplicates_shown == first.duplicates_shown


def test_of_many_only_some_are_kept_and_all_are_counted(job):
    for number in range(300):
        job.quarantine(f"{number:03d}", "unreadable")
        job.duplicate([f"a{number}", f"b{number}"])
    findings = job.gather()
    assert findings.quarantined == {"unreadable": 300}
    assert len(findings.quarantine_shown["unreadable"]) == 24
    assert findings.duplicate_groups == 300
    assert findings.duplicate_slices == 600
    assert len(findings.duplicates_shown) == 60


def test_patients_are_counted_once_however_many_slices_they_have(job):
    for number in range(5):
        job.accept(f"{number}", patient_id="one", label=number % 2)
    job.accept("other", patient_id="two", split="test")
    findings = job.gather()
    assert findings.accepted["train"] == {"positive": 2, "negative": 3, "unlabelled": 0}
    assert findings.patients["train"] == {"positive": 1, "negative": 1, "unlabelled": 0}
    assert findings.all_patients == 2


def test_a_clean_data_set_stops_nothing_and_warns_of_nothing(job):
    job.accept_all_classes_and_splits()
    verdict = reach_verdict(job.gather())
    assert verdict.headline == "6 of 6 slices can be used"
    assert not verdict.stops
    assert not verdict.warnings


def test_a_class_that_a_split_lacks_stops_a_run(job):
    job.accept("a", label=1, split="train")
    (stop,) = reach_verdict(job.gather()).stops
    assert "no negative slice in train" in stop
    assert "no positive slice in test" in stop


def test_too_much_quarantine_stops_a_run_and_a_higher_limit_lets_it_go(job):
    job.accept_all_classes_and_splits()
    for number in range(3):
        job.quarantine(f"{number}", "unreadable")
    (stop,) = reach_verdict(job.gather()).stops
    assert "33.3 % of the slices cannot be used" in stop
    assert not reach_verdict(job.gather(max_quarantined=0.5)).stops


def test_nothing_usable_is_said_before_anything_else(job):
    job.quarantine("bad", "unreadable")
    verdict = reach_verdict(job.gather())
    assert verdict.headline.startswith("0 of 1 slice can be used")
    assert verdict.stops == ["No slice can be used."]


def test_a_folder_without_labels_is_no_failure(job):
    job.accept("a", label=None, split="")
    job.accept("b", label=None, split="")
    findings = job.gather()
    verdict = reach_verdict(findings)
    assert not verdict.stops
    assert "only with a manifest" in verdict.warnings[0]
    assert findings.classes == ["unlabelled"]


def test_leaks_stop_a_run_unless_it_is_told_to_live_with_them(job):
    job.accept_all_classes_and_splits()
    job.leak(["one"], train=3, test=1)
    job.leak(["two", "three"], bound_by="duplicates", train=1, eval=1)
    findings = job.gather()
    (stop,) = reach_verdict(findings).stops
    assert (
        "1 patient and 1 group of patients with a picture in common are in more than one split"
        in stop
    )
    reported = reach_verdict(job.gather(on_leak="report"))
    assert not reported.stops
    assert "more than one split" in reported.warnings[0]
    leak = {"bound_by": "patient", "patients": ["one"], "slices": {"train": 3, "test": 1}}
    assert leak in to_json(findings)["leaks"]


def test_what_only_the_run_itself_would_stop_at_is_said_in_its_words(job):
    job.accept_all_classes_and_splits()
    verdict = reach_verdict(job.gather(would_stop="some slices were lost"))
    assert verdict.stops == ["some slices were lost"]


def test_slices_left_out_for_little_lung_stop_nothing(job):
    job.accept_all_classes_and_splits()
    for number in range(60):
        job.quarantine(f"{number}", "little_lung")
    assert not reach_verdict(job.gather()).stops


def test_groups_across_splits_are_shown_before_others(job):
    for number in range(100):
        job.duplicate([f"a{number:03d}", f"b{number:03d}"])
    job.duplicate(["y", "z"], splits=["train", "test"])
    assert [one.id for one in job.gather().duplicates_shown[0].members] == ["y", "z"]


def test_a_line_that_is_cut_off_is_named(job):
    (job.folder / "accepted.jsonl").write_text('{"id": "a"')
    with pytest.raises(CtnetError, match=r"accepted\.jsonl line 1 is not whole"):
        job.gather()
