"""The pictures beside the training record, and the record itself."""

import io
import json
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from trainer.operating_point import choose_operating_point, threshold_curve
from trainer.pictures import draw_calibration, draw_learning_curves, draw_threshold
from transform.errors import StorageError
from transform.training_record import EpochRecord, OperatingPoint, TrainingRecord, read_record

EPOCHS = [
    EpochRecord("head", 1, {"loss": 0.7, "val_loss": 0.7, "auc": 0.5, "val_auc": 0.55}),
    EpochRecord("fine-tuning", 1, {"loss": 0.5, "val_loss": 0.6, "auc": 0.7, "val_auc": 0.8125}),
    EpochRecord("fine-tuning", 2, {"loss": 0.4, "val_loss": 0.7, "auc": 0.9, "val_auc": 0.75}),
]


def answers():
    generator = np.random.default_rng(1)
    labels = np.arange(60) % 2
    return generator.normal(3.0 * labels - 1.5, 2.0), labels, np.arange(60) // 3


def operating_point(rule="sensitivity"):
    logits, labels, patients = answers()
    probability = 1.0 / (1.0 + np.exp(-logits))
    point = choose_operating_point(
        probability, labels, patients, rule=rule, target_sensitivity=0.9, resamples=50, seed=1
    )
    return threshold_curve(probability, labels, patients, resamples=50, seed=1), point


def pictures():
    logits, labels, _ = answers()
    return [
        draw_learning_curves(EPOCHS, 1),
        draw_calibration(logits, labels, 2.0),
        draw_threshold(*operating_point()),
    ]


def words(picture):
    return " ".join(ElementTree.fromstring(picture.svg).itertext())


def test_each_picture_is_a_small_png_and_an_svg_that_says_what_it_shows():
    for picture in pictures():
        image = Image.open(io.BytesIO(picture.png))
        assert min(image.size) > 500
        # On white, so that it reads in any viewer.
        assert image.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
        assert len(picture.png) < 150_000
        assert len(picture.svg) < 60_000
        assert picture.alt in words(picture)


def test_the_same_training_gives_the_same_bytes():
    assert pictures() == pictures()


def test_learning_curves_mark_the_phases_and_the_epoch_that_was_exported():
    picture = draw_learning_curves(EPOCHS, 1)
    assert "head: epoch 1  |  fine-tuning: epochs 2–3" in words(picture)
    assert "after epoch 2 were exported" in picture.alt
    assert "is 0.812." in picture.alt


@pytest.mark.parametrize("metrics", [{"loss": 0.7}, {"loss": math.nan, "val_auc": math.nan}])
@pytest.mark.filterwarnings("error")
def test_learning_curves_are_drawn_of_whatever_was_recorded(metrics):
    picture = draw_learning_curves([EpochRecord("$x_", 1, metrics)], 0)
    assert "$x_" in words(picture)
    assert "is nan" in picture.alt


def test_the_calibration_picture_gives_the_error_before_and_after():
    # Stated 0.5 throughout and 1 in 4 positive; only the temperature of no use leaves it so.
    picture = draw_calibration(np.zeros(8), np.array([0, 0, 0, 1] * 2), 3.0)
    assert "is 0.250 before and 0.250 after division of the logits by 3" in picture.alt
    assert "before: error 0.250" in words(picture)


@pytest.mark.parametrize(
    ("rule", "target"), [("sensitivity", True), ("youden", False), (0.4, False)]
)
def test_the_threshold_picture_gives_the_choice_and_the_target_where_there_is_one(rule, target):
    curve, point = operating_point(rule)
    shown = words(draw_threshold(curve, point))
    assert f"threshold {point.threshold:.3f}" in shown
    assert ("target 0.9" in shown) == target
    # A number that was given was chosen by nobody.
    assert ("chosen by 95 % of the resamples" in shown) == (rule != 0.4)


def test_a_picture_is_written_whole_or_is_one_line(tmp_path):
    picture = draw_learning_curves(EPOCHS, 1)
    picture.write(str(tmp_path / "run"))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "learning_curves.png",
        "learning_curves.svg",
    ]
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"learning_curves\.png cannot be written to .*/file"):
        picture.write(str(tmp_path / "file"))


RECORD = TrainingRecord(
    epochs=EPOCHS,
    training_slices=(4, 3),
    centre=0.25,
    temperature=1.5,
    calibration_error=(0.2, 0.1),
    threshold=0.5,
    validation={"sensitivity": 1.0},
    negative_log_likelihood=(0.6, 0.5),
    operating_point=OperatingPoint(
        0.5, "sensitivity", 0.9, 100, (0.4, 0.6), (0.8, 1.0), (0.5, 0.7)
    ),
    seed=3,
    replicas=2,
    global_batch_size=32,
    learning_rate=1e-3,
    resumed_from=4,
    warm_start="models/7",
    versions={"python": "3.11"},
    cautions=["an AUC of 0.5"],
)


def test_a_record_is_read_as_it_was_written(tmp_path):
    RECORD.write(str(tmp_path))
    assert read_record(tmp_path) == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]


def test_a_record_of_an_older_release_can_be_read(tmp_path):
    RECORD.write(str(tmp_path))
    values = json.loads((tmp_path / "training.json").read_text())
    old = dict(list(values.items())[:7])
    assert list(old)[-1] == "validation"
    (tmp_path / "training.json").write_text(json.dumps(old))
    read = read_record(tmp_path)
    assert (read.threshold, read.operating_point, read.versions) == (0.5, None, {})


def test_a_record_that_cannot_be_written_leaves_the_one_before_it(tmp_path, monkeypatch):
    RECORD.write(str(tmp_path))
    before = (tmp_path / "training.json").read_bytes()
    (tmp_path / "training.json.unfinished").mkdir()
    with pytest.raises(StorageError, match=r"training\.json cannot be written"):
        RECORD.write(str(tmp_path))
    assert (tmp_path / "training.json").read_bytes() == before
