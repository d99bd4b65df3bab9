"""An inspection reads the reference set as a run would, and can draw its slices."""

import json

import numpy as np
import pytest
from PIL import Image

from pipeline.config import parse_config
from pipeline.inspection.inspect import inspect


def write_study(folder, numbers, name):
    folder.mkdir()
    lines = ["path,label,patient_id"]
    for number in numbers:
        pixels = np.random.default_rng([number, *name.encode()]).integers(0, 256, (18, 20))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}{number}.png")
        lines.append(f"{name}{number}.png,{number % 2},{name}{number}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


@pytest.mark.slow
def test_the_reference_set_is_inspected_and_its_files_are_found_from_the_data(tmp_path):
    data = write_study(tmp_path / "data", range(16), "p")
    reference = write_study(tmp_path / "fixed", range(4), "r")
    pixels = np.random.default_rng(99).integers(0, 256, (18, 20)).astype(np.uint8)
    Image.fromarray(pixels).save(data.parent / "back.png")
    with data.open("a") as file:
        file.write("back.png,1,r1\n")
    config = parse_config(
        {"split": {"reference": str(reference), "train": 0.5, "eval": 0.4, "test": 0.1}},
        ["ingest.patient_ids=keep"],
    )
    found = inspect(data, config, tmp_path / "out")
    lines = (found.findings / "accepted.jsonl").read_text().splitlines()
    accepted = {one["path"]: one["split"] for one in map(json.loads, lines)}
    in_test = {path for path, split in accepted.items() if split == "test"}
    assert in_test == {f"../fixed/r{number}.png" for number in range(4)}
    assert all((found.base / path).is_file() for path in accepted)
    lines = (found.findings / "quarantine.jsonl").read_text().splitlines()
    reasons = {one["path"]: one["reason"] for one in map(json.loads, lines)}
    assert reasons == {"back.png": "in_reference"}
