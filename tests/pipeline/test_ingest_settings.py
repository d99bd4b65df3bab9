"""What the configuration tells the ingestion."""

import pytest

from pipeline.config import parse_config
from pipeline.ingest_settings import cluster_ingest_settings, ingest_settings
from transform.errors import ConfigError

COPIES = {"examples_per_class": 60, "rotation": 15, "shift": 0.1, "flip": True, "contrast": 0.2}
FIRST = {"split": {"by": "image", "ignore_manifest": True, "augment_first": COPIES}}


def told(values, *assignments):
    return cluster_ingest_settings(parse_config(values, list(assignments)), "patient.key")


def test_copies_are_made_as_the_configuration_says():
    settings = told(FIRST, "seed=5", "transform.hu_max=600")
    assert settings.ignore_manifest_split
    assert settings.augment_first.examples_per_class == 60
    assert settings.augment_first.seed == 5
    changes = settings.augment_first.changes
    assert (changes.rotation, changes.shift, changes.flip, changes.pad) == (15, 0.1, True, 0.0)
    assert (changes.contrast, changes.hu_range) == (0.2, (-1000.0, 600.0))


def test_by_default_nothing_is_copied_and_the_manifest_s_split_counts():
    settings = told({})
    assert settings.augment_first is None
    assert not settings.ignore_manifest_split


def test_the_seed_runs_ingestion_anew_only_where_it_decides_anything_there():
    assert told({}, "seed=1").to_json() == told({}, "seed=2").to_json()
    assert told(FIRST, "seed=1").to_json() != told(FIRST, "seed=2").to_json()


def test_the_reference_set_is_found_from_the_working_directory_and_left_alone_on_a_cluster(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    values = {"split": {"reference": "fixed/manifest.csv"}}
    assert told(values).reference == "fixed/manifest.csv"
    here = ingest_settings(parse_config(values), tmp_path / "patient.key")
    assert here.reference == str(tmp_path / "fixed" / "manifest.csv")
    assert told({}).reference is None


def test_a_reference_set_needs_a_split_by_patient():
    with pytest.raises(ConfigError, match=r"reference keeps its patients out .* needs by: patient"):
        parse_config({"split": {"by": "image", "reference": "manifest.csv"}})
