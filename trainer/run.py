"""The run_fn that TFX's Trainer calls."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from absl import logging
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import pictures, training_checkpoint
from trainer.agreement import require_same_training
from trainer.augmentation import Augmentation
from trainer.centre import fitted_centre
from trainer.distribution import Devices, make_devices, place_in_cluster
from trainer.export import Decision, ServedModel
from trainer.fitting import FitSettings, fit
from trainer.flip_average import flip_averaged
from trainer.global_batch import GlobalBatch, scaled
from trainer.input import SplitFiles, training_epoch, validation_batches
from trainer.model import ModelSettings, Network, build_network
from trainer.trained_network import TrainedNetwork, is_trained
from trainer.validation import Rule, Validation
from trainer.warm_start import network_folder, save_network, starting_network
from trainer.weights import RANDOM_WEIGHTS
from transform.errors import CtnetError
from transform.package_versions import package_versions
from transform.tensorflow_errors import is_about_memory, is_about_peer, said_by
from transform.training_record import TrainingRecord

_MULTI_WORKER = "multi_worker"
_TPU = "tpu"

# What a collective operation raises where a peer ended, or was started again before that was seen.
_OF_A_LOST_WORKER = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


def _class_weight(negative: int, positive: int) -> dict[int, float]:
    """Weights that make both classes count the same and leave the mean weight at 1."""
    total = negative + positive
    return {0: total / (2.0 * negative), 1: total / (2.0 * positive)}


def _checkpoint_folder(
    config: Mapping[str, Any], parent: str | None, *splits: SplitFiles
) -> str | None:
    """The folder of this very training: the same configuration, parent and files find it again."""
    root = config["checkpoints"]
    if root is None:
        return None
    files = [
        (name, status.length, status.mtime_nsec)
        for split in splits
        for name in split.names
        for status in [tf.io.gfile.stat(name)]
    ]
    identity = json.dumps([config, parent, files], sort_keys=True)
    return f"{root}/{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


@contextlib.contextmanager
def _explaining_lost_devices(strategy: str, workers: int) -> Iterator[None]:
    """Say in one line that another worker ended, or that memory did.

    Args:
      strategy: `train.strategy`.
      workers: how many train together.

    Raises:
      CtnetError: one of both.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        # Disks and open files run out under the same class.
        if not is_about_memory(error):
            raise
        raise CtnetError(
            f"memory ran out in training ({said_by(error)}); lower train.batch_size or "
            "transform.image_size"
        ) from error
    except _OF_A_LOST_WORKER as error:
        unavailable = isinstance(error, tf.errors.UnavailableError)
        if workers == 1 and not (strategy == _TPU and unavailable):
            raise
        gone = "is gone" if unavailable or is_about_peer(error) else "seems to be gone"
        raise CtnetError(
            f"train.strategy: {strategy}: a worker {gone} ({said_by(error)}); start all of them "
            "again: training goes on from the last finished epoch"
        ) from error


def _on_one_device(network: Network, settings: ModelSettings, devices: Devices) -> Network:
    """The same network in float32 on this process's own device, to answer with and to export.

    All workers must take part, because BatchNorm's averages are read across them.
    """
    with devices.strategy.scope():
        weights = network.model.get_weights()
    plain = build_network(settings, RANDOM_WEIGHTS)
    plain.model.set_weights(weights)
    return plain


@dataclasses.dataclass(frozen=True)
class _Data:
    """What Transform left."""

    transform: tft.TFTransformOutput
    training: SplitFiles
    validation: SplitFiles

    @classmethod
    def of(cls, fn_args: FnArgs) -> _Data:
        transform = tft.TFTransformOutput(fn_args.transform_output)
        return cls(
            transform,
            SplitFiles(fn_args.train_files, transform),
            SplitFiles(fn_args.eval_files, transform),
        )

    def model_settings(self, config: Mapping[str, Any]) -> ModelSettings:
        centre = fitted_centre(self.transform, config["hu_min"])
        return ModelSettings(**config["model"], centre=centre)


