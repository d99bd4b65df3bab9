"""Which devices training is spread over (tf.distribute)."""

from __future__ import annotations

import os

import tensorflow as tf

from transform.errors import ConfigError


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy that `train.strategy` names.

    Args:
      name: "auto" (mirrored where there are several GPUs, else single), "single", "mirrored",
        "multi_worker" (the cluster is in TF_CONFIG) or "tpu" (the local or TPU_NAME one).

    Raises:
      ConfigError: the devices it asks for are not there.
    """
    if name == "auto":
        name = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "single"
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker":
        if not os.environ.get("TF_CONFIG"):
            raise ConfigError(
                "train.strategy: multi_worker needs the cluster in the environment's TF_CONFIG"
            )
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (RuntimeError, ValueError) as error:
            line = " ".join(str(error).split())
            raise ConfigError(
                f"train.strategy: multi_worker cannot start ({line}); it needs a TF_CONFIG that "
                "names the cluster, and a process in which nothing else has used TensorFlow: call "
                "trainer.run.run_fn there, not ctnet run"
            ) from None
    if name == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        except (ValueError, tf.errors.OpError) as error:
            line = " ".join(str(error).split())
            raise ConfigError(f"train.strategy: tpu, but no TPU answers: {line}") from None
        return tf.distribute.TPUStrategy(resolver)
    return tf.distribute.get_strategy()
