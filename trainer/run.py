"""The run_fn that TFX's Trainer calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from sklearn.metrics import roc_auc_score
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import calibration
from trainer.augmentation import Augmentation
from trainer.centre import fitted_centre
from trainer.distribution import make_strategy
from trainer.export import Decision, ServedModel
from trainer.fitting import FitSettings, fit
from trainer.input import SplitFiles, training_batches, validation_batches
from trainer.model import ModelSettings, build_network
from trainer.operating_point import choose_threshold
from trainer.weights import resolve_weights
from transform.errors import BadDataError
from transform.training_record import TrainingRecord


def _class_weight(negative: int, positive: int) -> dict[int, float]:
    """Weights that make both classes count the same and leave the mean weight at 1."""
    total = negative + positive
    return {0: total / (2.0 * negative), 1: total / (2.0 * positive)}


def _validation_logits(
    model: tf_keras.Model, batches: tf.data.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 [n] and labels int [n] of the validation split, in one pass."""
    logits, labels = [], []
    for image, label in batches:
        logits.append(model.predict_on_batch(image)[:, 0])
        labels.append(label.numpy()[:, 0].astype(int))
    return np.concatenate(logits), np.concatenate(labels)


def _at_threshold(
    probability: np.ndarray, labels: np.ndarray, threshold: float
) -> dict[str, float]:
    decided = probability >= threshold
    return {
        "sensitivity": float(decided[labels == 1].mean()),
        "specificity": float((~decided)[labels == 0].mean()),
        "auc": float(roc_auc_score(labels, probability)),
    }


def run_fn(fn_args: FnArgs) -> None:
    """Fit, calibrate, choose the operating point, export.

    `fn_args.custom_config` holds: `seed`; `hu_min`; `window`; `target_sensitivity`; `strategy`;
    `batch_size`; `examples_per_class`; `class_weights`; and the fields of `ModelSettings` (all but
    `centre`) under `model`, of `FitSettings` under `fit` and of `Augmentation` under
    `augmentation`; and `weights`, which `trainer.weights.resolve_weights` takes.

    Raises:
      ConfigError: weights that do not fit, or devices that are not there.
      BadDataError: training diverged.
    """
    config: dict[str, Any] = fn_args.custom_config
    tf_keras.utils.set_random_seed(config["seed"])
    # Before any other operation: collective ones cannot be set up later.
    strategy = make_strategy(config["strategy"])
    # A run is a function of its configuration and its input, on a GPU too.
    tf.config.experimental.enable_op_determinism()
    transform = tft.TFTransformOutput(fn_args.transform_output)
    centre = fitted_centre(transform, config["hu_min"])
    train_files = SplitFiles(fn_args.train_files, transform)
    negative, positive = train_files.count_by_label()
    per_class = config["examples_per_class"]
    drawn = 2 * per_class if per_class else negative + positive
    # A batch larger than the epoch would leave the epoch without any.
    batch_size = min(config["batch_size"], drawn)
    train = training_batches(
        train_files,
        batch_size=batch_size,
        augmentation=Augmentation(**config["augmentation"]),
        centre=centre,
        balanced=per_class is not None,
        seed=config["seed"],
    )
    validation = validation_batches(SplitFiles(fn_args.eval_files, transform), batch_size)

    with strategy.scope():
        network = build_network(
            ModelSettings(**config["model"], centre=centre), resolve_weights(config["weights"])
        )
    epochs = fit(
        network,
        train=train,
        validation=validation,
        steps=drawn // batch_size,
        endless=per_class is not None,
        class_weight=(
            _class_weight(negative, positive)
            if config["class_weights"] and per_class is None
            else None
        ),
        settings=FitSettings(**config["fit"]),
        strategy=strategy,
    )

    logits, labels = _validation_logits(network.model, validation)
    if not np.isfinite(logits).all():
        raise BadDataError(
            "training diverged (the network's answers are not finite); lower train.learning_rate"
        )
    temperature = calibration.fit_temperature(logits, labels)
    probability = calibration.probabilities(logits, temperature)
    threshold = choose_threshold(probability, labels, config["target_sensitivity"])

    ServedModel(
        network.model, transform, Decision(temperature, threshold), tuple(config["window"])
    ).save(fn_args.serving_model_dir)
    TrainingRecord(
        epochs=epochs,
        training_slices=(negative, positive),
        centre=centre,
        temperature=temperature,
        calibration_error=(
            calibration.expected_calibration_error(calibration.probabilities(logits, 1.0), labels),
            calibration.expected_calibration_error(probability, labels),
        ),
        threshold=threshold,
        validation=_at_threshold(probability, labels, threshold),
    ).write(fn_args.model_run_dir)
