"""The public data set through the whole pipeline, with a small network."""

import json
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "covid-ct"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.shared,
    pytest.mark.skipif(not DATA.exists(), reason=f"the COVID-CT data set is not at {DATA}"),
]


@pytest.fixture(scope="module")
def covid_run(ctnet, run_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("covid")
    prepared = ctnet("prepare", "covid-ct", DATA, "--out", folder / "M.csv", "--json")
    assert prepared.code == 0, prepared.err
    assert json.loads(prepared.out)["rows"] == 746
    # As in configs/covid_ct.yaml: a published split stays whole.
    whole = ("ingest.on_marks=keep", "ingest.on_conflict=keep", "ingest.on_leak=report")
    settings = [word for one in whole for word in ("--set", one)]
    return run_pipeline(folder / "M.csv", folder / "work", *settings)


def test_all_slices_run_through_under_the_official_split(covid_run):
    assert covid_run.done.code == 0, covid_run.done.err
    counts = covid_run.summary["counts"]
    assert counts["quarantined"] == {}
    totals = {split: sum(both.values()) for split, both in counts["examples"].items()}
    assert totals == {"train": 425, "eval": 118, "test": 203}


def test_picture_files_are_answered_as_the_evaluator_computed(covid_run, serving, ctnet):
    expected = covid_run.predictions()[::4]
    # Paths of a manifest are relative to it or absolute; joining serves both.
    files = [covid_run.manifest.parent / one["id"] for one in expected]
    heads = {path.read_bytes()[:2] for path in files}
    assert heads == {b"\x89P", b"\xff\xd8"}, "PNG and JPEG files both"
    with serving(covid_run.workdir / "serving/ctnet") as address:
        done = ctnet("predict", *files, "--server", address, "--json")
    assert done.code == 0, done.err
    for answer, one in zip(json.loads(done.out), expected, strict=True):
        assert answer["probability"] == pytest.approx(one["probability"], abs=1e-4)