def _is_chief(config: Mapping[str, Any]) -> bool:
    """Whether this is the worker that exports, before any device is looked for."""
    if config["strategy"] != _MULTI_WORKER:
        return True
    worker, _ = place_in_cluster(os.environ.get("TF_CONFIG", ""))
    return worker == 0


def _train(
    fn_args: FnArgs, data: _Data, devices: Devices, checkpoints: str | None
) -> TrainedNetwork:
    """The network that all workers come to, on each of them."""
    config: dict[str, Any] = fn_args.custom_config
    negative, positive = data.training.count_by_label()
    # Each worker may keep its checkpoints under another path, where it has begun none.
    told = [{**config, "checkpoints": None}, fn_args.base_model, negative, positive]
    with _explaining_lost_devices(config["strategy"], devices.workers):
        require_same_training(devices, json.dumps(told, sort_keys=True))
    per_class = config["examples_per_class"]
    epoch_slices = 2 * per_class if per_class else negative + positive
    batch = GlobalBatch.of(config["batch_size"], epoch_slices, devices)
    fit_settings = scaled(FitSettings(**config["fit"]), devices.replicas)
    logging.info(
        "a step takes %d slices: %d replicas with %d each; learning rate %g, that of one replica "
        "times their number",
        batch.slices,
        devices.replicas,
        batch.slices // devices.replicas,
        fit_settings.learning_rate,
    )
    model_settings = data.model_settings(config)
    with _explaining_lost_devices(config["strategy"], devices.workers), devices.scope():
        network = starting_network(
            model_settings,
            weights=config["weights"],
            base_model=fn_args.base_model,
            warm_start=config["warm_start"],
        )

    def training(epoch: int) -> tf.data.Dataset:
        return training_epoch(
            data.training,
            epoch=epoch,
            batch_size=batch.of_worker,
            augmentation=Augmentation(**config["augmentation"]),
            centre=model_settings.centre,
            per_class=per_class,
            seed=config["seed"],
            worker=devices.worker,
            workers=devices.workers,
        )

    weigh = config["class_weights"] and per_class is None
    with _explaining_lost_devices(config["strategy"], devices.workers):
        fitted = fit(
            network,
            training=training,
            validation=validation_batches(data.validation, batch.slices),
            steps=batch.steps,
            class_weight=_class_weight(negative, positive) if weigh else None,
            settings=fit_settings,
            devices=devices,
            checkpoints=checkpoints,
            tensorboard=f"{fn_args.model_run_dir}/tensorboard",
            seed=config["seed"],
        )
        plain = _on_one_device(network, model_settings, devices)
    return TrainedNetwork(plain, fitted, devices.replicas, batch.slices, fit_settings.learning_rate)


def _hand_over(
    trained: TrainedNetwork, settings: ModelSettings, devices: Devices, checkpoints: str
) -> None:
    """Let the workers end only when the chief can export without them.

    Raises:
      StorageError: the network cannot be written.
      CtnetError: the chief is gone before that.
    """
    if devices.workers == 1:
        # Who has trained alone goes on from the last epoch, with nobody to wait for.
        return
    if not devices.is_chief:
        with _explaining_lost_devices(_MULTI_WORKER, devices.workers):
            devices.of_all_workers(devices.worker)
        return
    trained.write(settings, checkpoints)
    try:
        devices.of_all_workers(devices.worker)
    except tf.errors.OpError:
        # Who is started again sees that training is over.
        logging.warning("another worker is gone; it is not needed any more")


