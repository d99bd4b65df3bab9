import pytest

from trainer.agreement import require_same_epoch, require_same_training
from transform.errors import ConfigError


class Workers:
    """Devices of a worker whose others answer as they are told; remembers what it said."""

    def __init__(self, others):
        self.others = others
        self.said = []

    def of_all_workers(self, number):
        self.said.append(number)
        return [number, *self.others]


def number_of(training):
    alone = Workers([])
    require_same_training(alone, training)
    (said,) = alone.said
    return said


def test_workers_that_see_the_same_go_on():
    require_same_epoch(Workers([3, 3]), 3, "/shared/checkpoints")
    require_same_training(Workers([number_of("this")]), "this")


def test_a_worker_that_sees_other_checkpoints_stops_all():
    with pytest.raises(ConfigError) as stopped:
        require_same_epoch(Workers([3, 0]), 3, "/shared/checkpoints")
    assert "after epoch 3, worker 2 after 0" in str(stopped.value)
    assert "put /shared/checkpoints on storage that they share" in str(stopped.value)


def test_a_worker_with_another_training_stops_all():
    with pytest.raises(ConfigError, match="worker 2 was given another training"):
        require_same_training(Workers([number_of("this"), number_of("that")]), "this")


def test_what_a_training_is_told_by_fits_into_an_int64():
    assert number_of("this") != number_of("that")
    assert all(0 <= number_of(f"training {count}") < 2**63 for count in range(100))
