"""What an epoch of training and of validation reads."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.augmentation import Augmentation
from trainer.input import SplitFiles, training_epoch, validation_batches
from transform import preprocessing
from transform.ct_example import EVAL, TRAIN
from transform.errors import BadDataError, ConfigError

NOTHING = Augmentation()


EVERYTHING = Augmentation(
    rotation=20.0, shift=0.1, flip=True, pad=0.1, zoom=0.1, brightness=0.1, contrast=0.1
)
SLICES = 20  # 12 negative, 8 positive


def identify(study, split, epoch):
    """Image ids of the slices of an epoch, in order, and their labels."""
    by_pixels = {
        features[preprocessing.IMAGE].tobytes(): image_id
        for image_id, features in study.parsed(split).items()
    }
    ids, labels = [], []
    for image, label in epoch:
        ids += [by_pixels[one.tobytes()] for one in image.numpy()]
        labels += label.numpy()[:, 0].tolist()
    return ids, labels


def training(study, epoch=0, *, files=None, **changes):
    settings = {
        "batch_size": 4,
        "augmentation": NOTHING,
        "centre": study.centre,
        "per_class": None,
        "seed": 5,
    }
    return training_epoch(files or study.files(), epoch=epoch, **{**settings, **changes})


def ids(study, epoch=0, **changes):
    return identify(study, TRAIN, training(study, epoch, **changes))[0]


def pixels(epoch):
    return np.concatenate([image.numpy() for image, _ in epoch])


def test_every_slice_comes_once_an_epoch_with_its_own_label(study):
    wanted = {
        image_id: features[preprocessing.LABEL]
        for image_id, features in study.parsed(TRAIN).items()
    }
    for epoch in range(2):
        found, labels = identify(study, TRAIN, training(study, epoch))
        assert sorted(found) == sorted(wanted)
        assert labels == [wanted[image_id] for image_id in found]


@pytest.mark.parametrize("per_class", [None, 10])
def test_an_epoch_has_the_same_slices_changed_the_same_way_whenever_it_is_asked_for(
    study, per_class
):
    """Training that goes on at epoch 2 sees what it would have seen had it come there."""
    settings = {"augmentation": EVERYTHING, "per_class": per_class}
    came_there = [pixels(training(study, epoch, **settings)) for epoch in range(3)]
    again = training(study, 2, **settings)
    for _ in range(2):  # one dataset read twice is the same epoch, too
        np.testing.assert_array_equal(pixels(again), came_there[2])


def test_the_order_differs_between_epochs_and_between_seeds(study):
    orders = [ids(study, 0), ids(study, 1), ids(study, 0, seed=6)]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_slices_of_one_file_do_not_come_together(study):
    """However large the split: beyond the shuffle, files are read side by side."""
    first = {one.numpy() for one in tf.data.TFRecordDataset(study.files().names[0], "GZIP")}
    of_first = [
        image_id
        for image_id, one in zip(study.parsed(TRAIN), study.transformed[TRAIN], strict=True)
        if one in first
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SplitFiles, "shuffle_buffer", 1)
        found = [image_id in of_first for image_id in ids(study)]
    assert found[:4] in ([True, False] * 2, [False, True] * 2)


def test_a_last_smaller_batch_is_left_out_of_training(study):
    sizes = [image.shape[0] for image, _ in training(study, batch_size=8)]
    assert sizes == [8, 8]  # of 20 slices


@pytest.mark.parametrize("per_class", [None, 6])
def test_all_shapes_are_static(study, per_class):
    """As XLA on a TPU needs them."""
    image, label = training(
        study, augmentation=EVERYTHING, per_class=per_class, worker=1, workers=2
    ).element_spec
    assert image.shape == (4, 32, 32, 1)
    assert label.shape == (4, 1)
    assert image.dtype == label.dtype == tf.float32


@pytest.mark.parametrize("per_class", [None, 11])
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_together_take_the_batches_that_one_would_take_alone(study, per_class, workers):
    """Bit for bit, after augmentation; 20 and 22 slices leave some over for every count."""
    settings = {"augmentation": EVERYTHING, "per_class": per_class}
    alone = list(training(study, 1, batch_size=3 * workers, **settings))
    shared = [
        list(training(study, 1, batch_size=3, worker=worker, workers=workers, **settings))
        for worker in range(workers)
    ]
    assert len(alone) == {2: 3, 3: 2}[workers]
    assert [len(batches) for batches in shared] == [len(alone)] * workers
    for whole, *parts in zip(alone, *shared, strict=True):
        for column in (0, 1):
            together = np.concatenate([part[column].numpy() for part in parts])
            np.testing.assert_array_equal(together, whole[column].numpy())


def test_an_epoch_smaller_than_a_step_is_one_line_about_the_batch_size(study):
    with pytest.raises(ConfigError, match=r"train\.batch_size: a step takes 24 slices.*has 20"):
        training(study, batch_size=12, workers=2)
    with pytest.raises(ConfigError, match=r"train\.batch_size: a step takes 8 slices.*has 6"):
        training(study, batch_size=8, per_class=3)
    assert len(list(training(study, batch_size=SLICES))) == 1


def test_examples_per_class_draws_exactly_so_many_of_each_class_in_turn(study):
    """Fewer than there are of either class, and more than there are of both (12 and 8)."""
    for count in (4, 30):
        for epoch in range(2):
            _, labels = identify(
                study, TRAIN, training(study, epoch, batch_size=2, per_class=count)
            )
            assert labels == [0, 1] * count


@pytest.mark.parametrize("window", [None, 8])
def test_a_class_passes_as_a_whole_before_one_of_its_slices_comes_again(study, monkeypatch, window):
    """Both where the window holds the class and where it holds only half of it."""
    if window:
        monkeypatch.setattr(SplitFiles, "shuffle_buffer", window)
    drawn = [
        image_id for epoch in range(5) for image_id in ids(study, epoch, batch_size=2, per_class=5)
    ]
    for label, size in ((0, 12), (1, 8)):
        of_class = drawn[label::2]  # they come in turn
        passes = [of_class[start : start + size] for start in range(0, 25 - size + 1, size)]
        assert len(passes) == 25 // size
        for one in passes:
            assert len(set(one)) == size
        assert passes[0] != passes[1]


def test_drawing_from_a_class_without_slices_is_one_line(study, monkeypatch):
    monkeypatch.setattr(SplitFiles, "count_by_label", lambda _: (20, 0))
    with pytest.raises(BadDataError, match="no slice with label 1"):
        training(study, per_class=5)


def test_augmentation_is_new_in_every_epoch_and_for_every_seed(study):
    """What is done to the first slice of an epoch, the second and so on, whichever they are."""

    def brightened(epoch, seed=5):
        plain, changed = (
            pixels(training(study, epoch, augmentation=augmentation, seed=seed))
            for augmentation in (NOTHING, Augmentation(brightness=0.1))
        )
        return (changed - plain)[:, 0, 0, 0]  # in a corner, of water, nothing is clipped

    first = brightened(0)
    for other in (brightened(1), brightened(0, seed=6)):
        assert (np.abs(first - other) > 1e-4).mean() > 0.8


def test_a_slice_is_changed_differently_within_one_epoch(study):
    """One slice drawn again and again must not come out the same each time."""
    drawn = pixels(training(study, augmentation=Augmentation(brightness=0.2), per_class=40))
    assert len(np.unique(drawn.mean(axis=(1, 2, 3)).round(6))) > 70


def test_augmented_slices_are_filled_with_the_air_of_transform(study):
    shifted = pixels(training(study, augmentation=Augmentation(shift=0.5)))
    assert shifted.min() == pytest.approx(-study.centre, abs=1e-6)
    # The disc's surroundings are water, so that air in a corner came from outside.
    corners = shifted[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]
    assert (np.abs(corners + study.centre) < 1e-6).any(axis=1).mean() > 0.8


def test_validation_reads_every_slice_once_in_the_order_of_the_files(study):
    batches = validation_batches(study.files(EVAL), 5)
    assert [image.shape[0] for image, _ in batches] == [5, 5, 2]
    ids, labels = identify(study, EVAL, batches)
    assert ids == list(study.parsed(EVAL))
    assert labels == [one[preprocessing.LABEL] for one in study.parsed(EVAL).values()]


def test_files_are_read_in_the_same_order_however_they_are_listed(study):
    files = study.files()
    named = sorted(study.folder.glob("train/*"))
    backwards = SplitFiles([str(name) for name in reversed(named)], study.transform)
    assert len(named) == 2
    assert [one.numpy() for one in backwards.records()] == [one.numpy() for one in files.records()]


def test_slices_are_counted_by_label(study):
    assert study.files(TRAIN).count_by_label() == (12, 8)
    assert study.files(EVAL).count_by_label() == (6, 6)


def test_patients_are_those_of_the_slices_in_the_order_of_the_files(study):
    patients = study.files(EVAL).patients()
    assert patients.dtype.kind == "U"
    assert patients.tolist() == [
        one[preprocessing.PATIENT_ID].decode() for one in study.parsed(EVAL).values()
    ]
    assert patients[0].startswith("eval-patient-")
