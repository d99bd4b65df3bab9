"""What an epoch of training and of validation reads."""

import numpy as np
import pytest

from trainer.augmentation import Augmentation
from trainer.input import SplitFiles, training_batches, validation_batches
from transform import preprocessing
from transform.ct_example import EVAL, TRAIN

NOTHING = Augmentation()


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


def training(study, *, batch_size=4, augmentation=NOTHING, examples_per_class=None, seed=5):
    batches = training_batches(
        study.files(),
        batch_size=batch_size,
        augmentation=augmentation,
        centre=study.centre,
        balanced=examples_per_class is not None,
        seed=seed,
    )
    # A balanced draw has no end: an epoch is its first stretch.
    return batches.take(2 * examples_per_class // batch_size) if examples_per_class else batches


def pixels(epoch):
    return np.concatenate([image.numpy() for image, _ in epoch])


def test_every_slice_comes_once_an_epoch_with_its_own_label(study):
    epochs = training(study)
    wanted = {
        image_id: features[preprocessing.LABEL]
        for image_id, features in study.parsed(TRAIN).items()
    }
    for _ in range(2):
        ids, labels = identify(study, TRAIN, epochs)
        assert sorted(ids) == sorted(wanted)
        assert labels == [wanted[image_id] for image_id in ids]


def test_the_order_is_the_same_for_the_same_seed_in_every_epoch(study):
    first, second = training(study), training(study)
    for _ in range(3):
        assert identify(study, TRAIN, first) == identify(study, TRAIN, second)


def test_the_order_differs_between_epochs_and_between_seeds(study):
    epochs = training(study)
    first, second = (identify(study, TRAIN, epochs)[0] for _ in range(2))
    assert first != second
    assert identify(study, TRAIN, training(study, seed=6))[0] != first


def test_a_last_smaller_batch_is_left_out_of_training(study):
    sizes = [image.shape[0] for image, _ in training(study, batch_size=8)]
    assert sizes == [8, 8]  # of 20 slices


def test_examples_per_class_draws_exactly_so_many_of_each_class(study):
    """Fewer than there are of either class, and more than there are of both (12 and 8)."""
    for count in (4, 30):
        epochs = training(study, batch_size=2, examples_per_class=count)
        for _ in range(2):
            ids, labels = identify(study, TRAIN, epochs)
            assert len(ids) == 2 * count
            assert sum(labels) == count


def test_drawing_more_than_there_are_leaves_no_slice_out(study):
    ids, _ = identify(study, TRAIN, training(study, batch_size=2, examples_per_class=12))
    assert set(ids) == set(study.parsed(TRAIN))


def test_drawing_fewer_than_there_are_draws_others_in_the_next_epoch(study):
    epochs = training(study, batch_size=2, examples_per_class=4)
    first, second = (set(identify(study, TRAIN, epochs)[0]) for _ in range(2))
    assert first != second


def test_epochs_of_a_draw_go_on_through_a_data_set_larger_than_the_shuffle(study, monkeypatch):
    monkeypatch.setattr(SplitFiles, "shuffle_buffer", 1)
    endless = training_batches(
        study.files(),
        batch_size=2,
        augmentation=NOTHING,
        centre=study.centre,
        balanced=True,
        seed=5,
    )
    ids, _ = identify(study, TRAIN, endless.take(12))
    assert set(ids) == set(study.parsed(TRAIN))


def test_the_draw_is_the_same_for_the_same_seed(study):
    first, second = (training(study, examples_per_class=6) for _ in range(2))
    for _ in range(2):
        assert identify(study, TRAIN, first) == identify(study, TRAIN, second)


def test_augmentation_is_the_same_for_the_same_seed_and_new_in_every_epoch(study):
    rotation = Augmentation(rotation=20.0, brightness=0.1)
    first, second = (training(study, augmentation=rotation) for _ in range(2))
    epochs = [pixels(first), pixels(first)]
    np.testing.assert_array_equal(pixels(second), epochs[0])
    np.testing.assert_array_equal(pixels(second), epochs[1])
    # Sorted by their pixels, so that the order alone makes no difference.
    assert np.abs(np.sort(epochs[0].ravel()) - np.sort(epochs[1].ravel())).max() > 1e-3


def test_a_slice_is_changed_differently_within_one_epoch(study):
    """One slice drawn again and again must not come out the same each time."""
    drawn = pixels(
        training(study, augmentation=Augmentation(brightness=0.2), examples_per_class=40)
    )
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
