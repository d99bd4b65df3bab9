"""Which devices a strategy's name stands for, and what is computed on them."""

import json
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.distribution import Devices, make_devices
from trainer.model import ModelSettings, build_network
from trainer.weights import BackboneWeights
from transform.errors import ConfigError

AUTO = {"mixed_precision": "auto", "xla": "auto"}


def tiny_network():
    return build_network(
        ModelSettings(
            backbone="tiny",
            head="gap",
            dropout=0.1,
            batch_norm="frozen",
            batch_norm_momentum=None,
            image_size=32,
            centre=0.3,
        ),
        BackboneWeights(None, "none"),
    ).model


@pytest.fixture
def gpus(monkeypatch):
    """Have TensorFlow report GPUs of these compute capabilities."""

    def pretend(*capabilities):
        devices = [
            tf.config.PhysicalDevice(f"/physical_device:GPU:{number}", "GPU")
            for number in range(len(capabilities))
        ]
        details = dict(zip((one.name for one in devices), capabilities, strict=True))
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: devices)
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda device: {"compute_capability": details[device.name]},
        )

    return pretend


@pytest.mark.parametrize("strategy", ["auto", "single"])
def test_a_cpu_computes_in_32_bits_and_without_xla(strategy):
    devices = make_devices(strategy, **AUTO)
    assert (devices.precision, devices.jit_compile) == ("float32", False)
    assert (devices.replicas, devices.workers, devices.worker) == (1, 1, 0)


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ([(6, 1)], "float32"),
        ([(7, 0)], "mixed_float16"),
        ([(7, 5)], "mixed_float16"),
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0)], "mixed_bfloat16"),
        ([(9, 0), (7, 5)], "mixed_float16"),
    ],
)
def test_a_gpu_computes_in_the_16_bits_that_it_is_fast_in_and_with_xla(
    gpus, capabilities, precision
):
    gpus(*capabilities)
    devices = make_devices("single", **AUTO)
    assert (devices.precision, devices.jit_compile) == (precision, True)


def test_mixed_precision_and_xla_can_be_turned_off(gpus):
    gpus((9, 0))
    devices = make_devices("single", mixed_precision="off", xla="off")
    assert (devices.precision, devices.jit_compile) == ("float32", False)


def test_the_precision_ends_with_the_scope(gpus):
    """The policy is global in tf_keras, and what is exported is built later."""
    gpus((9, 0))
    with make_devices("single", **AUTO).scope():
        trained = tiny_network()
    assert {layer.compute_dtype for layer in trained.layers[1:-1]} == {"bfloat16"}
    assert trained.layers[-1].compute_dtype == "float32"
    assert all(weight.dtype == tf.float32 for weight in trained.get_layer("tiny").variables)
    assert tiny_network().get_layer("tiny").compute_dtype == "float32"


def test_the_precision_ends_with_a_scope_that_fails(gpus):
    gpus((9, 0))
    with pytest.raises(ZeroDivisionError), make_devices("single", **AUTO).scope():
        _ = 1 // 0
    assert tf_keras.mixed_precision.global_policy().name == "float32"


def test_a_network_trained_in_16_bits_is_served_in_32(gpus):
    """Built again outside the scope, and given the weights."""
    gpus((9, 0))
    with make_devices("single", **AUTO).scope():
        trained = tiny_network()
    served = tiny_network()
    served.set_weights(trained.get_weights())
    image = np.random.default_rng(3).uniform(-0.3, 0.7, [4, 32, 32, 1]).astype(np.float32)
    np.testing.assert_allclose(served(image), trained(image), atol=0.02)
    graph = tf.function(served).get_concrete_function(tf.TensorSpec(image.shape)).graph
    dtypes = {output.dtype for operation in graph.get_operations() for output in operation.outputs}
    assert tf.float32 in dtypes
    assert not dtypes & {tf.bfloat16, tf.float16}


def test_a_network_in_float16_scales_its_loss(gpus):
    """Gradients of 16 bits would otherwise vanish; tf_keras sees to it when it compiles."""
    gpus((7, 5))
    devices = make_devices("single", **AUTO)
    with devices.scope():
        network = tiny_network()
    network.compile("adam", "mse")
    assert isinstance(network.optimizer, tf_keras.mixed_precision.LossScaleOptimizer)


