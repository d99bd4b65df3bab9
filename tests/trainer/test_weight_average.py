"""The running average of the weights."""

import numpy as np

from trainer.weight_average import running_average


def test_it_begins_as_the_first_epoch_and_keeps_its_share_of_itself():
    epochs = [[np.float32([value]), np.int64(value)] for value in (1, 2, 4)]
    average = None
    for weights in epochs:
        average = running_average(average, weights, 0.75)
    assert average[0] == 0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 4
    assert average[0].dtype == np.float32
    # A counter is not averaged.
    assert average[1] == 4
    assert average[1].dtype == np.int64
