"""The configuration of a run: one YAML file, typed and checked once, here."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    model_validator,
)

from transform.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeInt = Annotated[int, Field(ge=0)]

_SET = "--set"


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _checked_span(value: Any) -> str:
    """A choice of spans; YAML reads `span: 7` as a number."""
    text = str(value) if not isinstance(value, bool) else ""
    if not re.fullmatch(r"newest|\d+|last:[1-9]\d*", text, re.ASCII):
        raise ValueError(f"{value!r} must be newest, the number of a span, or last:K")
    return text


def _checked_slices(value: Any) -> str:
    """A choice of a volume's slices."""
    if not re.fullmatch(r"all|(every|middle):[1-9]\d*", str(value), re.ASCII):
        raise ValueError(f"{value!r} must be all, every:N or middle:N")
    return str(value)


class HounsfieldConfig(Section):
    """What the grey levels of pictures that lost their Hounsfield units are taken for."""

    window: tuple[float, float] = Field(
        (-1000.0, 400.0), description="HU of black and of white in an 8-bit picture", strict=False
    )

    @model_validator(mode="after")
    def _window_is_ordered(self) -> HounsfieldConfig:
        if self.window[0] >= self.window[1]:
            raise ValueError("the window's first number (black) must be below its second (white)")
        return self


class IngestConfig(Section):
    """What is let in, and when a run stops over what was not."""

    max_quarantined: Fraction = Field(0.1, description="largest share of slices quarantined")
    root: str | None = Field(None, description="folder outside of which no file is read")
    span: Annotated[str, BeforeValidator(_checked_span)] = Field(
        "newest",
        description="where the data is a folder of span-N/manifest.csv: newest, a number, or "
        "last:K for a rolling window",
    )
    slices: Annotated[str, BeforeValidator(_checked_slices)] = Field(
        "all",
        description="which slices a folder or volume gives: all, every:N or middle:N",
    )
    min_lung_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="slices that show a smaller share of lung are left out"
    )
    on_marks: Literal["quarantine", "keep"] = Field(
        "quarantine", description="for slices with coloured marks drawn over them"
    )
    on_conflict: Literal["quarantine", "keep"] = Field(
        "quarantine", description="for the same picture under two labels"
    )
    on_leak: Literal["stop", "drop_from_train", "report"] = Field(
        "stop",
        description="for a patient, or one picture of several patients, in two splits of the "
        "manifest: stop the run; keep the group in the last of them (test, eval, train) and "
        "quarantine the rest; or only say so",
    )
    patient_ids: Literal["hash", "keep"] = Field(
        "hash", description="whether patient ids become keyed hashes before they go anywhere"
    )
    patient_key: str | None = Field(
        None,
        min_length=1,
        description="file with the key of the hashes; else the environment's CTNET_PATIENT_KEY, "
        "else WORKDIR/patient.key, made on first use",
    )


class AugmentationConfig(Section):
    """Random changes of slices, as in the paper; all off by default."""

    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = Field(0.0, description="degrees, +-")
    shift: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.0, description="share of the side, +-")
    flip: bool = Field(False, description="left to right")
    pad: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.0, description="zoom out by up to this share, filled with air"
    )
    zoom: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.0, description="zoom in by up to this")
    brightness: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.0, description="scaled HU, +-")
    contrast: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.0, description="factor 1 +-")


class AugmentedCopiesConfig(AugmentationConfig):
    """The paper's order of things: augment first, split then. Exists to reproduce its leak."""

    examples_per_class: PositiveInt = Field(
        5000,
        description="to which the slices of each class are multiplied; the first copy of a slice "
        "is the slice as it is",
    )


