"""The files that TensorFlow Serving reads: that it can parse them, and takes what they say."""

from pathlib import Path

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.client import BATCH_SIZE
from transform.prediction import MODEL_NAME

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FOLLOWING = DEPLOY / "serving" / "models.config"
PINNED = DEPLOY / "kubernetes" / "pinned" / "models.config"
BATCHING = sorted(DEPLOY.rglob("batching_parameters.config"))

_FIELD = descriptor_pb2.FieldDescriptorProto
_INT64, _BOOL, _STRING = ".Int64Value", ".BoolValue", ".StringValue"


def message_types():
    """BatchingParameters and MonitoringConfig, which tensorflow-serving-api does not ship."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="configuration.proto", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )

    def add(message, name, kind, **options):
        is_message = isinstance(kind, str)
        message.field.add(
            name=name,
            number=len(message.field) + 1,
            type=_FIELD.TYPE_MESSAGE if is_message else kind,
            type_name=kind if is_message else None,
            label=options.get("label", _FIELD.LABEL_OPTIONAL),
        )

    batching = file.message_type.add(name="BatchingParameters")
    for name, wrapper in {
        "max_batch_size": _INT64,
        "batch_timeout_micros": _INT64,
        "max_enqueued_batches": _INT64,
        "num_batch_threads": _INT64,
        "thread_pool_name": _STRING,
        "enable_large_batch_splitting": _BOOL,
        "max_execution_batch_size": _INT64,
    }.items():
        add(batching, name, f".google.protobuf{wrapper}")
    add(batching, "allowed_batch_sizes", _FIELD.TYPE_INT64, label=_FIELD.LABEL_REPEATED)
    add(batching, "pad_variable_length_inputs", _FIELD.TYPE_BOOL)
    prometheus = file.message_type.add(name="PrometheusConfig")
    add(prometheus, "enable", _FIELD.TYPE_BOOL)
    add(prometheus, "path", _FIELD.TYPE_STRING)
    monitoring = file.message_type.add(name="MonitoringConfig")
    add(monitoring, "prometheus_config", ".PrometheusConfig")
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
        for name in ("BatchingParameters", "MonitoringConfig")
    }


TYPES = message_types()


def only_model(file):
    config = text_format.Parse(file.read_text(), model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    return model


@pytest.mark.parametrize("file", [FOLLOWING, PINNED], ids=["following", "pinned"])
def test_the_model_that_clients_ask_for_is_the_one_served(file):
    model = only_model(file)
    assert model.name == MODEL_NAME
    assert model.base_path == f"/models/{MODEL_NAME}"
    assert model.model_platform == "tensorflow"


def test_the_newest_version_is_served_and_no_label_is_needed():
    model = only_model(FOLLOWING)
    assert model.model_version_policy.latest.num_versions == 1
    assert not model.version_labels


def test_labels_name_versions_that_are_loaded():
    model = only_model(PINNED)
    versions = list(model.model_version_policy.specific.versions)
    assert set(model.version_labels) == {"stable", "canary"}
    assert set(model.version_labels.values()) <= set(versions)
    assert model.version_labels["stable"] < model.version_labels["canary"]


def test_a_misspelt_field_would_be_noticed():
    with pytest.raises(text_format.ParseError):
        text_format.Parse("max_batchsize { value: 1 }", TYPES["BatchingParameters"]())


@pytest.mark.parametrize("file", BATCHING, ids=lambda file: file.parent.name)
def test_batching_parameters_are_consistent(file):
    parameters = text_format.Parse(file.read_text(), TYPES["BatchingParameters"]())
    largest = parameters.max_batch_size.value
    assert largest >= BATCH_SIZE, "the client's own requests would be refused"
    assert parameters.num_batch_threads.value >= 1
    assert parameters.max_enqueued_batches.value >= 1
    assert parameters.batch_timeout_micros.value >= 0
    allowed = list(parameters.allowed_batch_sizes)
    assert allowed == sorted(set(allowed))
    if parameters.enable_large_batch_splitting.value:
        # One check in the server compares the last allowed size with the largest request, another
        # with the largest batch: only without allowed sizes can the two differ.
        assert not allowed
        assert 1 <= parameters.max_execution_batch_size.value <= largest
        # A request that is split has to fit into the queue with all its parts.
        queue = parameters.max_enqueued_batches.value * parameters.max_execution_batch_size.value
        assert largest <= queue
    else:
        assert not parameters.HasField("max_execution_batch_size")
        assert not allowed or allowed[-1] == largest


def test_batching_is_set_for_the_processor_and_for_the_gpu():
    assert [file.parent.name for file in BATCHING] == ["gpu", "serving"]


def test_prometheus_finds_metrics_where_tensorflow_serving_documents_them():
    text = (DEPLOY / "serving" / "monitoring.config").read_text()
    config = text_format.Parse(text, TYPES["MonitoringConfig"]())
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"
