"""What each step's results come from besides its inputs: our code, and packages.

A change there runs the step anew. For the Trainer that is hours of training, so that its list
holds what decides what a model becomes, and nothing that only draws or words things.
"""

from __future__ import annotations

import dataclasses

from pipeline.caching.code_version import code_version


@dataclasses.dataclass(frozen=True)
class Sources:
    """What a step is made of.

    Attributes:
      places: files and folders of the distribution.
      packages: distributions beside those that every step counts in (see `code_version`).
    """

    places: tuple[str, ...]
    packages: tuple[str, ...] = ()


_LIMITS = "transform/augmentation_limits.py"
_EXAMPLE = ("transform/ct_example.py", "transform/png16.py", "transform/slice_statistics.py")
_READING = (_LIMITS, "transform/reading", "transform/pixel_limit.py", *_EXAMPLE)
_GRAPH = (
    "transform/preprocessing.py",
    "transform/hounsfield.py",
    "transform/pixel_limit.py",
    "transform/ct_example.py",
)
_EXPORT = (*_GRAPH, "transform/picture_graph.py", "transform/prediction.py")
_WHOLE_FILE = ("transform/whole_file.py", "transform/tensorflow_errors.py")
_RECORD = (
    "transform/training_record.py",
    "transform/package_versions.py",
    *_WHOLE_FILE,
)
_PROBES = (
    "components/shortcut_probes/artifact.py",
    "components/shortcut_probes/outcome.py",
)

# What every reader of the facts of a run reads.
_FACTS = (
    "components/run_facts",
    "components/slice_evaluator",
    "components/ct_example_gen",
    "components/traceable_trainer/origin.py",
    "components/slice_validator/span_statistics.py",
    "transform/prediction.py",
    "transform/printable.py",
    *_PROBES,
    *_RECORD,
    *_READING,
)

SOURCES = {
    "CTExampleGen": Sources(("components/ct_example_gen", *_READING)),
    "SliceValidator": Sources(("components/slice_validator", *_EXAMPLE)),
    "Transform": Sources(_GRAPH),
    "Trainer": Sources(("trainer", "components/traceable_trainer", _LIMITS, *_RECORD, *_EXPORT)),
    "ShortcutProbes": Sources(
        (
            "components/shortcut_probes",
            "components/slice_evaluator",
            *_RECORD,
            *_READING,
            *_EXPORT,
        ),
        ("scikit-learn",),
    ),
    "SliceEvaluator": Sources(
        (
            "components/slice_evaluator",
            *_WHOLE_FILE,
            *_PROBES,
            *_EXAMPLE,
            *_EXPORT,
        ),
        ("tensorflow-model-analysis",),
    ),
    "ModelCardGen": Sources(("components/model_card_gen", *_FACTS), ("jinja2",)),
    "ServingValidator": Sources(
        (
            "serving",
            "components/serving_validator",
            "components/slice_evaluator/predictions.py",
            *_WHOLE_FILE,
            *_READING,
            *_EXPORT,
        ),
        ("grpcio", "tensorflow-serving-api", "matplotlib"),
    ),
    "AtomicPusher": Sources(
        (
            "components/atomic_pusher",
            "components/model_card_gen/artifact.py",
            "components/object_storage",
        ),
    ),
    "ReportGen": Sources(
        (
            "components/report_gen",
            "components/model_card_gen",
            "components/serving_validator/outcome.py",
            "serving/overlay.py",
            "serving/patient.py",
            "serving/slice_result.py",
            *_FACTS,
            *_EXPORT,
        ),
        ("jinja2", "markupsafe", "matplotlib", "scikit-learn"),
    ),
}
"""By the class of the step; TFX's Transform and Trainer run code of ours, too."""


def step_version(step: str) -> str:
    """The code version of a step, one of `SOURCES`."""
    sources = SOURCES[step]
    return code_version(*sources.places, packages=sources.packages)
