"""What the DAG hands to training, and what it wires to it."""

import json

from tfx.dsl.components.common.resolver import Resolver

from pipeline.config import ModelConfig, TrainConfig, parse_config
from pipeline.dag import Places, build_components
from pipeline.ingest_settings import cluster_ingest_settings
from trainer.weights import RANDOM_WEIGHTS

TINY = {"model": {"backbone": "tiny", "weights": "none"}}
WARM = {"model": {"backbone": "tiny", "weights": "last_blessed"}}


def components_of(values, fingerprint="da7a", **arguments):
    config = parse_config(values)
    places = Places(
        data="manifest.csv",
        fingerprint=fingerprint,
        key_fingerprint="0f-the-key",
        split_given=False,
        ingest=cluster_ingest_settings(config, "patient.key"),
        root="/work/pipeline",
        serving="/work/serving",
        schema="schema.pbtxt",
        findings_copy=None,
    )
    return {one.id: one for one in build_components(config, places, RANDOM_WEIGHTS, **arguments)}


def training_of(values, **arguments):
    trainer = components_of(values, **arguments)["Trainer"]
    return json.loads(trainer.exec_properties["custom_config"])


def keys_in(values):
    for key, value in values.items():
        yield key
        if isinstance(value, dict):
            yield from keys_in(value)


def test_every_key_of_the_network_and_of_its_fitting_reaches_training():
    """A key that is checked, documented and then forgotten would change nothing, silently."""
    given = set(keys_in(training_of(TINY)))
    assert set(ModelConfig.model_fields) <= given
    assert set(TrainConfig.model_fields) <= given
    assert {"operating_point", "target_sensitivity", "resamples", "seed"} <= given


def test_values_arrive_as_they_were_set():
    given = training_of(
        {
            "seed": 5,
            "model": {"backbone": "tiny", "weights": "none", "flip_average": True},
            "train": {"layer_decay": 0.7, "strategy": "mirrored"},
            "gate": {"operating_point": 0.4},
            "transform": {"image_size": 64},
        }
    )
    assert given["seed"] == 5
    assert given["flip_average"] is True
    assert given["fit"]["layer_decay"] == 0.7
    assert given["strategy"] == "mirrored"
    assert given["operating_point"] == 0.4
    assert given["model"]["image_size"] == 64


def test_checkpoints_lie_where_a_run_that_begins_anew_finds_them():
    assert training_of(TINY)["checkpoints"] == "/work/pipeline/Trainer/.checkpoints"


def test_the_key_of_the_patient_ids_is_no_part_of_the_data_s_fingerprint():
    components = components_of(TINY)
    assert training_of(TINY)["data_fingerprint"] == "da7a"
    assert "0f-the-key" not in str(components["Trainer"].exec_properties)
    # Ingestion, which writes the ids, runs anew under another key.
    assert components["CTExampleGen"].exec_properties["input_fingerprint"] == "da7a0f-the-key"


def test_history_reaches_training_only_where_it_is_asked_for():
    cold, warm = components_of(TINY), components_of(WARM)
    assert "Parent" not in cold
    assert "base_model" not in cold["Trainer"].inputs
    assert training_of(TINY)["warm_start"] is False
    assert warm["Trainer"].inputs["base_model"].producer_component_id == "Parent"
    assert training_of(WARM)["warm_start"] is True
    assert training_of(WARM)["weights"] == "none"


def test_on_a_cluster_a_record_tells_of_history_and_no_resolver_is_asked():
    components = components_of(WARM, local=False)
    assert components["Trainer"].inputs["base_model"].producer_component_id == "LastAccepted"
    assert not [one for one in components.values() if isinstance(one, Resolver)]


def test_the_tiny_backbone_may_begin_with_the_last_blessed_model():
    assert parse_config(WARM).model.weights == "last_blessed"
