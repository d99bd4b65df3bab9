"""One worker of a training on several machines: the Trainer's function on what Transform left.

TensorFlow sets up the connections between workers when it is first used in a process: nothing
here, and nothing that is imported here, may use it before `run_fn` does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.caching.step_sources import step_version
from pipeline.config import RunConfig
from pipeline.history.metadata_store import read_runs
from pipeline.run_folder.run_log import hushed
from pipeline.run_folder.workdir import Workdir
from trainer.weights import (
    LAST_BLESSED,
    BackboneWeights,
    resolve_weights,
    weights_without_blessed_model,
)
from transform.errors import ConfigError

if TYPE_CHECKING:
    from trainer.progress import TrainingProgress

STRATEGY = "multi_worker"
_TRANSFORM = "Transform"
_EXAMPLES, _GRAPH = "transformed_examples", "transform_graph"
_TF_CONFIG = "TF_CONFIG"
_REQUEST = "request.sha256"


@dataclasses.dataclass(frozen=True)
class Transformed:
    """What Transform left.

    Attributes:
      examples: folder of the transformed examples, with Split-train and Split-eval.
      graph: folder of the transform graph.
    """

    examples: Path
    graph: Path


@dataclasses.dataclass(frozen=True)
class WorkerRequest:
    """What a worker is asked for; the same on all of them.

    Attributes:
      config: checked.
      transformed: what to train on.
      out: gets `model`, `model_run` and, until training is over, `checkpoints`; on storage that
        all workers share.
      parent: an export to begin with, where `model.weights` is "last_blessed".
    """

    config: RunConfig
    transformed: Transformed
    out: Path
    parent: Path | None = None

    @property
    def model(self) -> Path:
        """The export, named as in the Trainer's artifact."""
        return self.out / "model" / "Format-Serving"

    @property
    def model_run(self) -> Path:
        """Training record, pictures and TensorBoard's logs."""
        return self.out / "model_run"

    def parent_fingerprint(self) -> str | None:
        """A hash of the files that a warm start reads, None without a parent."""
        if self.parent is None:
            return None
        with hushed():
            from trainer.warm_start import network_folder

        digest = hashlib.sha256()
        for path in sorted(Path(network_folder(str(self.parent))).glob("*")):
            with path.open("rb") as file:
                of_file = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name} {of_file}\n".encode())
        return digest.hexdigest()

    def identity(self, weights: BackboneWeights) -> str:
        """The same for a worker that is started again, and another for another training.

        Args:
          weights: resolved from `config.model.weights`.
        """
        files = [
            (str(path), path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(self.transformed.examples.glob("Split-*/*"))
        ]
        parts = [
            *(self.config.model_dump_json(), str(self.transformed), files),
            *(str(self.parent), self.parent_fingerprint()),
            # What a path names may be another file by now.
            weights.fingerprint,
            step_version("Trainer"),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class WorkerResult:
    """How a worker ended.

    Attributes:
      worker: its number; 0 is the one that wrote.
      workers: how many there were.
      model: the export.
      model_run: the training record's folder.
      before: whether the training was over already, so that nothing was left to do.
    """

    worker: int
    workers: int
    model: str
    model_run: str
    before: bool = False


def set_cluster(addresses: str | None, worker: int | None) -> None:
    """Set TF_CONFIG from options, where a platform has not set it.

    Args:
      addresses: HOST:PORT of every worker, joined by commas; None leaves TF_CONFIG as it is.
      worker: which of them this is, from 0.

    Raises:
      ConfigError: only one of both is given, TF_CONFIG is set too, or they cannot be meant.
    """
    if addresses is None and worker is None:
        return
    if addresses is None or worker is None:
        raise ConfigError("--workers and --worker belong together: give both, or set TF_CONFIG")
    if os.environ.get(_TF_CONFIG):
        raise ConfigError("--workers, and TF_CONFIG is set too; leave one of them out")
    several = [address.strip() for address in addresses.split(",")]
    for address in several:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ConfigError(f"--workers: {address!r} is no HOST:PORT")
    if len(set(several)) < len(several):
        raise ConfigError(f"--workers {addresses}: names one twice")
    if worker not in range(len(several)):
        raise ConfigError(f"--worker {worker}: --workers has 0 to {len(several) - 1}")
    os.environ[_TF_CONFIG] = json.dumps(
        {"cluster": {"worker": several}, "task": {"type": "worker", "index": worker}}
    )


def find_transformed(workdir: Path) -> Transformed:
    """What the newest run of a folder trained on, or would have.

    Args:
      workdir: a run's folder; it may be mounted elsewhere than where the run saw it.

    Raises:
      ConfigError: no run has begun there, or none got as far as that.
    """
    for run in reversed(read_runs(workdir)):
        examples, graph = run.output(_TRANSFORM, _EXAMPLES), run.output(_TRANSFORM, _GRAPH)
        if examples and graph:
            of_step = Workdir(workdir.resolve()).artifacts / _TRANSFORM
            return Transformed(
                of_step / _EXAMPLES / Path(examples.uri).name,
                of_step / _GRAPH / Path(graph.uri).name,
            )
    raise ConfigError(f"{workdir}: no run got through Transform here; run ctnet run first")


def train_as_worker(
    request: WorkerRequest,
    listener: Callable[[TrainingProgress], None],
    joining: Callable[[int, int], None],
) -> WorkerResult:
    """Train together with the other workers; the first of them exports.

    Args:
      request: what to train.
      listener: told of progress.
      joining: told which worker this is of how many, before it waits for the others.

    Raises:
      ConfigError: something of the request cannot be used, or the workers disagree.
      BadDataError: training diverged.
      CtnetError: another worker is gone, or a disk is full.
    """
    # What can be wrong is said before the libraries are waited for, and before the other workers
    # wait for this one.
    config = request.config
    if config.train.strategy not in ("auto", STRATEGY):
        raise ConfigError(
            f"train.strategy: {config.train.strategy}, but ctnet train-worker trains as "
            f"{STRATEGY}; set that or auto"
        )
    _require_files(request.transformed.graph / "transform_fn", "--transform-graph")
    wanted = config.model.weights
    if wanted == LAST_BLESSED and request.parent is None:
        raise ConfigError(
            f"model.weights: {LAST_BLESSED}: say which model with --parent, or give other weights"
        )
    if request.parent is not None:
        if wanted != LAST_BLESSED:
            raise ConfigError(f"--parent, but model.weights is {wanted}: set it to {LAST_BLESSED}")
        _require_files(request.parent, "--parent")
    weights = resolve_weights(weights_without_blessed_model(wanted, config.model.backbone))
    identity = request.identity(weights)
    over = _is_over(request, identity)

    with hushed():
        import tensorflow_transform as tft
        import tfx.v1  # noqa: F401 before everything that imports TFDV or TFMA
        from tfx.components.trainer.fn_args_utils import FnArgs

        from pipeline.dag import run_fn_config
        from trainer.distribution import place_in_cluster
        from trainer.progress import telling
        from trainer.run import run_fn
        from transform.ct_example import EVAL, TRAIN
        from transform.preprocessing import IMAGE
        from transform.whole_file import write_whole

    splits = {split: request.transformed.examples / f"Split-{split}" for split in (TRAIN, EVAL)}
    for folder in splits.values():
        _require_files(folder, "--examples")
    worker, workers = place_in_cluster(os.environ.get(_TF_CONFIG, ""))
    if over:
        if worker == 0:
            # Left by one that was stopped after its record was written.
            shutil.rmtree(request.out / "checkpoints", ignore_errors=True)
        return WorkerResult(
            worker, workers, str(request.model), str(request.model_run), before=True
        )
    graph = str(request.transformed.graph)
    size = tft.TFTransformOutput(graph).transformed_feature_spec()[IMAGE].shape[0]
    if size != config.transform.image_size:
        raise ConfigError(
            f"transform.image_size: {config.transform.image_size}, but {graph} makes images of "
            f"{size} px; give the configuration that the examples were made with"
        )
    if worker == 0:
        # Half of an export, from a worker that was stopped in it.
        shutil.rmtree(request.model, ignore_errors=True)
        write_whole(str(request.out / _REQUEST), identity.encode())
    joining(worker, workers)
    with telling(listener):
        run_fn(
            FnArgs(
                train_files=[str(splits[TRAIN] / "*")],
                eval_files=[str(splits[EVAL] / "*")],
                transform_output=graph,
                serving_model_dir=str(request.model),
                model_run_dir=str(request.model_run),
                base_model=None if request.parent is None else str(request.parent),
                custom_config={
                    **run_fn_config(config, weights),
                    "strategy": STRATEGY,
                    "checkpoints": str(request.out / "checkpoints"),
                    # Not read, but the workers compare it, and checkpoints belong to it.
                    "parent_fingerprint": request.parent_fingerprint(),
                },
            )
        )
    return WorkerResult(worker, workers, str(request.model), str(request.model_run))


def _is_over(request: WorkerRequest, identity: str) -> bool:
    """Whether this very training has come to its end, as the record, written last, tells.

    Raises:
      ConfigError: another one has.
    """
    if not (request.model / "saved_model.pb").exists():
        return False
    with hushed():
        from transform.training_record import FILE_NAME

    if not (request.model_run / FILE_NAME).exists():
        return False
    path = request.out / _REQUEST
    if path.is_file() and path.read_text() == identity:
        return True
    raise ConfigError(
        f"--out {request.out}: there is a model already, of another configuration or of other "
        "examples, weights or code; give another folder"
    )


def _require_files(folder: Path, option: str) -> None:
    if not folder.is_dir() or not any(folder.iterdir()):
        raise ConfigError(f"{option}: nothing is in {folder}; give a folder that holds it")