def test_the_chief_alone_writes_where_it_is_told(tmp_path):
    told = str(tmp_path)
    chief, other = (
        Devices(tf.distribute.get_strategy(), workers=2, worker=number) for number in (0, 1)
    )
    assert chief.own_folder(told) == told
    own = Path(other.own_folder(told))
    assert tmp_path not in (own, *own.parents)
    # The same each time, and another for another folder.
    assert other.own_folder(told) == str(own)
    assert other.own_folder(f"{told}/other") != str(own)


def assert_one_line(error, *words):
    text = str(error.value)
    assert text.startswith("train.strategy: ")
    assert "\n" not in text
    assert len(text) < 500
    for word in words:
        assert word in text


def test_mirrored_without_several_devices_is_one_line():
    with pytest.raises(ConfigError) as error:
        make_devices("mirrored")
    assert_one_line(error, "0 GPU", "use auto or single")


TWO = {"worker": ["localhost:1", "localhost:2"]}


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (None, "needs the environment variable TF_CONFIG"),
        ("", "needs the environment variable TF_CONFIG"),
        ("{", "cannot read TF_CONFIG"),
        ("[]", "cannot read TF_CONFIG"),
        ("{}", "cannot read TF_CONFIG"),
        (json.dumps({"cluster": TWO}), "cannot read TF_CONFIG (KeyError: 'task')"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 2}}), "worker 2"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": "x"}}), "cannot read"),
        (json.dumps({"cluster": TWO, "task": {"type": "chief", "index": 0}}), "chief 0"),
        (
            json.dumps({"cluster": {"ps": ["localhost:1"]}, "task": {"type": "ps", "index": 0}}),
            "TF_CONFIG names ps",
        ),
    ],
)
def test_a_cluster_that_cannot_be_read_is_one_line(monkeypatch, config, word):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ConfigError) as error:
        make_devices("multi_worker")
    assert_one_line(error, word, '"index": 0')


@pytest.fixture
def no_tpu(monkeypatch):
    for name in ("TPU_NAME", "TPU_CONFIG", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tpu_of(monkeypatch):
    """Have a TPU of so many hosts answer."""

    class Resolver:
        def __init__(self, tpu):
            pass

        def cluster_spec(self):
            return tf.train.ClusterSpec({})

    def pretend(hosts):
        strategy = SimpleNamespace(
            num_replicas_in_sync=8, extended=SimpleNamespace(num_hosts=hosts)
        )
        monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", Resolver)
        monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", lambda _: None)
        monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", lambda _: None)
        monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda _: strategy)

    return pretend


def test_a_tpu_computes_in_bfloat16_and_is_not_asked_for_xla_twice(tpu_of):
    tpu_of(hosts=1)
    devices = make_devices("tpu", tpu="local", **AUTO)
    assert (devices.precision, devices.jit_compile) == ("mixed_bfloat16", False)
    assert (devices.replicas, devices.replicas_of_worker, devices.workers) == (8, 8, 1)
    assert make_devices("tpu", tpu="local", mixed_precision="off").precision == "float32"


def test_a_tpu_of_several_hosts_is_one_line(tpu_of):
    tpu_of(hosts=4)
    with pytest.raises(ConfigError) as error:
        make_devices("tpu", tpu="local")
    assert_one_line(error, "one host", "4")


def assert_no_tpu(tpu=None, *words):
    began = time.monotonic()
    with pytest.raises(ConfigError) as error:
        make_devices("tpu", tpu=tpu)
    assert time.monotonic() - began < 30
    assert_one_line(error, "no TPU answers", *words)


@pytest.mark.usefixtures("no_tpu")
def test_a_machine_without_a_tpu_is_one_line():
    assert_no_tpu(None, "TPUs not found")


@pytest.mark.usefixtures("no_tpu")
@pytest.mark.parametrize("tpu", ["nonsense", "grpc://nowhere.invalid:8470", "grpc://127.0.0.1:1"])
def test_a_tpu_that_is_not_there_is_one_line_at_once(monkeypatch, tpu):
    assert_no_tpu(tpu, tpu)
    monkeypatch.setenv("TPU_NAME", tpu)
    assert_no_tpu()


@pytest.mark.slow
@pytest.mark.usefixtures("no_tpu")
def test_something_else_at_the_address_of_a_tpu_is_one_line_in_seconds():
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert_no_tpu(f"grpc://127.0.0.1:{server.getsockname()[1]}", "does not answer")
