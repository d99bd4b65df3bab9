"""The DAG: which steps a run has, and what flows between them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import tfx.v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import metadata
from tfx.utils import json_utils

from components.atomic_pusher.component import AtomicPusher
from components.baseline import statistics_strategy, strategy
from components.ct_example_gen.component import CTExampleGen
from components.ct_example_gen.manifest import ManifestFacts
from components.ct_example_gen.settings import IngestSettings
from components.last_accepted.component import LastAccepted
from components.last_accepted.record import MODEL, STATISTICS
from components.model_card_gen.component import ModelCardGen
from components.report_gen.component import ReportGen
from components.report_gen.step_times import FOLDER as STEP_TIMES
from components.run_facts.facts import RunSettings
from components.serving_validator.component import ServingValidator
from components.shortcut_probes.component import ShortcutProbes
from components.slice_evaluator.component import SliceEvaluator
from components.slice_evaluator.gate import Bounds, Minimum
from components.slice_validator.component import SliceValidator
from components.traceable_trainer import parent_strategy
from components.traceable_trainer.component import TraceableTrainer
from pipeline.caching.code_version import code_version
from pipeline.caching.step_sources import step_version
from pipeline.config import MinimumConfig, RunConfig
from pipeline.ingest_settings import key_of
from pipeline.leaks import describe_leaks
from pipeline.run_folder.workdir import Workdir
from pipeline.runners.beam_args import LOCAL_IMAGE, beam_args, ingestion_beam_args
from trainer.weights import LAST_BLESSED, NONE, BackboneWeights
from transform import ct_example
from transform.schema import SCHEMA_FILE

PREPROCESSING_FN = "transform.preprocessing.preprocessing_fn"
RUN_FN = "trainer.run.run_fn"
TRAINER_ID = "Trainer"
PARENT_ID = "Parent"
BASELINE_ID = "Baseline"
BASELINE_STATISTICS_ID = "BaselineStatistics"
LAST_ACCEPTED_FOLDER = "last_accepted"
"""Where below a cluster's root the record of what was accepted last is."""

_MODEL_FIELDS = ("backbone", "head", "dropout", "batch_norm", "batch_norm_momentum")
_TRAINER_FIELDS = (
    "strategy",
    "tpu",
    "mixed_precision",
    "xla",
    "batch_size",
    "examples_per_class",
    "class_weights",
)
_FIT_FIELDS = (
    "epochs",
    "head_epochs",
    "learning_rate",
    "layer_decay",
    "frozen_stages",
    "weight_average",
    "head_learning_rate",
    "optimizer",
    "weight_decay",
    "schedule",
    "warmup_epochs",
    "label_smoothing",
    "early_stopping",
)


def gate_bounds(config: RunConfig, *, accept_leak_alarm: bool = False) -> Bounds:
    """The gate's bounds of a configuration.

    Args:
      config: checked.
      accept_leak_alarm: a person looked for a leak and found none.
    """
    gate = config.gate
    return Bounds(
        min_sensitivity=_minimum(gate.min_sensitivity),
        min_specificity=_minimum(gate.min_specificity),
        max_regression=gate.max_regression,
        leak_alarm=gate.leak_alarm,
        accept_leak_alarm=accept_leak_alarm,
    )


def _minimum(minimum: MinimumConfig) -> Minimum:
    of_lower_end = minimum.lower_bound is not None
    at_least = minimum.lower_bound if of_lower_end else minimum.value
    # The configuration has checked that one of both is there.
    assert at_least is not None
    return Minimum(at_least, of_lower_end, minimum.of, minimum.every_group_of)


def _transform_config(config: RunConfig) -> dict[str, Any]:
    """What preprocessing_fn is given; the code version is there for the cache."""
    return {**config.transform.model_dump(), "code_version": step_version("Transform")}


