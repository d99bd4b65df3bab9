"""One process of a training that `test_strategies.py` starts: python training_process.py JOB.

JOB is JSON; what training ends with goes to its `result`.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import run
from trainer.input import SplitFiles
from trainer.progress import telling
from transform import preprocessing
from transform.ct_example import TRAIN


def train(job):
    parsed, by_epoch, ended = [], [], {}
    parse, fit = SplitFiles.parse, run.fit

    def watched_parse(files, serialised):
        def note(image_id):
            if image_id.decode().startswith(TRAIN):
                parsed.append(image_id.decode())
            return np.int64(0)

        image_id = files.parse_value(serialised, preprocessing.IMAGE_ID)
        with tf.control_dependencies([tf.numpy_function(note, [image_id], tf.int64)]):
            return parse(files, tf.identity(serialised))

    def listen(progress):
        if progress.finished:
            by_epoch.append(sorted(parsed))
            parsed.clear()
            if len(by_epoch) == job["dies_after"]:
                os._exit(9)

    def watched_fit(network, **arguments):
        fitted = fit(network, **arguments)
        devices = arguments["devices"]
        with devices.scope():
            ended["weights"] = [weight.tolist() for weight in network.model.get_weights()]
        ended["metrics"] = [record.metrics for record in fitted.records]
        ended["replicas"] = devices.replicas
        ended["precision"] = devices.precision
        ended["jit_compile"] = devices.jit_compile
        if not job["exports"]:
            write_result()
            os._exit(0)
        return fitted

    def write_result():
        Path(job["result"]).write_text(json.dumps({**ended, "parsed": by_epoch}))

    SplitFiles.parse, run.fit = watched_parse, watched_fit
    with telling(listen):
        run.run_fn(FnArgs(**job["fn_args"]))
    write_result()


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    if job["cpus"] > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * job["cpus"]
        )
    train(job)
