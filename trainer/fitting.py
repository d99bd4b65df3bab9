"""Fitting in two phases: the head on a frozen backbone, then everything."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras

from trainer.agreement import require_same_epoch
from trainer.backbone_stages import cost_of_a_step, freeze_stages
from trainer.distribution import Devices
from trainer.dropout import dropout_generators, reset_generators
from trainer.layer_rates import LayerwiseAdam, rate_factors
from trainer.model import Network
from trainer.progress import PhaseClock, PhaseProgress
from trainer.tensorboard_logs import TensorBoardLogs
from trainer.training_checkpoint import TrainingCheckpoints, TrainingState
from trainer.weight_average import running_average
from transform.errors import BadDataError
from transform.training_record import EpochRecord

HEAD = "head"
FINE_TUNING = "fine-tuning"
VALIDATION_AUC = "val_auc"
LEARNING_RATE = "learning_rate"


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How the network is fitted; `pipeline.config.TrainConfig` says what each number means."""

    epochs: int
    head_epochs: int
    learning_rate: float
    head_learning_rate: float
    optimizer: str
    weight_decay: float
    schedule: str
    warmup_epochs: float
    label_smoothing: float
    early_stopping: int
    batch_norm: str
    layer_decay: float
    frozen_stages: int
    weight_average: float


