"""What every Beam step is given: the configuration's options, and where workers find ctnet."""

from __future__ import annotations

import contextlib
import difflib
import enum
import io
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import RunConfig
from transform.errors import ConfigError

LOCAL_IMAGE = "ctnet"
"""What deploy/Dockerfile's image is called where it was built; in-process workers need none."""

IN_PROCESS = ("--runner=FnApiRunner", "--direct_num_workers=1")
"""For jobs whose files are on this machine alone, whatever `beam.args` says of the others."""

WORKER_PLUGIN = "--beam_plugin=tfx.v1"
"""A worker in a process of its own must import TFX before TFDV and TFMA, as steps do."""

_CODE_OPTIONS = (
    "--extra_package",
    "--setup_file",
    "--requirements_file",
    "--worker_harness_container_image",
    "--sdk_container_image",
)
_RUNNER = "--runner="
_DOCS = "docs/beam.md has examples"


class Engine(enum.Enum):
    """Where a Beam runner has its workers."""

    IN_PROCESS = "in the process of the step"
    JOB_SERVER = "behind a job server: Flink, Spark"
    DATAFLOW = "in Google Cloud"


_ENGINES = {
    "": Engine.IN_PROCESS,
    "bundlebasedirect": Engine.IN_PROCESS,
    "direct": Engine.IN_PROCESS,
    "fnapi": Engine.IN_PROCESS,
    "switchingdirect": Engine.IN_PROCESS,
    "prism": Engine.JOB_SERVER,
    "flink": Engine.JOB_SERVER,
    "portable": Engine.JOB_SERVER,
    "spark": Engine.JOB_SERVER,
    "dataflow": Engine.DATAFLOW,
}


def _runner(args: Sequence[str]) -> str:
    """The last `--runner` as it is written, empty where there is none."""
    named = [one.removeprefix(_RUNNER) for one in args if one.startswith(_RUNNER)]
    return named[-1] if named else ""


def engine(args: Sequence[str]) -> Engine:
    """Where the workers are.

    Args:
      args: Beam pipeline options, each as `--name=value`.

    Raises:
      ConfigError: the runner is none that ctnet knows.
    """
    runner = _runner(args)
    try:
        return _ENGINES[runner.lower().removesuffix("runner")]
    except KeyError:
        raise ConfigError(
            f"beam.args: --runner={runner} is not known; FnApiRunner, FlinkRunner, SparkRunner, "
            f"PortableRunner, PrismRunner and DataflowRunner are ({_DOCS})"
        ) from None


def beam_args(config: RunConfig, image: str = LOCAL_IMAGE) -> list[str]:
    """The options, always with one that says where a worker's code comes from.

    Where none is given, TFX packs itself up anew for each step: a second, and 50 MB in the
    temporary folder that nobody removes. A worker needs ctnet as well, and the image has both.

    Args:
      config: checked.
      image: of workers that run in containers.

    Raises:
      ConfigError: the runner is none that ctnet knows.
    """
    given = list(config.beam.args)
    if engine(given) is not Engine.IN_PROCESS and WORKER_PLUGIN not in given:
        given.append(WORKER_PLUGIN)
    if any(option.startswith(_CODE_OPTIONS) for option in given):
        return given
    return [*given, f"--sdk_container_image={image}"]


def ingestion_beam_args(config: RunConfig) -> list[str]:
    """What CTExampleGen is given after the options of all steps; of two, Beam takes the last.

    It reads manifests and slices through paths. Workers of Flink and Spark can mount what these
    lie on, those of Dataflow cannot, so that there the ingestion stays in the step's process and
    only the other steps leave it.

    Raises:
      ConfigError: the runner is none that ctnet knows.
    """
    return list(IN_PROCESS) if engine(config.beam.args) is Engine.DATAFLOW else []


