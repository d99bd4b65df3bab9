"""The gate: which figures TFMA computes, and which bounds decide the blessing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import tensorflow_model_analysis as tfma
from google.protobuf import wrappers_pb2
from tensorflow_model_analysis.proto import config_pb2

from components.slice_evaluator.model_names import BASELINE, CANDIDATE
from transform import ct_example, prediction

SENSITIVITY = "sensitivity"
SPECIFICITY = "specificity"
AUC = "auc"
AUC_CHANGE = "auc_change"

# TFMA's classes, and the names by which everyone knows their figures. Those at the operating
# point are of the model's own 0-or-1 decision, which any threshold between the two cuts rightly.
_AT_OPERATING_POINT = {
    SENSITIVITY: "Recall",
    SPECIFICITY: "Specificity",
    "ppv": "Precision",
    "npv": "NPV",
    "accuracy": "BinaryAccuracy",
    "f1": "F1Score",
}


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a model must reach on the test split.

    Attributes:
      min_sensitivity: share of positive slices decided positive.
      min_specificity: share of negative slices decided negative.
      max_regression: how much AUC may be lost against the baseline, where there is one.
    """

    min_sensitivity: float
    min_specificity: float
    max_regression: float


def _at_least(value: float) -> config_pb2.MetricThreshold:
    return config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(
            lower_bound=wrappers_pb2.DoubleValue(value=value)
        )
    )


def make_eval_config(bounds: Bounds, batch_size: int) -> config_pb2.EvalConfig:
    """TFMA's configuration for a gated evaluation through `serving_default`.

    Args:
      bounds: the thresholds.
      batch_size: slices an inference batch; raw slices are large.
    """
    model = {
        "signature_name": prediction.SERVING_DEFAULT,
        "label_key": ct_example.LABEL,
        "inference_batch_size": batch_size,
        "model_type": "tf_generic",
    }
    lower_bounds = {SENSITIVITY: bounds.min_sensitivity, SPECIFICITY: bounds.min_specificity}
    at_operating_point = [
        config_pb2.MetricConfig(
            class_name=class_name,
            config=json.dumps(
                {"name": name, ("threshold" if name == "accuracy" else "thresholds"): 0.5}
            ),
            threshold=_at_least(lower_bounds[name]) if name in lower_bounds else None,
        )
        for name, class_name in _AT_OPERATING_POINT.items()
    ]
    # TFMA wants the change to be above the bound, and no change is no regression.
    no_worse = config_pb2.GenericChangeThreshold(
        absolute=wrappers_pb2.DoubleValue(value=-bounds.max_regression - 1e-9),
        direction=config_pb2.MetricDirection.HIGHER_IS_BETTER,
    )
    auc = config_pb2.MetricConfig(
        class_name="AUC",
        config=json.dumps({"name": AUC}),
        threshold=config_pb2.MetricThreshold(change_threshold=no_worse),
    )
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(name=CANDIDATE, **model),
            config_pb2.ModelSpec(name=BASELINE, is_baseline=True, **model),
        ],
        slicing_specs=[config_pb2.SlicingSpec()],
        metrics_specs=[
            config_pb2.MetricsSpec(output_names=[prediction.PROBABILITY], metrics=[auc]),
            config_pb2.MetricsSpec(
                output_names=[prediction.DECISION],
                metrics=[
                    *at_operating_point,
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                ],
            ),
        ],
        options=config_pb2.Options(include_default_metrics=wrappers_pb2.BoolValue(value=False)),
    )


@dataclasses.dataclass(frozen=True)
class BoundResult:
    """One bound and how the model stands to it.

    Attributes:
      metric: whose bound it is.
      at_least: the bound.
      value: the figure.
      passed: TFMA's verdict.
    """

    metric: str
    at_least: float
    value: float
    passed: bool


@dataclasses.dataclass(frozen=True)
class GateResult:
    """What the evaluation of one model says.

    Attributes:
      metrics: figures by name, over the whole test split.
      bounds: every bound that applied.
    """

    metrics: dict[str, float]
    bounds: list[BoundResult]

    @property
    def passed(self) -> bool:
        """Whether every bound held."""
        return all(bound.passed for bound in self.bounds)


def _figures(result: tfma.EvalResult) -> dict[str, float]:
    """Figures of the overall slice by name."""
    overall = dict(result.slicing_metrics)[()]
    return {
        name: float(value["doubleValue"])
        for by_sub_key in overall.values()
        for values in by_sub_key.values()
        for name, value in values.items()
        # With a baseline TFMA adds what changed; the one change that is gated is ours to name.
        if "doubleValue" in value and not name.endswith("_diff")
    }


def read_gate(evaluation: Path, bounds: Bounds) -> GateResult:
    """Read figures and verdicts from an evaluation artifact's folder."""
    # TFMA leaves the name of a lone model out.
    candidate = tfma.load_eval_result(str(evaluation))
    models = [spec.name for spec in candidate.config.model_specs]
    baseline = None
    if BASELINE in models:
        candidate = tfma.load_eval_result(str(evaluation), model_name=CANDIDATE)
        baseline = _figures(tfma.load_eval_result(str(evaluation), model_name=BASELINE))
    metrics = _figures(candidate)
    failed = {
        failure.metric_key.name
        for per_slice in tfma.load_validation_result(str(evaluation)).metric_validations_per_slice
        for failure in per_slice.failures
    }
    results = [
        BoundResult(name, at_least, metrics[name], name not in failed)
        for name, at_least in (
            (SENSITIVITY, bounds.min_sensitivity),
            (SPECIFICITY, bounds.min_specificity),
        )
    ]
    if baseline is not None:
        change = metrics[AUC] - baseline[AUC]
        results.append(BoundResult(AUC_CHANGE, -bounds.max_regression, change, AUC not in failed))
    return GateResult(metrics, results)
