"""The design's rules about who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "components", "trainer", "transform", "serving")
MAY_IMPORT = {
    "transform": set(),
    "trainer": {"transform"},
    "serving": {"transform"},
    # ServingValidator asks a real server through the client.
    "components": {"transform", "serving"},
    "pipeline": {"transform", "trainer", "serving", "components"},
}


def imported_packages(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        ours = set(imported_packages(file)) & set(PACKAGES) - {package}
        assert ours <= MAY_IMPORT[package], f"{file} imports {ours}"


def imported_modules(file):
    """Modules of ours that a file imports anywhere, in functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found = [node.module]
        else:
            continue
        yield from (name for name in found if name.split(".")[0] in (*PACKAGES, "benchmarks"))


@pytest.mark.parametrize("folder", [*PACKAGES, "benchmarks", "tests"])
def test_what_is_imported_late_is_there_too(folder):
    for file in (ROOT / folder).rglob("*.py"):
        for module in imported_modules(file):
            place = ROOT / module.replace(".", "/")
            there = place.with_suffix(".py").exists() or (place / "__init__.py").exists()
            assert there, f"{file} imports {module}"


def test_keras_3_is_nowhere_used():
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            assert "keras" not in set(imported_packages(file)), file
            assert "tf.keras" not in file.read_text(), file


def test_the_command_line_answers_without_waiting_for_tensorflow():
    look = "import sys, pipeline.cli; print('tensorflow' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"