def _export(fn_args: FnArgs, data: _Data, trained: TrainedNetwork) -> None:
    """Calibrate, choose the operating point, and write; the training record comes last."""
    config: dict[str, Any] = fn_args.custom_config
    settings = data.model_settings(config)
    plain, fitted = trained.network, trained.fitted
    model = flip_averaged(plain.model) if config["flip_average"] else plain.model
    rule = Rule(
        config["operating_point"],
        config["target_sensitivity"],
        config["resamples"],
        config["seed"],
    )
    with _explaining_lost_devices(config["strategy"], workers=1):
        validated = Validation.of(model, data.validation, trained.global_batch_size, rule)
    decision = Decision(validated.temperature, validated.point.threshold)
    ServedModel(
        plain,
        data.transform,
        decision,
        tuple(config["window"]),
        flip_average=config["flip_average"],
    ).save(fn_args.serving_model_dir)
    save_network(plain, settings, network_folder(fn_args.serving_model_dir))
    pictures.draw_learning_curves(fitted.records, fitted.kept).write(fn_args.model_run_dir)
    validated.draw(fn_args.model_run_dir)
    TrainingRecord(
        epochs=fitted.records,
        training_slices=data.training.count_by_label(),
        centre=settings.centre,
        temperature=validated.temperature,
        calibration_error=validated.calibration_error(),
        negative_log_likelihood=validated.negative_log_likelihood(),
        threshold=validated.point.threshold,
        operating_point=validated.point,
        validation=validated.figures(),
        seed=config["seed"],
        replicas=trained.replicas,
        global_batch_size=trained.global_batch_size,
        learning_rate=trained.learning_rate,
        resumed_from=fitted.resumed_from,
        warm_start=fn_args.base_model,
        versions=package_versions(),
        cautions=validated.cautions(),
        weights_fingerprint=None if fn_args.base_model else config["weights_fingerprint"],
        code_version=config["code_version"],
    ).write(fn_args.model_run_dir)


def run_fn(fn_args: FnArgs) -> None:
    """Fit, calibrate, choose the operating point, export.

    Under `train.strategy: multi_worker` every worker calls it, and only the chief writes. The
    others end when training does; a chief that is started again after that exports alone.

    `fn_args.custom_config` holds: `seed`; `hu_min`; `window`; `operating_point`,
    `target_sensitivity`, `resamples`; `strategy`, `tpu`, `mixed_precision`, `xla`; `batch_size` (of
    a replica); `examples_per_class`; `class_weights`; the fields of `ModelSettings` (all but
    `centre`) under `model`, of `FitSettings` under `fit` and of `Augmentation` under
    `augmentation`; `flip_average`; `weights`, which `trainer.weights.resolve_weights` takes, and
    `warm_start`, whether `fn_args.base_model` comes before them; `weights_fingerprint` and
    `code_version`, which the record has and which checkpoints belong to; and `checkpoints`, a
    folder that outlives the process, or None.

    Raises:
      ConfigError: weights that do not fit, devices that are not there, or workers that were told
        different things.
      BadDataError: training diverged.
      StorageError: a folder cannot be written to.
      CtnetError: a worker is gone, or memory ran out.
    """
    config: dict[str, Any] = fn_args.custom_config
    tf_keras.utils.set_random_seed(config["seed"])
    # A global seed of 0 makes TensorFlow look at the seeds of shuffles, which are tensors.
    tf.random.set_seed(config["seed"] + 1)
    data = _Data.of(fn_args)
    checkpoints = _checkpoint_folder(config, fn_args.base_model, data.training, data.validation)
    # Asked of the files alone: collective operations cannot be set up after any other.
    if checkpoints is not None and is_trained(checkpoints):
        if not _is_chief(config):
            return
        logging.info("all epochs are done; the export begins anew, for which no other is needed")
        tf.config.experimental.enable_op_determinism()
        trained = TrainedNetwork.read(data.model_settings(config), checkpoints)
        _export(fn_args, data, trained)
    else:
        devices = make_devices(
            config["strategy"],
            tpu=config["tpu"],
            mixed_precision=config["mixed_precision"],
            xla=config["xla"],
        )
        # A run is a function of its configuration and its input, on a GPU too.
        tf.config.experimental.enable_op_determinism()
        trained = _train(fn_args, data, devices, checkpoints)
        if checkpoints is not None:
            _hand_over(trained, data.model_settings(config), devices, checkpoints)
        if not devices.is_chief:
            return
        _export(fn_args, data, trained)
    if checkpoints is not None:
        training_checkpoint.clear(checkpoints)