class SplitConfig(Section):
    """How slices are split where the manifest does not say it, or is not asked."""

    by: Literal["patient", "image"] = Field(
        "patient", description="image exists to reproduce the paper, and leaks patients"
    )
    train: OpenFraction = Field(0.7, description="share of the training split")
    eval: OpenFraction = Field(0.15, description="share of the validation split")
    test: OpenFraction = Field(0.15, description="share of the test split")
    ignore_manifest: bool = Field(
        False, description="draw the split also where the manifest gives one"
    )
    reference: str | None = Field(
        None,
        min_length=1,
        description="manifest whose slices are the test split, all of them and none else; the "
        "data is then train and eval only, without the patients and pictures of the reference",
    )
    augment_first: AugmentedCopiesConfig | None = Field(
        None,
        description="make augmented copies before the split, as the paper did; with by: image "
        "only, and still more of a leak",
    )

    @model_validator(mode="after")
    def _copies_are_split_by_image(self) -> SplitConfig:
        if self.augment_first is not None and self.by != "image":
            raise ValueError(
                "augment_first reproduces the paper and needs by: image; to augment the training "
                "split alone, use train.augmentation and train.examples_per_class"
            )
        return self

    @model_validator(mode="after")
    def _reference_is_of_other_patients(self) -> SplitConfig:
        if self.reference is not None and self.by != "patient":
            raise ValueError(
                "reference keeps its patients out of train and eval, and needs by: patient"
            )
        return self

    @model_validator(mode="after")
    def _shares_add_up(self) -> SplitConfig:
        total = self.train + self.eval + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train, eval and test must add up to 1, not {total:g}")
        return self


class TransformConfig(Section):
    """From Hounsfield units to the model's input (paper, section 3)."""

    hu_min: float = Field(-1000.0, description="HU that scales to 0; below is clipped")
    hu_max: float = Field(400.0, description="HU that scales to 1; above is clipped")
    zero_centre: Literal["fitted"] | float = Field(
        "fitted", description="the training split's mean, or a number (paper: 0.25)"
    )
    image_size: int = Field(224, ge=32, le=1024, description="side of the input, pixels")

    @model_validator(mode="after")
    def _range_is_ordered(self) -> TransformConfig:
        if self.hu_min >= self.hu_max:
            raise ValueError("hu_min must be below hu_max")
        return self


class ModelConfig(Section):
    """The network."""

    backbone: Literal["efficientnet-b3", "tiny"] = Field(
        "efficientnet-b3", description="tiny is a three-layer network for trying a pipeline"
    )
    weights: str = Field(
        "imagenet",
        min_length=1,
        description="imagenet, none, the path of a weights file, or last_blessed: all of the last "
        "blessed model of this workdir (imagenet where there is none)",
    )
    head: Literal["gap", "paper"] = Field(
        "gap", description="gap: global average pool; paper: 4 x 4 average pool, flatten, dense"
    )
    dropout: float = Field(0.3, ge=0.0, lt=1.0, description="before the logit, in the gap head")
    batch_norm: Literal["trainable", "frozen"] = Field(
        "trainable", description="whether fine-tuning updates BatchNorm"
    )
    batch_norm_momentum: OpenFraction | None = Field(
        None, description="of the moving averages; null keeps the backbone's 0.99"
    )
    flip_average: bool = Field(
        False,
        description="average the logits of a slice and of its mirror image, in the exported model "
        "too; an answer then takes twice as long",
    )


