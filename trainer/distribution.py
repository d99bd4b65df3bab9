"""Which devices training is spread over (tf.distribute), and the arithmetic that pays there."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import tensorflow as tf
import tf_keras
from absl import logging

from transform.errors import ConfigError

FLOAT32 = "float32"
MIXED_BFLOAT16 = "mixed_bfloat16"
MIXED_FLOAT16 = "mixed_float16"

_AUTO = "auto"
_LINE = 200
_ANSWER_SECONDS = 10.0
# Where TPUClusterResolver looks when it is not told a name.
_TPU_VARIABLES = ("KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TPU_NAME", "TPU_CONFIG")
# CUDA compute capabilities: tensor cores came with 7.0, those for bfloat16 with 8.0.
_FLOAT16_CORES = (7, 0)
_BFLOAT16_CORES = (8, 0)


@dataclasses.dataclass(frozen=True)
class Devices:
    """What one training process computes on, and its place among the others.

    Attributes:
      strategy: whose scope the network is built in.
      precision: name of the tf_keras policy that the network is built with.
      jit_compile: whether `Model.compile` is asked for XLA.
      workers: processes that train together.
      worker: the number of this one, from 0.
    """

    strategy: tf.distribute.Strategy
    precision: str = FLOAT32
    jit_compile: bool = False
    workers: int = 1
    worker: int = 0

    @property
    def replicas(self) -> int:
        """Replicas of all workers; a step takes as many times the batch size of one."""
        return self.strategy.num_replicas_in_sync

    @property
    def replicas_of_worker(self) -> int:
        """Replicas of this worker."""
        return self.replicas // self.workers

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker whose files count."""
        return self.worker == 0

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Build and compile a network in it: on these devices and with their precision.

        The policy is global in tf_keras; it ends with the scope, so that nothing built later (the
        network that is exported) computes in 16 bits by accident.
        """
        policy = tf_keras.mixed_precision.global_policy()
        with self.strategy.scope():
            tf_keras.mixed_precision.set_global_policy(self.precision)
            try:
                yield
            finally:
                tf_keras.mixed_precision.set_global_policy(policy)

    def training_input(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """What `Model.fit` takes (with `steps_per_epoch`, and without `class_weight`).

        Args:
          batches: what this worker takes each step, its replicas together; of a fixed size.
        """
        if self.workers == 1:
            return batches  # tf_keras splits each among the replicas
        # Given a dataset, tf.distribute takes its batches for those of all workers together.
        of_replica = batches
        if self.replicas_of_worker > 1:
            size = tf.nest.flatten(batches.element_spec)[0].shape[0] // self.replicas_of_worker
            of_replica = batches.rebatch(size, drop_remainder=True)
        return self.strategy.distribute_datasets_from_function(lambda _: of_replica)

    def validation_input(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """What `Model.evaluate` takes; the figures are of all slices, and the same on all workers.

        Args:
          batches: the whole split, the same on all workers; the last may be smaller.
        """
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return batches.with_options(options)

    def of_all_workers(self, number: int) -> list[int]:
        """What each worker gave, in their order; all must take part.

        Args:
          number: this worker's; fits into an int64.
        """
        if self.workers == 1:
            return [number]
        mine = self.strategy.experimental_distribute_values_from_function(
            lambda _: tf.constant([number], tf.int64)
        )
        of_replicas = self.strategy.gather(mine, axis=0).numpy().tolist()
        return list(of_replicas[:: self.replicas_of_worker])

    def own_folder(self, folder: str) -> str:
        """The folder itself on the chief, elsewhere one that goes when this process ends.

        For what all workers must write together, because it reads variables across them.
        """
        if self.is_chief:
            return folder
        return str(Path(_throw_away().name) / hashlib.sha256(folder.encode()).hexdigest())


@functools.cache
def _throw_away() -> tempfile.TemporaryDirectory[str]:
    """One folder of this process; tempfile removes it when the process ends."""
    return tempfile.TemporaryDirectory(prefix="ctnet-worker-")


def make_devices(
    name: str, *, tpu: str | None = None, mixed_precision: str = "off", xla: str = "off"
) -> Devices:
    """The devices that `train.strategy` names.

    Under "multi_worker" nothing else may have used TensorFlow in this process before: collective
    operations are set up when it starts.

    Args:
      name: "auto" (mirrored where there are several GPUs, else single), "single", "mirrored" (all
        GPUs; without any, several logical CPUs), "multi_worker" (the cluster is in TF_CONFIG) or
        "tpu".
      tpu: name or address of the TPU; None is the one that the environment names (TPU_NAME), else
        the local one.
      mixed_precision: "auto" (bfloat16 on a TPU and on GPUs of compute capability 8.0 or more,
        float16 on GPUs of 7.x) or "off".
      xla: "auto" (on a single GPU) or "off". For a TPU tf.distribute compiles without being asked.

    Raises:
      ConfigError: the devices it asks for are not there.
    """
    if name == "auto":
        name = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "single"
    mixed = mixed_precision == _AUTO
    if name == "tpu":
        return Devices(_tpu_strategy(tpu), MIXED_BFLOAT16 if mixed else FLOAT32)
    if name == "multi_worker":
        devices = _multi_worker()
    elif name == "mirrored":
        devices = Devices(_mirrored_strategy())
    else:
        devices = Devices(tf.distribute.get_strategy())
    gpus = tf.config.list_physical_devices("GPU")
    return dataclasses.replace(
        devices,
        precision=_gpu_precision(gpus) if mixed else FLOAT32,
        # XLA's own all-reduce between GPUs was never tried here.
        jit_compile=xla == _AUTO and name == "single" and bool(gpus),
    )


def _gpu_precision(gpus: list[tf.config.PhysicalDevice]) -> str:
    """The 16-bit policy that all of these GPUs gain by, else float32."""
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in gpus
    ]
    oldest = min(capabilities, default=(0, 0))
    if oldest >= _BFLOAT16_CORES:
        return MIXED_BFLOAT16
    return MIXED_FLOAT16 if oldest >= _FLOAT16_CORES else FLOAT32


def _mirrored_strategy() -> tf.distribute.Strategy:
    replicas = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(replicas) < 2:
        raise ConfigError(
            f"train.strategy: mirrored needs several devices, and TensorFlow sees "
            f"{len(tf.config.list_logical_devices('GPU'))} GPU; use auto or single"
        )
    return tf.distribute.MirroredStrategy([device.name for device in replicas])


def _multi_worker() -> Devices:
    worker, workers = place_in_cluster(os.environ.get("TF_CONFIG", ""))
    logging.info("worker %d waits for the %d workers of TF_CONFIG", worker, workers)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        raise ConfigError(
            f"train.strategy: multi_worker cannot start ({_one_line(error)}); it needs all workers "
            "of TF_CONFIG, and in each a process in which nothing else has used TensorFlow: start "
            "it with ctnet train-worker"
        ) from None
    return Devices(strategy, workers=workers, worker=worker)


def place_in_cluster(text: str) -> tuple[int, int]:
    """The number of this worker, the chief's being 0, and how many there are.

    Args:
      text: of the environment variable TF_CONFIG.

    Raises:
      ConfigError: there is none, or it does not say that.
    """
    form = (
        '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}} '
        "with an index of its own in each worker"
    )
    if not text:
        raise ConfigError(
            f"train.strategy: multi_worker needs the environment variable TF_CONFIG: {form}"
        )
    try:
        config = json.loads(text)
        cluster = {job: list(config["cluster"][job]) for job in config["cluster"]}
        tasks = [(job, index) for job in sorted(cluster) for index in range(len(cluster[job]))]
        task = (config["task"]["type"], int(config["task"]["index"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"train.strategy: multi_worker cannot read TF_CONFIG ({_one_line(error)}); it "
            f"should be {form}"
        ) from None
    if set(cluster) - {"chief", "worker"} or len(cluster.get("chief", [])) > 1:
        raise ConfigError(
            f"train.strategy: multi_worker knows one chief and workers, but TF_CONFIG names "
            f"{', '.join(sorted(cluster))}; it should be {form}"
        )
    if task not in tasks:
        raise ConfigError(
            f"train.strategy: TF_CONFIG says that this is {task[0]} {task[1]}, which is not in its "
            f"cluster; it should be {form}"
        )
    return tasks.index(task), len(tasks)


def _tpu_strategy(tpu: str | None) -> tf.distribute.Strategy:
    what = f"train.strategy: tpu, but no TPU answers{f' as {tpu}' if tpu else ''}"
    try:
        resolver = _tpu_resolver(tpu)
        # A local one has no address.
        for address in resolver.cluster_spec().as_dict().get("worker", []):
            _knock(address)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        strategy = tf.distribute.TPUStrategy(resolver)
    # URLError and a refused connection are OSErrors.
    except (OSError, ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
        raise ConfigError(
            f"{what} ({_one_line(error)}); set train.tpu or TPU_NAME to its name or to "
            "grpc://HOST:PORT, or use another strategy"
        ) from None
    hosts = strategy.extended.num_hosts
    if hosts > 1:
        # Each would be given the same batches.
        raise ConfigError(
            f"train.strategy: tpu takes a TPU of one host, and this one has {hosts}; use a smaller "
            "slice"
        )
    return strategy


def _tpu_resolver(tpu: str | None) -> tf.distribute.cluster_resolver.TPUClusterResolver:
    cluster_resolver = tf.distribute.cluster_resolver.TPUClusterResolver
    if tpu is None and not any(name in os.environ for name in _TPU_VARIABLES):
        return cluster_resolver("local")
    # TensorFlow asks Google's metadata server for a name's address, and sets no time limit.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_ANSWER_SECONDS)
    try:
        return cluster_resolver(tpu)
    finally:
        socket.setdefaulttimeout(before)


def _knock(address: str) -> None:
    """Raise if no gRPC server answers; TensorFlow would retry, silently, for many minutes."""
    host, _, port = address.rpartition(":")
    # Alone, gRPC waits where a connection is refused.
    socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            raise ConnectionError(f"{address} does not answer") from None


def _one_line(error: BaseException) -> str:
    # TensorFlow appends nodes, attributes and kernels to its first sentence.
    first, _, _ = " ".join(str(error).split()).partition(". ")
    return f"{type(error).__name__}: {first[:_LINE]}"
