"""TFMA's configuration: which models are asked through what, and which metric is computed."""

from __future__ import annotations

import json

from google.protobuf import wrappers_pb2
from tensorflow_model_analysis.proto import config_pb2

from components.slice_evaluator import patient_figures
from components.slice_evaluator.extractors import GROUP_FEATURE
from components.slice_evaluator.groups import GROUPINGS
from components.slice_evaluator.model_names import BASELINE, CANDIDATE
from transform import ct_example, prediction


def make_eval_config(*, resamples: int, seed: int, batch_size: int) -> config_pb2.EvalConfig:
    """TFMA's configuration for an evaluation through `serving_default`, overall and by group.

    Args:
      resamples: of the patients, for the intervals.
      seed: of the resamples.
      batch_size: slices an inference batch; raw slices are large.
    """
    model = {
        "signature_name": prediction.SERVING_DEFAULT,
        "label_key": ct_example.LABEL,
        "inference_batch_size": batch_size,
        "model_type": "tf_generic",
    }
    figures = config_pb2.MetricConfig(
        class_name=patient_figures.PatientFigures.__name__,
        module=patient_figures.__name__,
        config=json.dumps({"resamples": resamples, "seed": seed}),
    )
    # TFX leaves a blessing only where TFMA has a threshold. This one asks for one slice; what
    # decides is `gate.judge`, which knows intervals, patients, groups and pairs, as TFMA does not.
    something = config_pb2.MetricConfig(
        class_name="ExampleCount",
        threshold=config_pb2.MetricThreshold(
            value_threshold=config_pb2.GenericValueThreshold(
                lower_bound=wrappers_pb2.DoubleValue(value=1.0)
            )
        ),
    )
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(name=CANDIDATE, **model),
            config_pb2.ModelSpec(name=BASELINE, is_baseline=True, **model),
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(
                config_pb2.SlicingSpec(feature_keys=[f"{GROUP_FEATURE}{grouping}"])
                for grouping in GROUPINGS
            ),
        ],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[figures, something])],
        options=config_pb2.Options(include_default_metrics=wrappers_pb2.BoolValue(value=False)),
    )
