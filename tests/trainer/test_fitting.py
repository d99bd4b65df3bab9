"""Fitting the network, on the tiny backbone."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer import run
from trainer.augmentation import Augmentation
from trainer.distribution import make_devices
from trainer.fitting import FitSettings, WarmupCosine, fit
from trainer.input import training_epoch, validation_batches
from trainer.model import ModelSettings, build_network
from trainer.progress import telling
from trainer.weights import BackboneWeights
from transform.ct_example import EVAL
from transform.errors import BadDataError, ConfigError

SETTINGS = FitSettings(
    epochs=1,
    head_epochs=0,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    optimizer="adam",
    weight_decay=0.0,
    schedule="constant",
    warmup_epochs=0.0,
    label_smoothing=0.0,
    early_stopping=0,
    batch_norm="trainable",
    layer_decay=1.0,
    frozen_stages=0,
    weight_average=0.0,
)
STEPS = 5


@dataclasses.dataclass
class Fitted:
    """A fitted network, its learning curves, and its weights after each epoch."""

    network: object
    records: list
    after_epoch: list
    backbone_before: list


def invert(image, label):
    return image, 1.0 - label


def spoil(image, label):
    return image, label * math.nan


def fit_tiny(study, *, seed=7, class_weight=None, inverted=False, spoiled_from=None, **settings):
    tf_keras.utils.set_random_seed(seed)
    network = build_network(
        ModelSettings(
            backbone="tiny",
            head="gap",
            dropout=0.2,
            batch_norm="trainable",
            batch_norm_momentum=0.5,
            image_size=32,
            centre=study.centre,
        ),
        BackboneWeights(None, "none"),
    )

    def training(epoch):
        batches = training_epoch(
            study.files(),
            epoch=epoch,
            batch_size=4,
            augmentation=Augmentation(flip=True, rotation=5.0),
            centre=study.centre,
            per_class=None,
            seed=seed,
        )
        spoiled = spoiled_from is not None and epoch >= spoiled_from
        return batches.map(spoil) if spoiled else batches

    validation = validation_batches(study.files(EVAL), 4)
    after_epoch = []

    def listen(progress):
        if progress.finished:
            after_epoch.append(network.model.get_weights())

    backbone_before = network.backbone.get_weights()
    with telling(listen):
        records = fit(
            network,
            training=training,
            validation=validation.map(invert) if inverted else validation,
            steps=STEPS,
            class_weight=class_weight,
            settings=dataclasses.replace(SETTINGS, **settings),
            devices=make_devices("single"),
            seed=seed,
        ).records
    return Fitted(network, records, after_epoch, backbone_before)


def assert_equal_weights(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def differ(first, second):
    return any((one != other).any() for one, other in zip(first, second, strict=True))


def test_the_rate_rises_to_its_peak_and_falls_along_half_a_cosine_to_zero():
    rate = WarmupCosine(peak=0.8, warmup_steps=4, total_steps=12)
    wanted = [0.2, 0.4, 0.6, 0.8]
    wanted += [0.4 * (1.0 + math.cos(math.pi * step / 8.0)) for step in range(9)]
    wanted += [0.0]  # beyond the end
    found = [float(rate(tf.constant(step))) for step in range(14)]
    assert found == pytest.approx(wanted, abs=1e-6)
    again = WarmupCosine(**rate.get_config())
    assert float(again(2)) == pytest.approx(0.6)


def test_without_a_warm_up_the_rate_begins_at_its_peak():
    rate = WarmupCosine(peak=1.0, warmup_steps=0, total_steps=2)
    assert [float(rate(step)) for step in range(3)] == pytest.approx([1.0, 0.5, 0.0], abs=1e-6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(study):
    settings = {"epochs": 2, "optimizer": "adamw", "schedule": "cosine"}
    first, second = (fit_tiny(study, **settings) for _ in range(2))
    assert_equal_weights(first.network.model.get_weights(), second.network.model.get_weights())
    assert first.records == second.records
    # The rate follows the epochs and steps that there really are.
    schedule = first.network.model.optimizer.get_config()["learning_rate"]["config"]
    assert schedule == {"peak": 1e-2, "warmup_steps": 0, "total_steps": 2 * STEPS}
    assert isinstance(first.network.model.optimizer, tf_keras.optimizers.AdamW)
    other = fit_tiny(study, seed=8, **settings)
    assert differ(first.network.model.get_weights(), other.network.model.get_weights())


def test_the_head_phase_leaves_the_backbone_as_it_was_and_fine_tuning_does_not(study):
    fitted = fit_tiny(study, head_epochs=1)
    assert [(one.phase, one.epoch) for one in fitted.records] == [("head", 1), ("fine-tuning", 1)]
    in_model = len(fitted.backbone_before)
    after_head = fitted.after_epoch[0][:in_model]
    assert_equal_weights(after_head, fitted.backbone_before)
    assert differ(fitted.after_epoch[1][:in_model], fitted.backbone_before)


def test_early_stopping_ends_with_the_weights_of_the_best_epoch(study):
    """Validation with inverted labels gets worse as training goes on."""
    fitted = fit_tiny(study, epochs=12, early_stopping=2, inverted=True)
    scores = [one.metrics["val_auc"] for one in fitted.records]
    best = int(np.argmax(scores))
    assert len(scores) == best + 1 + 2 < 12
    assert_equal_weights(fitted.network.model.get_weights(), fitted.after_epoch[best])
    assert differ(fitted.after_epoch[best], fitted.after_epoch[-1])


def test_the_best_epoch_also_counts_where_training_is_not_stopped_early(study):
    fitted = fit_tiny(study, epochs=3, early_stopping=10, inverted=True)
    scores = [one.metrics["val_auc"] for one in fitted.records]
    assert len(scores) == 3
    best = int(np.argmax(scores))
    assert best < 2
    assert_equal_weights(fitted.network.model.get_weights(), fitted.after_epoch[best])


def test_without_early_stopping_the_last_epoch_counts(study):
    fitted = fit_tiny(study, epochs=3, inverted=True)
    assert len(fitted.records) == 3
    assert_equal_weights(fitted.network.model.get_weights(), fitted.after_epoch[-1])
    # Three epochs are one phase, and a phase is one graph.
    assert fitted.network.model.train_tf_function.experimental_get_tracing_count() == 1


@pytest.mark.slow
def test_of_epochs_that_validate_equally_well_the_first_counts(study):
    """Steps that change the weights, but not the order of any two slices."""
    fitted = fit_tiny(study, epochs=9, early_stopping=2, learning_rate=1e-7, batch_norm="frozen")
    scores = [one.metrics["val_auc"] for one in fitted.records]
    assert len(set(scores)) == 1
    assert len(scores) == 3
    assert differ(fitted.after_epoch[0], fitted.after_epoch[1])
    assert_equal_weights(fitted.network.model.get_weights(), fitted.after_epoch[0])


@pytest.mark.slow
def test_the_running_average_is_what_is_validated_and_what_is_left(study):
    fitted = fit_tiny(study, epochs=3, weight_average=0.75)
    first, second, third = fitted.after_epoch
    wanted = [
        0.75 * (0.75 * one + 0.25 * two) + 0.25 * three
        for one, two, three in zip(first, second, third, strict=True)
    ]
    found = fitted.network.model.get_weights()
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert differ(found, third)
    validation = validation_batches(study.files(EVAL), 4)
    again = fitted.network.model.evaluate(validation, return_dict=True, verbose=0)
    assert again["loss"] == pytest.approx(fitted.records[-1].metrics["val_loss"], rel=1e-5)


def test_frozen_stages_stay_as_they_are_and_the_lower_of_the_others_learn_more_slowly(study):
    fitted = fit_tiny(study, frozen_stages=1, layer_decay=0.01, learning_rate=1e-3)
    after = fitted.network.backbone.get_weights()
    # A stage of the tiny backbone: a kernel, and four variables of BatchNorm.
    assert_equal_weights(after[:5], fitted.backbone_before[:5])
    moved = [np.abs(after[place] - fitted.backbone_before[place]).max() for place in (5, 10)]
    # A step of Adam is about as long as the rate.
    assert moved == pytest.approx([STEPS * 1e-5, STEPS * 1e-3], rel=0.5)


def test_more_frozen_stages_than_there_are_is_one_line(study):
    with pytest.raises(ConfigError, match=r"train\.frozen_stages: 4, but .* has 3 stages"):
        fit_tiny(study, frozen_stages=4)


@pytest.mark.slow
def test_a_class_with_all_the_weight_pulls_every_slice_to_its_side(study):
    """Of the head alone, whose features are not negative; fine-tuning is held still."""
    image, _ = next(iter(validation_batches(study.files(EVAL), 12)))
    for_positive, for_negative = (
        fit_tiny(
            study, class_weight={label: 1.0, 1 - label: 0.0}, head_epochs=1, learning_rate=1e-12
        ).network.model(image, training=False)
        for label in (1, 0)
    )
    assert (for_positive.numpy() > for_negative.numpy() + 0.01).all()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        # 12 negative and 8 positive slices: each class weighs 10, the mean is 1.
        ({}, {0: 10 / 12, 1: 10 / 8}),
        ({"class_weights": False}, None),
        # The draw balances the classes already.
        ({"examples_per_class": 4}, None),
    ],
)
def test_class_weights_balance_the_classes_unless_the_draw_does(
    study, monkeypatch, changes, wanted
):
    class ToldEnoughError(Exception):
        pass

    told = {}

    def not_fitted(_, **arguments):
        told.update(arguments)
        raise ToldEnoughError

    monkeypatch.setattr(run, "fit", not_fitted)
    config = {
        "seed": 1,
        "hu_min": -1000.0,
        "batch_size": 4,
        "examples_per_class": None,
        "class_weights": True,
        "strategy": "single",
        "tpu": None,
        "mixed_precision": "off",
        "xla": "off",
        "augmentation": {},
        "weights": "none",
        "warm_start": False,
        "checkpoints": None,
        "model": {
            "backbone": "tiny",
            "head": "gap",
            "dropout": 0.0,
            "batch_norm": "trainable",
            "batch_norm_momentum": None,
            "image_size": 32,
        },
        "fit": dataclasses.asdict(SETTINGS),
        **changes,
    }
    arguments = run.FnArgs(
        train_files=study.patterns["train"],
        eval_files=study.patterns["eval"],
        transform_output=str(study.folder),
        custom_config=config,
    )
    with pytest.raises(ToldEnoughError):
        run.run_fn(arguments)
    assert told["class_weight"] == (pytest.approx(wanted) if wanted else None)
    assert sum(1 for _ in told["training"](0)) == told["steps"]


def test_training_that_diverges_after_a_good_epoch_is_an_error_and_no_model_of_that_epoch(study):
    with pytest.raises(BadDataError, match="the loss of fine-tuning epoch 2 is not finite"):
        fit_tiny(study, head_epochs=0, epochs=4, early_stopping=3, spoiled_from=1)
