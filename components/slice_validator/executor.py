"""The work of SliceValidator."""

from __future__ import annotations

from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.types import standard_component_specs

from transform import ct_example
from transform.errors import BadDataError


def without_pixels(schema: schema_pb2.Schema) -> schema_pb2.Schema:
    """The schema of what statistics are made of: image bytes would only drown them."""
    reduced = schema_pb2.Schema()
    reduced.CopyFrom(schema)
    del reduced.feature[:]
    reduced.feature.extend(one for one in schema.feature if one.name != ct_example.IMAGE)
    return reduced


class Executor(example_validator.Executor):
    """ExampleValidator's executor, without the pixels, and with consequences."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Validate every split.

        Raises:
          BadDataError: an error-level anomaly; all of them are named.
        """
        self._errors: list[str] = []
        output = super().Do(input_dict, output_dict, exec_properties)
        if self._errors:
            raise BadDataError(
                f"the data breaks the schema: {'; '.join(dict.fromkeys(self._errors))}"
            )
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