def run_fn_config(config: RunConfig, weights: BackboneWeights) -> dict[str, Any]:
    """What run_fn needs to know of a configuration, but for where its checkpoints are."""
    train = config.train.model_dump()
    model = config.model.model_dump()
    gate = config.gate
    return {
        "seed": config.seed,
        "hu_min": config.transform.hu_min,
        "window": list(config.hounsfield.window),
        "operating_point": gate.operating_point,
        "target_sensitivity": gate.target_sensitivity,
        "resamples": gate.resamples,
        **{name: train[name] for name in _TRAINER_FIELDS},
        "model": {
            **{name: model[name] for name in _MODEL_FIELDS},
            "image_size": config.transform.image_size,
        },
        "flip_average": model["flip_average"],
        "fit": {**{name: train[name] for name in _FIT_FIELDS}, "batch_norm": model["batch_norm"]},
        "augmentation": train["augmentation"],
        "warm_start": model["weights"] == LAST_BLESSED,
        "weights": weights.path or NONE,
        # Other weights under the same path, or other code, are another training.
        "weights_fingerprint": weights.fingerprint,
        "code_version": step_version("Trainer"),
    }


def _trainer_config(config: RunConfig, places: Places, weights: BackboneWeights) -> dict[str, Any]:
    """What run_fn and the model's origin are made of, and what TFX's cache goes by."""
    return {
        **run_fn_config(config, weights),
        # TFX gives a training that begins anew other folders than the one that was killed.
        "checkpoints": f"{places.root}/{TRAINER_ID}/.checkpoints",
        "data_fingerprint": places.fingerprint,
    }


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a pipeline reads and writes; on a cluster these are addresses of object storage.

    Attributes:
      data: what to ingest: a manifest, or a folder of spans.
      fingerprint: of the manifests and their files, empty where they are not known beforehand.
      key_fingerprint: of the key of the patient ids, which ingestion depends on as well.
      split_given: whether the manifests give the split.
      ingest: what to do with what is found there.
      root: of the artifacts.
      serving: what a server is pointed at.
      schema: the curated schema's file.
      findings_copy: a folder that gets the quarantine, the near-duplicates and the leaks also
        when ingestion stops the run, or None.
    """

    data: str
    fingerprint: str
    key_fingerprint: str
    split_given: bool
    ingest: IngestSettings
    root: str
    serving: str
    schema: str
    findings_copy: str | None


def local_places(
    workdir: Workdir, data: Path, facts: ManifestFacts, settings: IngestSettings
) -> Places:
    """The places of a run on this machine."""
    return Places(
        data=str(data),
        fingerprint=facts.fingerprint,
        key_fingerprint=key_of(settings),
        split_given=facts.rows_with_split > 0,
        ingest=settings,
        root=str(workdir.artifacts),
        serving=str(workdir.serving),
        schema=_versioned_schema(workdir),
        findings_copy=str(workdir.root),
    )


def _versioned_schema(workdir: Workdir) -> str:
    """The schema under a path that changes with its text, because TFX's cache knows paths only."""
    version = code_version(f"transform/{SCHEMA_FILE.name}")
    copy = workdir.artifacts / "schema" / version / SCHEMA_FILE.name
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        unfinished = copy.with_suffix(".unfinished")
        shutil.copyfile(SCHEMA_FILE, unfinished)
        unfinished.replace(copy)
    return str(copy)


