"""Training end to end, as TFX's Trainer calls it, with the tiny backbone."""

import copy
import dataclasses
import json
import math

import pytest
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import run
from trainer.distribution import MIXED_BFLOAT16, make_devices
from trainer.progress import telling
from trainer.run import run_fn
from transform import prediction
from transform.ct_example import EVAL, TRAIN
from transform.errors import BadDataError
from transform.training_record import PICTURES, EpochRecord, read_record

pytestmark = pytest.mark.slow

CONFIG = {
    "seed": 3,
    "hu_min": -1000.0,
    "window": [-1000.0, 400.0],
    "operating_point": "sensitivity",
    "target_sensitivity": 0.9,
    "resamples": 100,
    "strategy": "auto",
    "tpu": None,
    "mixed_precision": "auto",
    "xla": "auto",
    "batch_size": 8,
    "examples_per_class": None,
    "class_weights": True,
    "model": {
        "backbone": "tiny",
        "head": "gap",
        "dropout": 0.1,
        "batch_norm": "trainable",
        "batch_norm_momentum": 0.5,
        "image_size": 32,
    },
    "fit": {
        "epochs": 2,
        "head_epochs": 1,
        "learning_rate": 1e-2,
        "head_learning_rate": 1e-2,
        "optimizer": "adamw",
        "weight_decay": 1e-4,
        "schedule": "cosine",
        "warmup_epochs": 0.5,
        "label_smoothing": 0.05,
        "early_stopping": 0,
        "batch_norm": "trainable",
        "layer_decay": 1.0,
        "frozen_stages": 0,
        "weight_average": 0.0,
    },
    "augmentation": {"flip": True, "rotation": 5.0},
    "flip_average": True,
    "weights": "none",
    "warm_start": False,
    "checkpoints": None,
    "weights_fingerprint": "none",
    "code_version": "1",
}


def fn_args(study, folder, fit=None, **changes):
    config = copy.deepcopy(CONFIG)
    config.update(changes)
    config["fit"].update(fit or {})
    return FnArgs(
        train_files=study.patterns[TRAIN],
        eval_files=study.patterns[EVAL],
        transform_output=str(study.folder),
        serving_model_dir=str(folder / "model"),
        model_run_dir=str(folder / "run"),
        custom_config=config,
    )


