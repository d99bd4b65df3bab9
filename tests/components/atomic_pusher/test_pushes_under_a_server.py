"""A server that looks every 10 ms while versions are pushed never meets a part of one."""

import logging
import time

import pytest
import tensorflow as tf

from components.atomic_pusher.executor import CARD_IN_VERSION, publish
from serving.server import EmbeddedServer
from transform import prediction

PUSHES = 100

pytestmark = pytest.mark.slow


class Constant(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def serving_default(self, examples):
        return {prediction.PROBABILITY: tf.fill(tf.shape(examples), 0.5)}


def test_a_server_takes_up_a_hundred_pushes_without_meeting_a_part(tmp_path, caplog):
    module = Constant()
    model, base = tmp_path / "model", tmp_path / "serving"
    signatures = {prediction.SERVING_DEFAULT: module.serving_default}
    tf.saved_model.save(module, str(model), signatures=signatures)
    # As long in copying as a model of some size.
    for number in range(50):
        (model / "assets" / str(number)).write_bytes(b"x" * 10_000)
    card = model / CARD_IN_VERSION
    card.parent.mkdir()
    card.write_text("# Model card")
    base.mkdir()
    publish(str(model), str(base), "1")
    caplog.set_level(logging.INFO, logger="serving")
    served = set()
    with EmbeddedServer(base, port=0, poll_seconds=0.01) as server:
        for number in range(2, PUSHES + 2):
            publish(str(model), str(base), str(number))
            served.add(server.version)
        end = time.monotonic() + 60
        while server.version != PUSHES + 1:
            assert time.monotonic() < end
            time.sleep(0.01)
    # It went along with the pushes, and every version that it saw was whole and loaded: it warns of
    # others (tests/serving/test_version_swap.py).
    assert len(served) > 5
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert [line for level, line in said if level >= logging.WARNING] == []
    assert any(str(PUSHES + 1) in line for _, line in said)