def build_components(
    config: RunConfig,
    places: Places,
    weights: BackboneWeights,
    *,
    local: bool = True,
    accept_leak_alarm: bool = False,
    refuse_drift: bool = False,
    rolled_back_from: Collection[int] = (),
) -> list[BaseNode]:
    """The steps of one run.

    Args:
      config: checked.
      places: what is read and written where.
      weights: resolved from `config.model.weights`.
      local: whether TFX's own metadata tell of earlier runs; on a cluster a record does.
      accept_leak_alarm: a person looked for a leak and found none.
      refuse_drift: stop where the data has drifted from what was accepted last.
      rolled_back_from: ids of the models that are not to be pushed again.
    """
    example_gen = CTExampleGen(
        data=places.data,
        input_fingerprint=places.fingerprint + places.key_fingerprint,
        code_version=step_version("CTExampleGen"),
        settings=places.ingest,
        findings_copy=places.findings_copy,
    )
    example_gen.with_beam_pipeline_args(ingestion_beam_args(config))
    examples = example_gen.outputs["examples"]
    # Open-source Kubeflow Pipelines runs no resolver, and no platform's could tell what passed.
    accepted = None if local else LastAccepted(folder=f"{places.root}/{LAST_ACCEPTED_FOLDER}")
    schema_gen = tfx.components.ImportSchemaGen(schema_file=places.schema)
    schema = schema_gen.outputs["schema"]
    statistics_gen = tfx.components.StatisticsGen(
        examples=examples, stats_options=statistics_options()
    )
    history: list[BaseNode] = [accepted] if accepted else [_baseline_statistics(statistics_gen)]
    validator = SliceValidator(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema,
        baseline_statistics=history[0].outputs[STATISTICS],
        refuse_drift=refuse_drift,
        code_version=step_version("SliceValidator"),
    )
    transform = tfx.components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn=PREPROCESSING_FN,
        custom_config=_transform_config(config),
        # The test split stays raw: the Evaluator asks the exported model about it.
        splits_config=tfx.proto.SplitsConfig(
            analyze=[ct_example.TRAIN], transform=[ct_example.TRAIN, ct_example.EVAL]
        ),
        disable_statistics=True,
    )
    transform.add_upstream_node(validator)
    transformed = transform.outputs["transformed_examples"]
    trainer_config = _trainer_config(config, places, weights)
    parents: list[BaseNode] = []
    if config.model.weights == LAST_BLESSED:
        parents = [accepted or _parent(transformed, trainer_config)]
    trainer = TraceableTrainer(
        run_fn=RUN_FN,
        examples=transformed,
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(splits=[ct_example.TRAIN]),
        eval_args=tfx.proto.EvalArgs(splits=[ct_example.EVAL]),
        # Only where it is asked for: whatever is blessed would change the key of the cache.
        base_model=parents[0].outputs[MODEL] if parents else None,
        custom_config=trainer_config,
    ).with_id(TRAINER_ID)
    model = trainer.outputs["model"]
    probes = []
    if config.probes.slices:
        shortcut_probes = ShortcutProbes(
            examples=examples,
            model=model,
            slices=config.probes.slices,
            code_version=step_version("ShortcutProbes"),
        )
        probes.append(shortcut_probes)
    baseline = accepted or tfx.dsl.Resolver(
        strategy_class=strategy.LastOtherBlessedModel,
        **{strategy.CANDIDATE: model},
        **_models_and_blessings(),
    ).with_id(BASELINE_ID)
    evaluator = SliceEvaluator(
        examples=examples,
        model=model,
        baseline_model=baseline.outputs[MODEL],
        schema=schema,
        # Only where they may refuse: they would change the key of the cache.
        probes=probes[0].outputs["probes"] if config.gate.shortcuts == "refuse" else None,
        example_splits=[ct_example.TEST],
        bounds=gate_bounds(config, accept_leak_alarm=accept_leak_alarm),
        resamples=config.evaluate.resamples,
        seed=config.seed,
        batch_size=config.evaluate.batch_size,
        code_version=step_version("SliceEvaluator"),
    )
    of_run = {
        "quarantine": example_gen.outputs["quarantine"],
        "model": model,
        "model_run": trainer.outputs["model_run"],
        "evaluation": evaluator.outputs["evaluation"],
        "blessing": evaluator.outputs["blessing"],
        "probes": probes[0].outputs["probes"] if probes else None,
        "settings": RunSettings(
            config.name,
            config.model_dump(mode="json"),
            describe_leaks(config, split_given=places.split_given),
        ),
    }
    model_card_gen = ModelCardGen(
        **of_run,
        statistics=statistics_gen.outputs["statistics"],
        code_version=step_version("ModelCardGen"),
    )
    serving_validator = ServingValidator(
        model=model,
        examples=examples,
        evaluation=evaluator.outputs["evaluation"],
        max_latency_ms=config.serving.max_latency_ms,
        window=config.hounsfield.window,
        code_version=step_version("ServingValidator"),
    )
    pusher = AtomicPusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_validator.outputs["blessing"],
        model_card=model_card_gen.outputs["model_card"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=places.serving)
        ),
        code_version=step_version("AtomicPusher"),
        rolled_back_from=rolled_back_from,
    )
    report_gen = ReportGen(
        **of_run,
        examples=examples,
        statistics=statistics_gen.outputs["statistics"],
        infra_blessing=serving_validator.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
        # On a cluster the platform shows how long steps take.
        step_times=f"{places.root}/{STEP_TIMES}" if local else None,
        code_version=step_version("ReportGen"),
    )
    return [
        example_gen,
        statistics_gen,
        schema_gen,
        *history,
        validator,
        transform,
        *(parents if local else []),
        trainer,
        *probes,
        *([baseline] if local else []),
        evaluator,
        model_card_gen,
        serving_validator,
        pusher,
        report_gen,
    ]