def _parse(args: Sequence[str]) -> tuple[dict[str, object], set[str]]:
    """The values of the options that Beam knows, and the names of those that it does not.

    Raises:
      ConfigError: a value cannot be one.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    told = io.StringIO()
    try:
        # Beam's parser prints its complaint and leaves the process.
        with contextlib.redirect_stderr(told):
            options = PipelineOptions(list(args))
            known = options.get_all_options()
            everything = options.get_all_options(retain_unknown_options=True)
    except SystemExit:
        lines = told.getvalue().strip().splitlines() or ["Beam cannot read them"]
        complaint = lines[-1].partition("error: ")[2] or lines[-1]
        raise ConfigError(f"beam.args: {complaint} ({_DOCS})") from None
    return known, set(everything) - set(known)


def _check_names(args: Sequence[str], kind: Engine) -> dict[str, object]:
    for one in args:
        if not one.startswith("--"):
            raise ConfigError(f"beam.args: {one!r} is no option; write each as --name=value")
    known, unknown = _parse(args)
    for name in sorted(unknown):
        near = difflib.get_close_matches(name, known, n=1)
        # A job server has options of its own, which only it can tell.
        if near or kind is not Engine.JOB_SERVER:
            hint = f"; did you mean --{near[0]}?" if near else f" ({_DOCS})"
            raise ConfigError(f"beam.args: Beam has no option --{name}{hint}")
    return known


def _check_beams_own(args: Sequence[str], kind: Engine) -> None:
    """What Beam itself would say at the first step, said before it.

    Raises:
      ConfigError: options are missing, or do not go together.
    """
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
    from apache_beam.runners.runner import create_runner

    # So told, it asks no bucket of Google's about its policies.
    options = PipelineOptions([*args, "--dry_run=True"])
    validator = PipelineOptionsValidator(options, create_runner(_runner(args) or "Direct"))
    if kind is Engine.DATAFLOW:
        # Where neither can be used, Beam would make a bucket while it validates.
        places = options.view_as(GoogleCloudOptions)
        wrong = [
            validator.validate_gcs_path(places, name)
            for name in ("temp_location", "staging_location")
        ]
        if all(wrong):
            raise ConfigError(
                "beam.args: Dataflow needs a bucket for temporary files; give "
                f"--temp_location=gs://BUCKET/FOLDER ({_DOCS})"
            )
    errors = validator.validate()
    if errors:
        raise ConfigError(f"beam.args: {' '.join(' '.join(errors).split())} ({_DOCS})")


def _environment(args: Sequence[str], known: dict[str, object]) -> str:
    """Where a job server's workers run, as Beam's runners choose it where nothing is said."""
    given = str(known["environment_type"] or "").upper()
    if given:
        return given
    runner = _runner(args).lower().removesuffix("runner")
    own_cluster = {
        "flink": known["flink_master"] in ("[local]", "[auto]"),
        "spark": str(known["spark_master_url"]).startswith("local"),
        "prism": True,
    }
    # A job endpoint does not change what the runner makes of its master.
    return "LOOPBACK" if own_cluster.get(runner, False) else "DOCKER"


def _names_an_image(known: dict[str, object]) -> bool:
    options = known["environment_options"] or []
    assert isinstance(options, list)
    return bool(known["environment_config"]) or any(
        str(one).startswith("docker_container_image=") for one in options
    )


def check_beam_args(config: RunConfig, *, workdir: Path | None = None) -> None:
    """Say what is wrong with the options before a step starts; imports Beam.

    Args:
      config: checked.
      workdir: the folder on this machine that the steps write to; None where they write to an
        address that all workers reach.

    Raises:
      ConfigError: an option is unknown or cannot have its value, options are missing, or workers
        would find neither ctnet nor the data.
    """
    args = list(config.beam.args)
    kind = engine(args)
    known = _check_names(args, kind)
    _check_beams_own(args, kind)
    runner = _runner(args)
    in_containers = kind is Engine.JOB_SERVER and _environment(args, known) == "DOCKER"
    if in_containers and not _names_an_image(known):
        raise ConfigError(
            f"beam.args: the workers of {runner} would run in Beam's own image, which has no "
            "ctnet; give --environment_type=DOCKER and --environment_config=IMAGE with an image "
            f"of deploy/Dockerfile, or another environment ({_DOCS})"
        )
    if kind is Engine.DATAFLOW and workdir is not None:
        raise ConfigError(
            f"beam.args: the workers of {runner} cannot reach {workdir}, a folder of this machine; "
            "Dataflow is for compiled pipelines whose root is on object storage, and for ctnet run "
            f"there are Flink and Spark on shared storage ({_DOCS})"
        )