class TrainConfig(Section):
    """How the network is fitted."""

    epochs: PositiveInt = Field(30, description="of fine-tuning, at most")
    head_epochs: NonNegativeInt = Field(1, description="with the backbone frozen, first")
    batch_size: PositiveInt = Field(
        16, description="of each replica; a step takes as many times more as there are replicas"
    )
    learning_rate: PositiveFloat = Field(
        6e-4, description="peak, in fine-tuning, of one replica; multiplied by their number"
    )
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="factor of the rate from each stage of the backbone to the one below it"
    )
    frozen_stages: Annotated[int, Field(ge=0, le=8)] = Field(
        0, description="of the backbone, from its input, that fine-tuning leaves as they are"
    )
    weight_average: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0,
        description="share that a running average of the weights keeps at the end of each epoch; "
        "the average is what is validated and exported; 0 is off",
    )
    head_learning_rate: PositiveFloat = Field(1e-3, description="of the frozen phase (Adam)")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="of fine-tuning")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(1e-4, description="adamw only")
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="of the rate in fine-tuning; cosine falls to 0 after a warm-up"
    )
    warmup_epochs: float = Field(
        1.0, ge=0.0, description="of the cosine schedule; at most a quarter of the epochs"
    )
    label_smoothing: float = Field(
        0.0, ge=0.0, lt=1.0, description="how far targets are moved towards one half"
    )
    class_weights: bool = Field(
        True,
        description="weigh classes by their inverse frequency; with examples_per_class there are "
        "as many of each, and nothing to weigh",
    )
    early_stopping: NonNegativeInt = Field(
        8, description="epochs without a better validation AUC; 0 trains to the end"
    )
    examples_per_class: PositiveInt | None = Field(
        None, description="draw so many of each class an epoch (paper: 5000)"
    )
    augmentation: AugmentationConfig = AugmentationConfig()
    strategy: Literal["auto", "single", "mirrored", "multi_worker", "tpu"] = Field(
        "auto", description="tf.distribute; auto is mirrored where there are several GPUs"
    )
    tpu: str | None = Field(
        None, description="name or address of the TPU; null: TPU_NAME, else the local one"
    )
    mixed_precision: Literal["auto", "off"] = Field(
        "auto", description="auto: 16-bit arithmetic where the device gains by it, never on a CPU"
    )
    xla: Literal["auto", "off"] = Field(
        "auto",
        description="auto: compile the step on a single GPU, never on a CPU; a TPU always does",
    )


