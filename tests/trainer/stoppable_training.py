"""A small training in a process of its own, which a test can kill.

Its arguments: where to write the result, the folder of the checkpoints, and how many steps it may
take before it is killed (0: all of them). It says of each finished epoch and of going on.
"""

import dataclasses
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

from trainer.distribution import make_devices
from trainer.fitting import FitSettings, fit
from trainer.model import Network
from trainer.progress import telling

SETTINGS = FitSettings(
    epochs=3,
    head_epochs=2,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    optimizer="adamw",
    weight_decay=1e-3,
    schedule="cosine",
    warmup_epochs=0.5,
    label_smoothing=0.05,
    early_stopping=5,
    batch_norm="trainable",
    layer_decay=0.7,
    frozen_stages=0,
    weight_average=0.5,
)
STEPS = 4


def network_with_stochastic_depth():
    layers = tf_keras.layers
    inputs = tf_keras.Input([16, 16, 1])
    first = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same")(inputs))
    second = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(first))
    second = layers.Dropout(0.3, noise_shape=[None, 1, 1, 1])(second)
    backbone = tf_keras.Model(inputs, layers.ReLU()(layers.Add()([first, second])))
    features = layers.GlobalAveragePooling2D()(backbone.output)
    logit = layers.Dense(1)(layers.Dropout(0.3)(features))
    return Network(tf_keras.Model(inputs, logit), backbone)


def main(result, checkpoints, steps_to_live):
    tf_keras.utils.set_random_seed(5)
    devices = make_devices("single")
    tf.config.experimental.enable_op_determinism()
    with devices.scope():
        network = network_with_stochastic_depth()
    generator = np.random.default_rng(1)
    label = (np.arange(16) % 2).astype(np.float32)[:, None]
    image = generator.normal(label[:, :, None, None], 3.0, [16, 16, 16, 1]).astype(np.float32)
    slices = tf.data.Dataset.from_tensor_slices((image, label))
    steps = 0

    def listen(progress):
        nonlocal steps
        if progress.resumed:
            print("goes on at", progress.phase, progress.epoch, flush=True)
        elif progress.finished:
            print("finished", progress.phase, progress.epoch, flush=True)
        else:
            steps += 1
            if steps == steps_to_live:
                os.kill(os.getpid(), signal.SIGKILL)

    with telling(listen):
        records = fit(
            network,
            training=lambda epoch: slices.shuffle(16, seed=epoch).batch(4, drop_remainder=True),
            validation=slices.batch(5),
            steps=STEPS,
            class_weight={0: 0.9, 1: 1.1},
            settings=SETTINGS,
            devices=devices,
            checkpoints=checkpoints,
            seed=5,
        ).records
    weights = hashlib.sha256(b"".join(one.tobytes() for one in network.model.get_weights()))
    facts = {
        "records": [dataclasses.asdict(record) for record in records],
        "weights": weights.hexdigest(),
    }
    Path(result).write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
