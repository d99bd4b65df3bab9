"""A run reads the newest span, a given one, or a rolling window of the last."""

import pytest

from components.ct_example_gen.spans import is_span_choice, resolve_manifests
from transform.errors import BadDataError


@pytest.fixture
def spans(tmp_path):
    for name in ("span-1", "span-2", "span-10", "span-11", "span-x", "other"):
        (tmp_path / name).mkdir()
        # Span 11 is still being delivered: its manifest is not there yet.
        if name != "span-11":
            (tmp_path / name / "manifest.csv").write_text("path,label,patient_id\n")
    return tmp_path


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("newest", ["10"]),
        ("2", ["2"]),
        ("02", ["2"]),
        ("last:2", ["2", "10"]),
        ("last:99", ["1", "2", "10"]),
    ],
)
def test_spans_are_told_by_number_and_taken_when_their_manifest_is_there(spans, choice, expected):
    found = resolve_manifests(spans, choice)
    assert [one.span for one in found] == expected
    assert [one.prefix for one in found] == [f"span-{number}" for number in expected]
    assert all(one.path.is_file() for one in found)


def test_a_manifest_is_read_as_it_is(spans):
    (only,) = resolve_manifests(spans / "span-1" / "manifest.csv", "newest")
    assert (only.prefix, only.span) == ("", "")


def test_a_span_that_is_not_there_is_named_with_those_that_are(spans):
    with pytest.raises(BadDataError, match=r"no span 3; there are 1, 2, 10$"):
        resolve_manifests(spans, "3")


def test_a_folder_without_spans_is_refused(tmp_path):
    with pytest.raises(BadDataError, match=r"a folder without a span-N/manifest\.csv"):
        resolve_manifests(tmp_path, "newest")


def test_two_folders_of_one_number_are_refused(spans):
    (spans / "span-02").mkdir()
    (spans / "span-02" / "manifest.csv").touch()
    with pytest.raises(BadDataError, match="are both span 2"):
        resolve_manifests(spans, "newest")


@pytest.mark.parametrize("text", ["", "oldest", "last:0", "last:", "-1", "1.5", "last:2 "])
def test_a_choice_that_means_nothing_is_no_choice(text, spans):
    assert not is_span_choice(text)
    with pytest.raises(ValueError, match="neither newest"):
        resolve_manifests(spans, text)


def rows_of(split_numbers, folder, make_study):
    study = make_study(folder)
    rows = [
        {"path": f"{label}-{number}.png", "label": str(label), "patient_id": f"{label}-{number}"}
        for number in split_numbers
        for label in (0, 1)
    ]
    return study.write(rows)


def test_slices_of_one_name_in_two_spans_stay_two_slices(tmp_path, make_study, ingest):
    data = tmp_path / "data"
    for span, numbers in ((1, range(12)), (2, range(6, 24))):
        rows_of(numbers, data / f"span-{span}", make_study)
    newest = ingest(data)
    assert {name.split("/")[0] for name in newest.features()} == {"span-2"}
    assert newest.examples.get_int_custom_property("span") == 2
    window = ingest(data, span="last:2")
    assert len(window.features()) == 24 + 36
    assert not window.quarantined
    # Who came back is where they were.
    splits = window.splits_of_patients()
    assert all(len(found) == 1 for found in splits.values())
    alone = newest.splits_of_patients()
    assert {patient: splits[patient] for patient in alone} == alone
