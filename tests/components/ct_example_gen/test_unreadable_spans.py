"""A span that cannot be read is one line that names it, never a span that is silently left out."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.spans import resolve_manifests
from transform.errors import BadDataError

HEADER = "path,label,patient_id\n"


@pytest.fixture
def spans(tmp_path):
    """Two spans; the test spoils the second."""
    for name in ("span-1", "span-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.csv").write_text(f"{HEADER}slice.png,1,a\n")
    return tmp_path


def survey(spans):
    return survey_manifests(resolve_manifests(spans, "last:2"))


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xfe", HEADER.encode() + b"slice-\xe9.png,1,a\n"],
    ids=["a picture", "not UTF-8"],
)
def test_a_manifest_that_is_no_text_is_named(spans, content):
    (spans / "span-2" / "manifest.csv").write_bytes(content)
    with pytest.raises(
        BadDataError, match=r"span-2/manifest\.csv: cannot be read as UTF-8"
    ) as said:
        survey(spans)
    assert "\n" not in str(said.value)


def test_a_manifest_that_is_cut_off_in_its_first_line_is_named(spans):
    (spans / "span-2" / "manifest.csv").write_text("path,lab")
    with pytest.raises(BadDataError, match=r"span-2/manifest\.csv: no column label, patient_id"):
        survey(spans)


def test_a_cell_without_an_end_is_named(spans):
    (spans / "span-2" / "manifest.csv").write_text(f'{HEADER}"slice.png,1,a\n' + "x" * 200_000)
    with pytest.raises(BadDataError, match=r"span-2/manifest\.csv: cannot be read .* field"):
        survey(spans)


def test_a_span_that_vanishes_before_it_is_read_is_named(spans):
    found = resolve_manifests(spans, "last:2")
    shutil.rmtree(spans / "span-2")
    with pytest.raises(BadDataError, match=r"span-2/manifest\.csv: no such manifest"):
        survey_manifests(found)


def test_a_manifest_that_becomes_a_folder_is_named(spans):
    found = resolve_manifests(spans, "last:2")
    (spans / "span-2" / "manifest.csv").unlink()
    (spans / "span-2" / "manifest.csv").mkdir()
    with pytest.raises(BadDataError, match=r"span-2/manifest\.csv: cannot be read"):
        survey_manifests(found)


@pytest.mark.parametrize("put", [Path.mkdir, lambda path: path.symlink_to("/no/such/file")])
def test_a_span_without_a_manifest_yet_is_left_out(spans, put):
    manifest = spans / "span-2" / "manifest.csv"
    manifest.unlink()
    put(manifest)
    assert [one.span for one in resolve_manifests(spans, "last:2")] == ["1"]


def test_a_span_that_nobody_may_look_into_stops_the_run(spans, monkeypatch):
    is_file = Path.is_file

    def refused(path):
        if path.parent.name == "span-2":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return is_file(path)

    # Root may look into everything, and a disk that fails is none that a test has.
    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(BadDataError, match=r"span-2/manifest\.csv: cannot be read: Input/output"):
        resolve_manifests(spans, "last:2")


def test_slices_that_are_gone_do_not_stop_the_survey(spans):
    before = survey(spans).fingerprint
    (spans / "span-2" / "slice.png").write_bytes(b"there now")
    facts = survey(spans)
    assert facts.rows == 2
    assert facts.fingerprint != before