def build_pipeline(
    config: RunConfig,
    places: Places,
    weights: BackboneWeights,
    metadata_file: Path | None,
    *,
    accept_leak_alarm: bool = False,
    refuse_drift: bool = False,
    rolled_back_from: Collection[int] = (),
    image: str = LOCAL_IMAGE,
) -> tfx.dsl.Pipeline:
    """The pipeline of one run.

    Args:
      config: checked.
      places: what is read and written where.
      weights: resolved from `config.model.weights`.
      metadata_file: the SQLite store of a local run, None where the platform has its own.
      accept_leak_alarm: a person looked for a leak and found none.
      refuse_drift: stop where the data has drifted from what was accepted last.
      rolled_back_from: ids of the models that are not to be pushed again.
      image: of Beam workers that run in containers.
    """
    local = metadata_file is not None
    return tfx.dsl.Pipeline(
        # Kubeflow takes no underscore in a name.
        pipeline_name=config.name if local else config.name.replace("_", "-"),
        pipeline_root=places.root,
        components=build_components(
            config,
            places,
            weights,
            local=local,
            accept_leak_alarm=accept_leak_alarm,
            refuse_drift=refuse_drift,
            rolled_back_from=rolled_back_from,
        ),
        # On a cluster the manifest's content is not known here, and a stale result would pass.
        enable_cache=local,
        metadata_connection_config=(
            metadata.sqlite_metadata_connection_config(str(metadata_file)) if local else None
        ),
        beam_pipeline_args=beam_args(config, image),
    )


def _models_and_blessings() -> dict[str, tfx.dsl.Channel]:
    """All that runs of this name left."""
    artifacts = tfx.types.standard_artifacts
    return {
        strategy.MODEL: tfx.dsl.Channel(type=artifacts.Model),
        strategy.MODEL_BLESSING: tfx.dsl.Channel(type=artifacts.ModelBlessing),
    }


def _parent(examples: tfx.types.BaseChannel, trainer_config: dict[str, Any]) -> tfx.dsl.Resolver:
    """Finds the model that training begins with."""
    return tfx.dsl.Resolver(
        strategy_class=parent_strategy.LastBlessedParent,
        config={"custom_config": json_utils.dumps(trainer_config)},
        **{parent_strategy.EXAMPLES: examples},
        **_models_and_blessings(),
    ).with_id(PARENT_ID)


def _baseline_statistics(statistics_gen: BaseNode) -> tfx.dsl.Resolver:
    """Finds the statistics to compare a run's with."""
    artifacts = tfx.types.standard_artifacts
    return tfx.dsl.Resolver(
        strategy_class=statistics_strategy.LastOtherAcceptedStatistics,
        **{
            statistics_strategy.CANDIDATE: statistics_gen.outputs["statistics"],
            statistics_strategy.STATISTICS: tfx.dsl.Channel(type=artifacts.ExampleStatistics),
            statistics_strategy.ANOMALIES: tfx.dsl.Channel(type=artifacts.ExampleAnomalies),
        },
    ).with_id(BASELINE_STATISTICS_ID)


def statistics_options() -> Any:
    """Statistics over everything but the pixels, of each split and of each span in it."""
    import tensorflow_data_validation as tfdv  # must come after tfx
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.public.proto import slicing_spec_pb2

    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    names = [feature.name for feature in schema.feature if feature.name != ct_example.IMAGE]
    by_span = slicing_spec_pb2.SlicingSpec(feature_keys=[ct_example.SPAN])
    return tfdv.StatsOptions(
        feature_allowlist=names,
        slicing_config=slicing_spec_pb2.SlicingConfig(slicing_specs=[by_span]),
    )
