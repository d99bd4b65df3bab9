"""The work of SliceValidator."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from absl import logging
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from components.slice_validator import drift
from components.slice_validator.comparison import Comparator, compare
from components.slice_validator.drift import Difference, Drift
from components.slice_validator.span_statistics import (
    is_whole,
    newest_span,
    statistics_of_span,
)
from transform import ct_example
from transform.errors import BadDataError

BASELINE_STATISTICS = "baseline_statistics"

REFUSE_DRIFT = "refuse_drift"
"""The parameter by which drift since the last accepted run stops the run."""

STATISTICS_ID = "statistics_id"
"""Custom property of the anomalies: the id of the statistics that passed."""


def without_pixels(schema: schema_pb2.Schema) -> schema_pb2.Schema:
    """The schema of what statistics are made of: image bytes would only drown them."""
    reduced = schema_pb2.Schema()
    reduced.CopyFrom(schema)
    del reduced.feature[:]
    reduced.feature.extend(one for one in schema.feature if one.name != ct_example.IMAGE)
    return reduced


def _by_split(artifact: types.Artifact) -> dict[str, statistics_pb2.DatasetFeatureStatisticsList]:
    return {
        split: stats_artifact_utils.load_statistics(artifact, split).proto()
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }


def _newest_span_since(
    splits: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList],
    before: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList],
    schema: schema_pb2.Schema,
) -> Iterator[Difference]:
    span = newest_span(splits.values())
    for split in splits:
        slices = statistics_of_span(splits[split], span) if span is not None else None
        # A split that is of this span alone was compared as a whole.
        if slices is None or split not in before or is_whole(slices, splits[split]):
            continue
        for one in compare(
            slices,
            before[split],
            schema,
            Comparator.DRIFT,
            (split, split),
            (f"span {span} in the {split} split", f"the {split} split of the last accepted run"),
        ):
            yield dataclasses.replace(one, span=span)


def find_drift(
    statistics: types.Artifact, baseline: types.Artifact | None, schema: schema_pb2.Schema
) -> Drift:
    """Compare the splits of a run with each other, and with those of the last accepted run.

    The newest span is compared with the last accepted run for itself, too: in a rolling window the
    older ones would hide it.

    Args:
      statistics: of the run.
      baseline: of the last accepted run, None where there is none.
      schema: whose drift comparators hold.
    """
    splits = _by_split(statistics)
    between: list[Difference] = []
    for split in (ct_example.EVAL, ct_example.TEST):
        if split in splits and ct_example.TRAIN in splits:
            between += compare(
                splits[split],
                splits[ct_example.TRAIN],
                schema,
                Comparator.DRIFT,
                (ct_example.TRAIN, split),
                (f"the {split} split", f"the {ct_example.TRAIN} split"),
            )
    since: list[Difference] = []
    before = _by_split(baseline) if baseline else {}
    for split in splits:
        if split in before:
            since += compare(
                splits[split],
                before[split],
                schema,
                Comparator.DRIFT,
                (split, split),
                (f"the {split} split", "that of the last accepted run"),
            )
    since += _newest_span_since(splits, before, schema)
    return Drift(tuple(between), tuple(since), has_last_run=baseline is not None)


class Executor(example_validator.Executor):
    """ExampleValidator's executor, without the pixels, with consequences, and with drift."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Validate every split, then look for drift, which stops only where it is told to.

        Raises:
          BadDataError: an error-level anomaly; all of them are named. Or drift since the last
            accepted run, where it stops; all of that is named.
        """
        self._errors: list[str] = []
        statistics = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.STATISTICS_KEY]
        )
        anomalies = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.ANOMALIES_KEY]
        )
        # Only a validation that passed leaves its anomalies, so that this says which ones did.
        anomalies.set_int_custom_property(STATISTICS_ID, statistics.id)
        output = super().Do(input_dict, output_dict, exec_properties)
        if self._errors:
            raise BadDataError(
                f"the data breaks the schema: {'; '.join(dict.fromkeys(self._errors))}"
            )
        schema = io_utils.SchemaReader().read(
            io_utils.get_only_uri_in_dir(
                artifact_utils.get_single_uri(input_dict[standard_component_specs.SCHEMA_KEY])
            )
        )
        baselines = input_dict.get(BASELINE_STATISTICS) or [None]
        found = find_drift(statistics, baselines[0], schema)
        for line in found.lines:
            logging.warning("Drift: %s.", line)
        if found.since_last_run and exec_properties.get(REFUSE_DRIFT):
            # No anomalies are left, so that these statistics are not accepted.
            raise BadDataError(
                "the data has drifted from what was accepted last: "
                f"{'; '.join(one.line for one in found.since_last_run)}. Find out what changed, "
                "then mend the data, or accept it with ctnet retrain --accept-drift"
            )
        with fileio.open(f"{anomalies.uri}/{drift.FILE_NAME}", "w") as file:
            file.write(found.to_json())
        return output

    def _Validate(  # noqa: N802 TFX's name
        self, inputs: dict[str, Any], outputs: dict[str, Any]
    ) -> anomalies_pb2.Anomalies:
        key = standard_component_specs.SCHEMA_KEY
        reduced = {**inputs, key: without_pixels(inputs[key])}
        anomalies = super()._Validate(reduced, outputs)
        self._errors += [
            f"{feature}: {info.description}"
            for feature, info in sorted(anomalies.anomaly_info.items())
            if info.severity == anomalies_pb2.AnomalyInfo.ERROR
        ]
        return anomalies
