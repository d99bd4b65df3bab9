"""Patient ids become keyed hashes, the same in every run under one key."""

import stat
import threading

import pytest

from components.ct_example_gen.patient_ids import (
    key_fingerprint,
    load_key,
    make_key,
    pseudonym,
)
from transform.errors import ConfigError


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "work" / "patient.key"
    make_key(path)
    key = load_key(str(path))
    make_key(path)
    assert load_key(str(path)) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["patient.key"]


def test_keys_of_two_folders_differ_and_so_do_their_hashes(tmp_path):
    for name in ("a", "b"):
        make_key(tmp_path / name)
    first, second = (load_key(str(tmp_path / name)) for name in ("a", "b"))
    assert first != second
    assert key_fingerprint(first) != key_fingerprint(second)
    assert pseudonym("Doe", first) != pseudonym("Doe", second)


def test_processes_that_start_together_agree_on_one_key(tmp_path):
    keys = []

    def start():
        make_key(tmp_path / "key")
        keys.append(load_key(str(tmp_path / "key")))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


def test_a_pseudonym_is_stable_and_shows_nothing_of_the_id():
    # Written down once: another function would part the spans of one patient.
    assert pseudonym("A0002", b"0123456789abcdef") == "paf49e6d65c8c1d1809ce"
    assert len({pseudonym(str(number), b"0123456789abcdef") for number in range(1000)}) == 1000


def test_the_key_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "0123456789abcdef")
    assert load_key("env:SOME_KEY") == b"0123456789abcdef"
    monkeypatch.setenv("SOME_KEY", "short")
    with pytest.raises(ConfigError, match="SOME_KEY holds no key"):
        load_key("env:SOME_KEY")


def test_a_file_that_holds_no_key_is_refused(tmp_path):
    (tmp_path / "key").write_text("x\n")
    with pytest.raises(ConfigError, match="too short"):
        load_key(str(tmp_path / "key"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_key(str(tmp_path / "missing"))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        make_key(tmp_path / "file" / "key")


def test_examples_and_quarantine_hold_the_hash_and_not_the_id(study, sound_rows, ingest, tmp_path):
    for row in sound_rows:
        row["patient_id"] = f"Secret-{row['patient_id']}"
    leaked = {"path": "leak.png", "label": "1", "split": "train"}
    leaked["patient_id"] = "Secret-test-1-0"
    key = str(tmp_path / "patient.key")
    manifest = study.write([*sound_rows, leaked])
    hashed = ingest(manifest, patient_key=key, on_leak="drop_from_train")
    assert {found["patient_id"].decode() for found in hashed.features().values()} == {
        pseudonym(row["patient_id"], load_key(key)) for row in sound_rows
    }
    (left_out,) = hashed.quarantined
    assert pseudonym("Secret-test-1-0", load_key(key)) in left_out.detail
    assert "Secret" not in left_out.detail
    assert not any(b"Secret" in record for records in hashed.records.values() for record in records)


@pytest.mark.slow
def test_the_split_by_hash_does_not_depend_on_the_key(study, ingest, tmp_path):
    rows = [
        {"path": f"{label}-{number}.png", "label": str(label), "patient_id": f"{label}-{number}"}
        for number in range(12)
        for label in (0, 1)
    ]
    manifest = study.write(rows)
    kept = {path: found["split"] for path, found in ingest(manifest).features().items()}
    for name in ("one", "two"):
        hashed = ingest(manifest, patient_key=str(tmp_path / name)).features()
        assert {path: found["split"] for path, found in hashed.items()} == kept