class MinimumConfig(Section):
    """What a figure must reach: itself, or the lower end of its 95 % interval.

    A number alone is short for `value`.
    """

    value: Fraction | None = Field(None, description="the figure itself must reach this")
    lower_bound: Fraction | None = Field(
        None,
        description="instead of value: the lower end of the figure's 95 % interval must reach this",
    )
    of: Literal["slices", "patients"] = Field(
        "slices", description="of which the figure is; a patient has the mean of their slices"
    )
    every_group_of: PositiveInt | None = Field(
        None,
        description="it must also hold in every group (sex, age band, source, calibrated or "
        "assumed HU) of at least so many patients; null: in the whole test split only",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> MinimumConfig:
        if (self.value is None) == (self.lower_bound is None):
            given = "not both" if self.value is not None else "one of both is needed"
            raise ValueError(f"give value or lower_bound, {given}")
        return self


SHORT_FORMS: dict[type[BaseModel], str] = {MinimumConfig: "value"}
"""Sections that may be given as a number, and the key that it is for."""


def _number_as_value(given: Any) -> Any:
    """The section that a number is short for."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return {SHORT_FORMS[MinimumConfig]: given} if is_number else given


Minimum = Annotated[MinimumConfig, BeforeValidator(_number_as_value)]


class GateConfig(Section):
    """What a model must reach on the test split to be pushed."""

    operating_point: Literal["sensitivity", "youden"] | OpenFraction = Field(
        "sensitivity",
        description="how the threshold is chosen on the validation split: sensitivity (reach "
        "target_sensitivity), youden (sensitivity + specificity at its highest), or the "
        "probability itself",
    )
    target_sensitivity: OpenFraction = Field(
        0.9,
        description="with operating_point: sensitivity, it is reached on the validation split",
    )
    resamples: PositiveInt = Field(
        1000, description="of the validation patients, from which the threshold is chosen"
    )
    min_sensitivity: Minimum = Field(
        MinimumConfig(value=0.8), description="on the test split; a number is short for value"
    )
    min_specificity: Minimum = Field(
        MinimumConfig(value=0.8), description="on the test split; a number is short for value"
    )
    max_regression: Fraction = Field(
        0.02, description="how much AUC may be lost against the last blessed model"
    )
    leak_alarm: Fraction | None = Field(
        0.98,
        description="accuracy on more than 50 test patients above which a model is refused as too "
        "good to be true, until --accept-leak-alarm; null: never",
    )
    shortcuts: Literal["report", "refuse"] = Field(
        "report",
        description="report: what the shortcut probes find is told; refuse: a model that tells "
        "the classes apart without the lungs, or that the probes can say nothing of, is not pushed",
    )


class EvaluateConfig(Section):
    """How the gate's figures are computed."""

    batch_size: PositiveInt = Field(16, description="slices an inference batch")
    resamples: PositiveInt = Field(
        1000, description="of the test patients, for the figures' 95 % intervals"
    )


class ProbesConfig(Section):
    """How the model is asked for what it sees beside the lungs."""

    slices: NonNegativeInt = Field(
        300,
        description="test slices that the shortcut probes alter and ask the model about, at most; "
        "0: no probes",
    )


class ServingConfig(Section):
    """What a model must do to be served."""

    max_latency_ms: PositiveFloat = Field(
        5000.0,
        description="how long a request of one slice may take, at the median, on the machine that "
        "runs the pipeline; a slower model is not pushed",
    )


class BeamConfig(Section):
    """What every Beam step is given."""

    args: list[str] = Field(
        ["--runner=FnApiRunner", "--direct_num_workers=1"],
        description="Beam pipeline options; the default is the in-process runner",
    )


class TrainerResources(Section):
    """What the Trainer asks a cluster for."""

    accelerator: str | None = Field(
        None,
        min_length=1,
        description="what the cluster calls it: nvidia.com/gpu or google.com/tpu on Kubernetes, "
        "NVIDIA_TESLA_T4 and the like on Vertex AI; null: none",
    )
    accelerators: PositiveInt = Field(1, description="how many of them, where there is a name")
    cpu: PositiveFloat | None = Field(None, description="cores; null: what the cluster gives")
    memory_gb: PositiveFloat | None = Field(
        None, description="10^9 bytes; null: what the cluster gives"
    )


class BeamResources(Section):
    """What each Beam step asks a cluster for."""

    cpu: PositiveFloat | None = Field(None, description="cores; null: what the cluster gives")
    memory_gb: PositiveFloat | None = Field(
        None, description="10^9 bytes; null: what the cluster gives"
    )


class KubeflowConfig(Section):
    """What `ctnet compile kubeflow` writes into the definition beside the steps."""

    home: str | None = Field(
        None,
        min_length=1,
        description="what outlives runs goes there (served versions, checkpoints, the record of "
        "what was accepted last, the key of patient ids): a folder that every step mounts, or a "
        "gs:// address; null: volume_path with a volume_claim, else --root",
    )
    volume_claim: str | None = Field(
        None,
        min_length=1,
        description="a Kubernetes volume claim that every step mounts; null: none",
    )
    volume_path: str = Field(
        "/mnt/ctnet", pattern=r"^/[^\s]+$", description="where the volume is mounted"
    )
    retries: NonNegativeInt = Field(2, description="of a step that failed")
    retry_seconds: PositiveInt = Field(
        60, description="before the first retry; twice as long before each further one"
    )
    trainer: TrainerResources = TrainerResources()
    beam: BeamResources = BeamResources()


class RetrainConfig(Section):
    """What `ctnet retrain` does beside running."""

    on_drift: Literal["stop", "warn"] = Field(
        "stop",
        description="where the data has drifted from what was accepted last: stop with exit code "
        "4, until --accept-drift; or only say so, as ctnet run does",
    )
    keep_versions: PositiveInt = Field(
        5,
        description="of the serving folder, the newest; with what a rollback to them takes",
    )
    keep_runs: PositiveInt = Field(
        5, description="the last that came to their end, whose artifacts stay, all of them"
    )
    keep: list[PositiveInt] = Field(
        [],
        description="numbers of versions that are kept however old, such as those that a server "
        "is pinned to; with what a rollback to them takes",
    )


class RunConfig(Section):
    """One run: what it is called, what it reads, where it works, and each step's settings."""

    name: str = Field(
        "ctnet",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="of the pipeline; runs of one name share cache and baseline",
    )
    data: str | None = Field(
        None, description="the manifest, or a folder of spans; --data overrides it"
    )
    workdir: str | None = Field(None, description="the run's folder; --workdir overrides it")
    seed: NonNegativeInt = Field(0, description="of weights, order and augmentation")
    hounsfield: HounsfieldConfig = HounsfieldConfig()
    ingest: IngestConfig = IngestConfig()
    split: SplitConfig = SplitConfig()
    transform: TransformConfig = TransformConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    gate: GateConfig = GateConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    probes: ProbesConfig = ProbesConfig()
    serving: ServingConfig = ServingConfig()
    beam: BeamConfig = BeamConfig()
    retrain: RetrainConfig = RetrainConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()

    @model_validator(mode="after")
    def _seed_has_32_bits(self) -> RunConfig:
        # NumPy takes no larger one, and would say so only when training begins.
        if self.seed >= 2**32:
            raise ValueError(f"seed: {self.seed} must be below 2**32 (4294967296)")
        return self

    @model_validator(mode="after")
    def _tiny_has_no_weights(self) -> RunConfig:
        if self.model.backbone == "tiny" and self.model.weights not in ("none", "last_blessed"):
            raise ValueError(
                "model.backbone: tiny has no pretrained weights; set model.weights: none, or "
                "last_blessed"
            )
        return self

    @model_validator(mode="after")
    def _tiny_has_three_stages(self) -> RunConfig:
        if self.model.backbone == "tiny" and self.train.frozen_stages > 3:
            raise ValueError("train.frozen_stages: model.backbone: tiny has 3 stages")
        return self

    @model_validator(mode="after")
    def _refusing_shortcuts_takes_probes(self) -> RunConfig:
        if self.gate.shortcuts == "refuse" and not self.probes.slices:
            raise ValueError(
                "gate.shortcuts: refuse needs the probes; set probes.slices above 0, or "
                "gate.shortcuts: report"
            )
        return self

    @model_validator(mode="after")
    def _head_fits_the_image(self) -> RunConfig:
        # The backbone's features are a 32nd of the image; the paper's head pools 4 x 4 of them.
        if self.model.head == "paper" and self.transform.image_size < 97:
            raise ValueError(
                "model.head: paper pools 4 x 4 features and needs transform.image_size >= 97"
            )
        return self


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class that a key holds, be it optional; None where it holds a value."""
    for part in get_args(annotation) or (annotation,):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _section_at(path: tuple[str, ...]) -> type[BaseModel] | None:
    """The section class under a path of keys, or None where there is none."""
    section: type[BaseModel] | None = RunConfig
    for key in path:
        field = section.model_fields.get(key) if section else None
        section = section_of(field.annotation) if field else None
    return section


def _say_unknown_key(path: tuple[str, ...]) -> str:
    section = _section_at(path[:-1]) or RunConfig
    known = list(section.model_fields)
    where = ".".join(path)
    near = difflib.get_close_matches(path[-1], known, n=1)
    if near:
        return f"{where}: no such key; did you mean {'.'.join([*path[:-1], near[0]])}?"
    return f"{where}: no such key; known here: {', '.join(known)}"


def _describe_expected(path: tuple[str, ...], message: str) -> str:
    """What would be right at a key, in words."""
    here = _section_at(path)
    if here in SHORT_FORMS:
        keys = here.model_fields
        limits = say_limits(get_args(keys[SHORT_FORMS[here]].annotation)[0])
        return f"must be a number {limits} or a section with keys {', '.join(keys)}"
    if here is not None:
        return f"must be a section with keys such as {next(iter(here.model_fields))}"
    section = _section_at(path[:-1])
    field = section.model_fields.get(path[-1]) if section and path else None
    if field is None:
        return message
    described = f" ({field.description})" if field.description else ""
    words, number = _words_of(field.annotation)
    if words and number:
        return f"must be {', '.join(words)} or {number}{described}"
    if words:
        return f"must be one of {', '.join(words)}{described}"
    return f"{message}{described}"


def _words_of(annotation: Any) -> tuple[list[str], str]:
    """The words that a key may hold, and which numbers instead of them, empty where none."""
    words: list[str] = []
    number = ""
    for part in [annotation] if get_origin(annotation) is Literal else get_args(annotation):
        if get_origin(part) is Literal:
            words += map(str, get_args(part))
        else:
            limits = say_limits(part)
            number = f"a number {limits}" if limits else "a number"
    return words, number


_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def say_limits(limited: Any) -> str:
    """The limits of a number, such as ">= 0, < 1": of a field, or of an annotated type."""
    if get_origin(limited) is Annotated:
        return ", ".join(filter(None, map(say_limits, get_args(limited)[1:])))
    return ", ".join(
        f"{sign} {getattr(one, name):g}"
        for one in getattr(limited, "metadata", ())
        for name, sign in _SIGNS.items()
        if getattr(one, name, None) is not None
    )


def _explain(error: pydantic.ValidationError) -> str:
    """One line for the first thing that is wrong, with the number of the others."""
    lines = []
    for problem in error.errors():
        path = tuple(str(part) for part in problem["loc"])
        # Members of a union and positions in a list stand behind the key; keep the key itself.
        while path and _section_at(path[:-1]) is None:
            path = path[:-1]
        if problem["type"] == "extra_forbidden":
            lines.append(_say_unknown_key(path))
            continue
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if problem["type"] == "value_error":
            lines.append(f"{'.'.join(path)}: {message}" if path else message)
            continue
        expected = _describe_expected(path, message)
        line = f"{'.'.join(path)}: {problem['input']!r} {expected}"
        if not any(known.startswith(f"{'.'.join(path)}:") for known in lines):
            lines.append(line)
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return lines[0] + more


def _set_key(values: dict[str, Any], assignment: str) -> None:
    """Apply one `a.b=c` to nested values; the right side is YAML."""
    key, equals, text = assignment.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"{_SET} {assignment}: write it as key=value, as in train.epochs=2")
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    if isinstance(value, str):
        value = _number_or_text(value)
    for depth, part in enumerate(path[:-1]):
        # An optional section that is off is written null.
        if values.get(part) is None:
            values[part] = {}
        child = values[part]
        here = _section_at(tuple(path[: depth + 1]))
        if here in SHORT_FORMS and not isinstance(child, dict):
            child = values[part] = {SHORT_FORMS[here]: child}
        if not isinstance(child, dict):
            raise ConfigError(
                f"{_SET} {assignment}: {'.'.join(path[: depth + 1])} is not a section"
            )
        values = child
    values[path[-1]] = value


def _number_or_text(text: str) -> float | str:
    """YAML 1.1 reads 5e-5 as text, which nobody means in a configuration."""
    try:
        return float(text) if "e" in text.lower() and text[:1] in "0123456789.+-" else text
    except ValueError:
        return text


def _numbers(value: Any) -> Any:
    """The same values with the numbers that YAML 1.1 takes for text."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return _number_or_text(value) if isinstance(value, str) else value


def _without_empty_sections(values: dict[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same values without the sections whose keys are all commented out, YAML's nulls."""
    kept = {}
    for key, value in values.items():
        here = (*path, str(key))
        if isinstance(value, dict):
            kept[key] = _without_empty_sections(value, here)
        elif value is not None or _section_at(here) is None:
            kept[key] = value
    return kept


def parse_config(values: dict[str, Any], assignments: list[str] | None = None) -> RunConfig:
    """Check the values of a configuration, after applying `--set` assignments to them.

    Raises:
      ConfigError: one line with the key's name and what would be right.
    """
    values = _without_empty_sections(_numbers(values))
    for assignment in assignments or []:
        _set_key(values, assignment)
    try:
        return RunConfig.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error)) from None


def load_config(path: Path, assignments: list[str] | None = None) -> RunConfig:
    """Read a configuration file and apply `--set key=value` assignments to it.

    Raises:
      ConfigError: one line that says what is wrong, where, and what would be right.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; configs/ has examples") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{path}: cannot be read as YAML: {line}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold keys and values, not a {type(values).__name__}")
    try:
        return parse_config(values, assignments)
    except ConfigError as error:
        said = str(error)
    if assignments and _is_right(values):
        # The file is not to blame.
        raise ConfigError(said if said.startswith(_SET) else f"{_SET}: {said}")
    raise ConfigError(f"{path}: {said}")


def _is_right(values: dict[str, Any]) -> bool:
    try:
        parse_config(values)
    except ConfigError:
        return False
    return True