class WarmupCosine(tf_keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to a peak, then half a cosine down to zero."""

    def __init__(self, peak: float, warmup_steps: int, total_steps: int):
        super().__init__()
        self._peak = peak
        self._warmup_steps = warmup_steps
        self._total_steps = total_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The rate at a step, float32 []."""
        step = tf.cast(step, tf.float32)
        warmup = (step + 1.0) / max(self._warmup_steps, 1)
        after = (step - self._warmup_steps) / max(self._total_steps - self._warmup_steps, 1)
        cosine = 0.5 * (1.0 + tf.cos(3.141592653589793 * tf.clip_by_value(after, 0.0, 1.0)))
        return self._peak * tf.where(step < self._warmup_steps, warmup, cosine)

    def get_config(self) -> dict[str, float]:
        """Arguments that make the same schedule again."""
        return {
            "peak": self._peak,
            "warmup_steps": self._warmup_steps,
            "total_steps": self._total_steps,
        }


def _optimizer(
    network: Network, settings: FitSettings, steps: int, xla: bool
) -> tf_keras.optimizers.Optimizer:
    rate: float | WarmupCosine = settings.learning_rate
    if settings.schedule == "cosine":
        # A short run keeps most of its steps for learning.
        warmup = min(round(settings.warmup_epochs * steps), settings.epochs * steps // 4)
        rate = WarmupCosine(settings.learning_rate, warmup, settings.epochs * steps)
    decay = settings.weight_decay if settings.optimizer == "adamw" else 0.0
    if settings.layer_decay < 1.0:
        factors = rate_factors(network.model, network.backbone, settings.layer_decay)
        return LayerwiseAdam(rate, factors, decay, jit_compile=xla)
    if settings.optimizer == "adamw":
        return tf_keras.optimizers.AdamW(rate, weight_decay=decay, jit_compile=xla)
    return tf_keras.optimizers.Adam(rate, jit_compile=xla)


def _weighed(batches: tf.data.Dataset, class_weight: dict[int, float]) -> tf.data.Dataset:
    """The same batches, each slice with its weight.

    tf_keras takes no class_weight for batches that are dealt to several workers.
    """

    def weigh(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        positive = tf.reshape(label, [-1]) > 0.5
        return image, label, tf.where(positive, class_weight[1], class_weight[0])

    return batches.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What came of a training.

    Attributes:
      records: the learning curves, with the epochs of processes before this one. `metrics` are
        loss, auc and accuracy, the same with `val_`, and learning_rate (that of the last step).
      kept: the position in `records` of the epoch whose weights the network has.
      resumed_from: finished epochs, of both phases, that were taken from checkpoints; None where
        training began at the beginning.
    """

    records: list[EpochRecord]
    kept: int
    resumed_from: int | None


def _epochs_since_best(records: list[EpochRecord]) -> int:
    """Fine-tuning epochs after the best one, which is the first of equal ones."""
    scores = [one.metrics[VALIDATION_AUC] for one in records if one.phase == FINE_TUNING]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


class _Fitting:
    """One training under way."""

    def __init__(
        self,
        network: Network,
        training: Callable[[int], tf.data.Dataset],
        validation: tf.data.Dataset,
        steps: int,
        settings: FitSettings,
        devices: Devices,
        seed: int,
        checkpoints: TrainingCheckpoints | None,
        tensorboard: str | None,
    ):
        self._network = network
        self._model = network.model
        self._training = training
        self._validation = devices.validation_input(validation)
        self._steps = steps
        self._settings = settings
        self._devices = devices
        self._seed = seed
        self._dropout = dropout_generators(network)
        self._checkpoints = checkpoints
        self.state = checkpoints.read() if checkpoints else TrainingState()
        self._found = len(self.state.records)
        self._logs = TensorBoardLogs(tensorboard, self.state.records) if tensorboard else None

    @property
    def resumed_from(self) -> int | None:
        """Epochs that a checkpoint was found after, None without one."""
        return self._found or None

    @property
    def _going_on(self) -> bool:
        """Whether a checkpoint was found, and nothing was done since."""
        return 0 < self._found == len(self.state.records)

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Give the network these weights, on all devices."""
        with self._devices.strategy.scope():
            self._model.set_weights(weights)

    def _compile(self, phase: str) -> None:
        with self._devices.scope():
            # tf_keras compiles each variable's update on a GPU unless told otherwise.
            xla = self._devices.jit_compile
            if phase == HEAD:
                self._network.freeze_backbone()
                optimizer = tf_keras.optimizers.Adam(
                    self._settings.head_learning_rate, jit_compile=xla
                )
            else:
                self._network.thaw_backbone(self._settings.batch_norm)
                freeze_stages(self._network.backbone, self._settings.frozen_stages)
                optimizer = _optimizer(self._network, self._settings, self._steps, xla)
            self._model.compile(
                optimizer=optimizer,
                loss=tf_keras.losses.BinaryCrossentropy(
                    from_logits=True, label_smoothing=self._settings.label_smoothing
                ),
                metrics=[
                    tf_keras.metrics.AUC(name="auc", from_logits=True),
                    tf_keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
                ],
                jit_compile=self._devices.jit_compile,
            )
            # All its variables now, so that a checkpoint can be restored into them.
            self._model.optimizer.build(self._model.trainable_variables)

    def run(self, phase: str, epochs: int, later_steps: float = 0.0) -> bool:
        """Do what is left of a phase.

        Args:
          phase: HEAD or FINE_TUNING.
          epochs: of the phase.
          later_steps: of the phases after it, in steps of this one.

        Returns:
          Whether the weights are still finite.
        """
        records = self.state.records
        # Once a phase: TensorFlow makes its graph anew.
        self._compile(phase)
        if self._checkpoints and self._going_on:
            optimizer = self._model.optimizer if records[-1].phase == phase else None
            self._checkpoints.restore(self._model.weights, optimizer)
        done = sum(record.phase == phase for record in records)
        clock = PhaseClock(epochs - done, self._steps, later_steps)
        progress = PhaseProgress(phase, epochs, self._steps, clock)
        for epoch in range(done + 1, epochs + 1):
            if self._out_of_patience():
                break
            progress.begin_epoch(epoch, resumed=self._going_on)
            weights, metrics = self._train(progress)
            # TerminateOnNaN says so.
            diverged = self._model.stop_training
            validated = weights
            if phase == FINE_TUNING and self._settings.weight_average:
                validated = self.state.average = running_average(
                    self.state.average, weights, self._settings.weight_average
                )
            metrics |= self._validate(validated)
            if validated is not weights:
                self.set_weights(weights)
            records.append(EpochRecord(phase, epoch, metrics))
            if diverged:
                progress.end_epoch(metrics)
                return False
            if phase == FINE_TUNING and _epochs_since_best(records) == 0:
                self.state.best = validated if self._settings.early_stopping else None
            if self._checkpoints:
                self._checkpoints.save(self.state, self._model.weights, self._model.optimizer)
            if self._logs:
                self._logs.write(records[-1])
            progress.end_epoch(metrics)
        return True

    def _out_of_patience(self) -> bool:
        patience = self._settings.early_stopping
        return bool(patience) and _epochs_since_best(self.state.records) >= patience

    def _train(self, progress: PhaseProgress) -> tuple[list[np.ndarray], dict[str, float]]:
        """One epoch; the weights and the figures after it."""
        number = len(self.state.records)
        reset_generators(self._dropout, self._seed, number)
        history = self._model.fit(
            self._devices.training_input(self._training(number)),
            steps_per_epoch=self._steps,
            callbacks=[progress, tf_keras.callbacks.TerminateOnNaN()],
            verbose=0,
        ).history
        metrics = {name: float(values[-1]) for name, values in history.items()}
        rate = tf_keras.backend.get_value(self._model.optimizer.learning_rate)
        with self._devices.strategy.scope():
            return self._model.get_weights(), {**metrics, LEARNING_RATE: float(rate)}

    def _validate(self, weights: list[np.ndarray]) -> dict[str, float]:
        # Where replicas each have their own, this also gives them the mean of their BatchNorm
        # statistics: the same that a checkpoint would.
        self.set_weights(weights)
        figures = self._model.evaluate(self._validation, return_dict=True, verbose=0)
        return {f"val_{name}": float(value) for name, value in figures.items()}


def fit(
    network: Network,
    *,
    training: Callable[[int], tf.data.Dataset],
    validation: tf.data.Dataset,
    steps: int,
    class_weight: dict[int, float] | None,
    settings: FitSettings,
    devices: Devices,
    checkpoints: str | None = None,
    tensorboard: str | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit the network, from the beginning or from where a process before this one was stopped.

    It ends with the weights of its best epoch where there is early stopping, else with those of
    the last; with a running average, its are meant. The same arguments give the same weights,
    whether training was stopped in between or not.

    Args:
      network: built under `devices.scope()`, after this module was imported.
      training: the batches that this worker takes in an epoch, for all its replicas together, of
        a fixed size; epochs count from 0 through both phases.
      validation: batches of the validation split, the same on all workers.
      steps: batches of an epoch.
      class_weight: weight of each class in the loss, or None.
      settings: how.
      devices: what it computes on.
      checkpoints: a folder that all workers can read, for the state after each epoch, and for
        this training alone; None for none. `trainer.training_checkpoint.clear` removes it.
      tensorboard: a folder for logs, None for none.
      seed: of dropout.

    Returns:
      The learning curves, and which epoch's weights the network has.

    Raises:
      BadDataError: training diverged: its loss is no longer finite.
      ConfigError: the backbone has too few stages, or the workers would go on from different
        epochs.
      StorageError: a folder cannot be written to.
    """

    def batches_of(epoch: int) -> tf.data.Dataset:
        batches = training(epoch)
        return _weighed(batches, class_weight) if class_weight else batches

    fingerprint = json.dumps(
        {
            "settings": dataclasses.asdict(settings),
            "steps": steps,
            "class_weight": class_weight,
            "replicas": devices.replicas,
            "precision": devices.precision,
            "seed": seed,
            "weights": [weight.shape.as_list() for weight in network.model.weights],
        }
    )
    saved = None
    if checkpoints:
        own_folder = devices.own_folder(checkpoints)
        saved = TrainingCheckpoints(checkpoints, own_folder, fingerprint)
    fitting = _Fitting(
        network,
        batches_of,
        validation,
        steps,
        settings,
        devices,
        seed,
        saved,
        tensorboard if devices.is_chief else None,
    )
    state = fitting.state
    require_same_epoch(devices, len(state.records), checkpoints)
    finite = True
    if len(state.records) < settings.head_epochs:
        # Steps of the head phase do not go back through the backbone.
        cost = cost_of_a_step(network.backbone, settings.frozen_stages)
        later_steps = cost * settings.epochs * steps
        finite = fitting.run(HEAD, settings.head_epochs, later_steps)
    if finite:
        finite = fitting.run(FINE_TUNING, settings.epochs)
    if not finite:
        raise BadDataError(
            f"training diverged (the loss of {state.records[-1].phase} epoch "
            f"{state.records[-1].epoch} is not finite); lower train.learning_rate"
        )
    kept = state.average if state.best is None else state.best
    if kept is not None:
        fitting.set_weights(kept)
    behind = 0 if state.best is None else _epochs_since_best(state.records)
    return Fitted(state.records, len(state.records) - 1 - behind, fitting.resumed_from)
