"""The sources of each step: all that its code imports, or a change would be served from the cache.

Imports are followed through our own packages, those inside of functions as well.
"""

import ast
import importlib.metadata
import sys
from pathlib import Path

import pytest

from pipeline.caching.code_version import EVERY_STEP
from pipeline.caching.step_sources import SOURCES, step_version

ROOT = Path(__file__).resolve().parents[3]
OURS = ("components", "pipeline", "serving", "trainer", "transform")

# Where the code of a step begins, if not in the folder of its component alone.
BEGINS = {
    "CTExampleGen": ("components/ct_example_gen",),
    "SliceValidator": ("components/slice_validator",),
    "Transform": ("transform/preprocessing.py",),
    "Trainer": ("trainer/run.py", "components/traceable_trainer"),
    "ShortcutProbes": ("components/shortcut_probes",),
    "SliceEvaluator": ("components/slice_evaluator",),
    "ModelCardGen": ("components/model_card_gen",),
    "ServingValidator": ("components/serving_validator", "serving/__main__.py"),
    "AtomicPusher": ("components/atomic_pusher",),
    "ReportGen": ("components/report_gen",),
}

# What every step imports, and what has no part in any results.
NOWHERE_A_PART = {
    # How TensorFlow is started, without which our code does not run.
    "transform/__init__.py",
    # A run that fails leaves nothing in the cache.
    "transform/errors.py",
}
WITHOUT_PART = {
    # Ingestion writes with these; who only reads the names of features does not call them.
    "Transform": {"transform/png16.py", "transform/slice_statistics.py"},
    "Trainer": {
        "transform/png16.py",
        "transform/slice_statistics.py",
        # They look models up, before the step.
        "components/baseline/strategy.py",
        "components/baseline/pushed_models.py",
        "components/baseline/rollback_record.py",
        # Whichever phantom a server is warmed up with, the model is the same.
        "transform/phantom",
    },
}
# Logging, commands, and bookkeeping; TFX pins the second half of its own.
PACKAGES_WITHOUT_PART = {
    "absl-py",
    "apache-beam",
    "ml-metadata",
    "ml-pipelines-sdk",
    "tensorflow-metadata",
    "threadpoolctl",
    "typer",
}
WITHOUT_PART_IN_TRAINING = {
    # Learning curves; an AUC; and how a request is written down.
    *("matplotlib", "scikit-learn", "grpcio", "tensorflow-serving-api"),
}


def imported(file):
    """Names of the modules that a file imports, wherever in it; of `from a import b` both."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            yield node.module
            yield from (f"{node.module}.{one.name}" for one in node.names)


def files_of(root, module):
    """The files that importing a module runs, packages first."""
    parts = module.split(".")
    if parts[0] not in OURS:
        return
    for length in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:length])
        yield from (one for one in (path / "__init__.py", path.with_suffix(".py")) if one.exists())


def closure(root, begins):
    """All files that some files and folders need, themselves among them."""
    waiting = [
        file
        for place in (root / one for one in begins)
        for file in (place.rglob("*.py") if place.is_dir() else [place])
    ]
    found = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += [other for module in imported(file) for other in files_of(root, module)]
    return found


def says_nothing(file):
    """Whether there is nothing in a file but a docstring."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in body)


def lies_in(name, places):
    return any(name == place or name.startswith(f"{place}/") for place in places)


def canonical(distribution):
    return distribution.lower().replace("_", "-")


def packages(files):
    """Distributions that files import from; of `google`, which many share, none."""
    owners = importlib.metadata.packages_distributions()
    tops = {module.split(".")[0] for file in files for module in imported(file)}
    # `_typeshed` is there for mypy alone.
    tops -= {*OURS, *sys.stdlib_module_names, "google", "_typeshed"}
    return {canonical(one) for top in tops for one in owners[top]}


@pytest.mark.parametrize("step", SOURCES)
def test_the_sources_of_a_step_are_all_that_its_code_imports(step):
    names = {
        file.relative_to(ROOT).as_posix()
        for file in closure(ROOT, BEGINS[step])
        if not says_nothing(file)
    }
    counted = {*SOURCES[step].places, *NOWHERE_A_PART, *WITHOUT_PART.get(step, ())}
    assert sorted(name for name in names if not lies_in(name, counted)) == []


@pytest.mark.parametrize("step", SOURCES)
def test_the_packages_of_a_step_are_all_that_its_code_imports(step):
    counted = {*EVERY_STEP, *SOURCES[step].packages, *PACKAGES_WITHOUT_PART}
    if step == "Trainer":
        counted |= WITHOUT_PART_IN_TRAINING
    assert sorted(packages(closure(ROOT, BEGINS[step])) - counted) == []


def test_what_draws_and_words_a_report_does_not_train_anew():
    training = SOURCES["Trainer"]
    assert not {"matplotlib", "jinja2", "markupsafe"} & {*EVERY_STEP, *training.packages}
    for place in ("components/report_gen", "components/model_card_gen", "components/run_facts"):
        assert not lies_in(f"{place}/any.py", training.places)


def test_an_import_inside_of_a_function_and_a_package_on_the_way_count(tmp_path):
    files = {
        "components/step/executor.py": "def do():\n    from serving.deep import inner\n",
        "serving/__init__.py": "import transform.outer\n",
        "serving/deep/inner.py": "import json\n",
        "serving/deep/unused.py": "import trainer.unused\n",
        "transform/outer.py": "",
        "trainer/unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {one.relative_to(tmp_path).as_posix() for one in closure(tmp_path, ["components"])}
    assert found == {name for name in files if "unused" not in name}


@pytest.mark.slow
def test_each_step_of_a_run_is_given_its_own_version():
    """That of another step would let it miss its own changes."""
    from pipeline.config import parse_config
    from pipeline.dag import Places, build_components
    from pipeline.ingest_settings import cluster_ingest_settings
    from trainer.weights import RANDOM_WEIGHTS

    config = parse_config({"model": {"backbone": "tiny", "weights": "none"}})
    places = Places(
        data="manifest.csv",
        fingerprint="da7a",
        key_fingerprint="0f-the-key",
        split_given=False,
        ingest=cluster_ingest_settings(config, "patient.key"),
        root="/work/pipeline",
        serving="/work/serving",
        schema="schema.pbtxt",
        findings_copy=None,
    )
    given = {
        type(step).__name__: step.exec_properties["code_version"]
        for step in build_components(config, places, RANDOM_WEIGHTS)
        if "code_version" in step.exec_properties
    }
    ours = SOURCES.keys() - {"Transform", "Trainer"}
    assert given == {name: step_version(name) for name in ours}
