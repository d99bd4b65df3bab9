"""What training says of the time that it still takes."""

import pytest

from trainer.progress import PhaseClock


class Watch:
    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


def run_epoch(clock, watch, step_seconds, seconds_after):
    clock.begin_epoch()
    for seconds in step_seconds:
        watch.time += seconds
        clock.end_step()
    watch.time += seconds_after
    clock.end_epoch()


def test_the_time_left_is_that_of_the_steps_and_epochs_still_to_come():
    watch = Watch()
    clock = PhaseClock(epochs=3, steps=4, later_steps=0.0, now=watch)
    assert clock.seconds_left() is None
    clock.begin_epoch()
    watch.time += 60.0
    clock.end_step()
    # The first step, in which TensorFlow makes its graph, says nothing.
    assert clock.seconds_left() is None
    watch.time += 2.0
    clock.end_step()
    assert clock.seconds_left() == pytest.approx(10 * 2.0)
    for _ in range(2):
        watch.time += 2.0
        clock.end_step()
    watch.time += 5.0
    clock.end_epoch()
    assert clock.seconds_left() == pytest.approx(8 * 2.0 + 2 * 5.0)
    run_epoch(clock, watch, [2.0] * 4, 5.0)
    run_epoch(clock, watch, [2.0] * 4, 5.0)
    assert clock.seconds_left() == pytest.approx(0.0)


def test_the_next_phase_is_counted_with_its_longer_steps():
    watch = Watch()
    clock = PhaseClock(epochs=1, steps=4, later_steps=3.0 * 4 * 2, now=watch)
    run_epoch(clock, watch, [9.0, 1.0, 1.0, 1.0], 0.0)
    assert clock.seconds_left() == pytest.approx(24.0)