@pytest.fixture(scope="module")
def trained(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    heard = []
    with telling(heard.append):
        run_fn(fn_args(study, folder))
    return folder, heard


def test_training_leaves_a_record_that_the_report_can_read(trained, study):
    folder, _ = trained
    record = read_record(folder / "run")
    assert [(one.phase, one.epoch) for one in record.epochs] == [
        ("head", 1),
        ("fine-tuning", 1),
        ("fine-tuning", 2),
    ]
    assert all(isinstance(one, EpochRecord) for one in record.epochs)
    for name in ("loss", "auc", "accuracy", "val_loss", "val_auc", "val_accuracy"):
        assert all(math.isfinite(one.metrics[name]) for one in record.epochs)
    assert tuple(record.training_slices) == (12, 8)
    assert record.centre == pytest.approx(study.centre)
    assert record.temperature > 0
    assert 0.0 < record.threshold < 1.0
    assert record.validation["sensitivity"] >= 0.9
    assert (record.weights_fingerprint, record.code_version) == ("none", "1")


def test_training_leaves_pictures_for_the_report_and_logs_for_tensorboard(trained):
    run_folder = trained[0] / "run"
    for name in PICTURES:
        assert (run_folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (run_folder / f"{name}.svg").read_text()
    for part in ("train", "validation"):
        (events,) = (run_folder / "tensorboard" / part).iterdir()
        logged = [
            (value.tag, event.step)
            for event in tf.compat.v1.train.summary_iterator(str(events))
            for value in event.summary.value
            if value.metadata.plugin_data.plugin_name == "scalars"
        ]
        # Three epochs, of both phases.
        assert [step for tag, step in logged if tag == "epoch_loss"] == [1, 2, 3]


@pytest.mark.parametrize(
    "changed",
    [
        {"weights_fingerprint": "of another file under the same path"},
        {"code_version": "2"},
        {"parent_fingerprint": "of another export under the same path"},
    ],
)
def test_checkpoints_of_other_weights_or_other_code_are_not_found_again(changed):
    config = {**CONFIG, "checkpoints": "/checkpoints"}
    folder = run._checkpoint_folder(config, None)
    assert run._checkpoint_folder(dict(config), None) == folder
    assert run._checkpoint_folder({**config, **changed}, None) != folder


def test_a_record_of_a_newer_release_can_be_read(trained, tmp_path):
    written = json.loads((trained[0] / "run" / "training.json").read_text())
    (tmp_path / "training.json").write_text(json.dumps({**written, "later": "says more"}))
    assert read_record(tmp_path) == read_record(trained[0] / "run")


def assert_record_stands_for_export(folder, study):
    """Sensitivity, specificity and threshold of the record, asked of the export again."""
    record = read_record(folder / "run")
    answers = tf.saved_model.load(str(folder / "model")).signatures[prediction.SERVING_DEFAULT](
        examples=tf.constant(study.raw[EVAL])
    )
    decision = answers[prediction.DECISION].numpy()
    assert answers[prediction.THRESHOLD].numpy() == pytest.approx([record.threshold] * 12, abs=1e-6)
    assert decision[6:].mean() == pytest.approx(record.validation["sensitivity"])
    assert 1 - decision[:6].mean() == pytest.approx(record.validation["specificity"])


def test_the_record_stands_for_the_exported_model(trained, study):
    folder, _ = trained
    assert_record_stands_for_export(folder, study)


def test_what_was_trained_in_16_bits_is_exported_in_32(study, tmp_path, monkeypatch):
    """As on a TPU or a GPU, where a device of this machine stands in for them."""
    policies = []

    def in_16_bits(*names, **options):
        devices = dataclasses.replace(make_devices(*names, **options), precision=MIXED_BFLOAT16)
        build = run.starting_network

        def build_and_look(*settings, **rest):
            network = build(*settings, **rest)
            policies.append(network.backbone.layers[1].compute_dtype)
            return network

        monkeypatch.setattr(run, "starting_network", build_and_look)
        return devices

    monkeypatch.setattr(run, "make_devices", in_16_bits)
    run_fn(fn_args(study, tmp_path))
    assert policies == ["bfloat16"]
    exported = tf.saved_model.load(str(tmp_path / "model"))
    graph = exported.signatures[prediction.SERVING_DEFAULT].graph.as_graph_def()
    functions = (node for function in graph.library.function for node in function.node_def)
    assert not [
        node.name
        for node in (*graph.node, *functions)
        if tf.bfloat16.as_datatype_enum in (one.type for one in node.attr.values())
    ]
    assert_record_stands_for_export(tmp_path, study)


def test_the_progress_listener_hears_of_every_epoch(trained):
    _, heard = trained
    finished = [(one.phase, one.epoch, one.epochs) for one in heard if one.finished]
    assert finished == [("head", 1, 1), ("fine-tuning", 1, 2), ("fine-tuning", 2, 2)]
    assert all("val_auc" in one.metrics for one in heard if one.finished)
    steps = [(one.epoch, one.step, one.steps) for one in heard if not one.finished]
    # 20 slices make two batches of 8.
    assert steps == [(1, 1, 2), (1, 2, 2), (1, 1, 2), (1, 2, 2), (2, 1, 2), (2, 2, 2)]


def test_training_that_diverges_is_one_line_about_the_learning_rate(study, tmp_path):
    with pytest.raises(BadDataError, match=r"diverged.*lower train\.learning_rate"):
        run_fn(
            fn_args(
                study,
                tmp_path,
                {"learning_rate": 1e30, "schedule": "constant", "head_epochs": 0},
            )
        )
    assert not (tmp_path / "model").exists()


def test_fewer_examples_drawn_than_a_batch_still_train(study, tmp_path):
    """`examples_per_class` below half a batch would otherwise leave an epoch without a batch."""
    settings = {"head_epochs": 0, "epochs": 1}
    # The default seed, of which TensorFlow makes a special case.
    run_fn(fn_args(study, tmp_path, settings, examples_per_class=2, seed=0))
    values = json.loads((tmp_path / "run" / "training.json").read_text())
    assert len(values["epochs"]) == 1
