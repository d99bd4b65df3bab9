"""Fitting in two phases: the head on a frozen backbone, then everything."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
import tf_keras

from trainer.model import Network
from trainer.progress import ProgressCallback
from transform.training_record import EpochRecord

HEAD = "head"
FINE_TUNING = "fine-tuning"
VALIDATION_AUC = "val_auc"


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


def _optimizer(settings: FitSettings, steps: int) -> tf_keras.optimizers.Optimizer:
    rate: float | WarmupCosine = settings.learning_rate
    if settings.schedule == "cosine":
        # A short run keeps most of its steps for learning.
        warmup = min(round(settings.warmup_epochs * steps), settings.epochs * steps // 4)
        rate = WarmupCosine(settings.learning_rate, warmup, settings.epochs * steps)
    if settings.optimizer == "adamw":
        return tf_keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    return tf_keras.optimizers.Adam(rate)


def _compile(
    network: Network, optimizer: tf_keras.optimizers.Optimizer, settings: FitSettings
) -> None:
    network.model.compile(
        optimizer=optimizer,
        loss=tf_keras.losses.BinaryCrossentropy(
            from_logits=True, label_smoothing=settings.label_smoothing
        ),
        metrics=[
            tf_keras.metrics.AUC(name="auc", from_logits=True),
            tf_keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
        ],
        # XLA takes a CPU step from 2 s to 35 s.
        jit_compile=False,
    )


def _fit_phase(
    network: Network,
    phase: str,
    epochs: int,
    steps: int,
    endless: bool,
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    class_weight: dict[int, float] | None,
    callbacks: list[tf_keras.callbacks.Callback],
) -> list[EpochRecord]:
    history = network.model.fit(
        train,
        epochs=epochs,
        steps_per_epoch=steps if endless else None,
        validation_data=validation,
        class_weight=class_weight,
        callbacks=[ProgressCallback(phase, epochs, steps), *callbacks],
        verbose=0,
    ).history
    return [
        EpochRecord(phase, epoch + 1, {name: float(history[name][epoch]) for name in history})
        for epoch in range(len(history["loss"]))
    ]


def fit(
    network: Network,
    *,
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    steps: int,
    endless: bool = False,
    class_weight: dict[int, float] | None,
    settings: FitSettings,
    strategy: tf.distribute.Strategy,
) -> list[EpochRecord]:
    """Fit the network; with early stopping it ends with the weights of its best epoch.

    Args:
      network: built under `strategy`.
      train: batches of one epoch.
      validation: batches of the validation split.
      steps: batches of an epoch.
      endless: whether `train` goes on beyond an epoch; then each phase is one pass through it.
      class_weight: weight of each class in the loss, or None.
      settings: how.
      strategy: whose devices are used.

    Returns:
      The learning curves.
    """
    records: list[EpochRecord] = []
    if settings.head_epochs:
        with strategy.scope():
            network.freeze_backbone()
            _compile(network, tf_keras.optimizers.Adam(settings.head_learning_rate), settings)
        records += _fit_phase(
            network, HEAD, settings.head_epochs, steps, endless, train, validation, class_weight, []
        )
    with strategy.scope():
        network.thaw_backbone(settings.batch_norm)
        _compile(network, _optimizer(settings, steps), settings)
    callbacks: list[tf_keras.callbacks.Callback] = [tf_keras.callbacks.TerminateOnNaN()]
    if settings.early_stopping:
        callbacks.append(
            tf_keras.callbacks.EarlyStopping(
                monitor=VALIDATION_AUC,
                mode="max",
                patience=settings.early_stopping,
                restore_best_weights=True,
            )
        )
    records += _fit_phase(
        network,
        FINE_TUNING,
        settings.epochs,
        steps,
        endless,
        train,
        validation,
        class_weight,
        callbacks,
    )
    return records
