"""The CT example: one slice as a tf.Example, and the names of its features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from transform.png16 import encode_png16

# The names of all features are to be found here.
from transform.slice_statistics import (  # noqa: F401
    HEIGHT,
    LUNG_FRACTION,
    MAX_HU,
    MEAN_HU,
    MIN_HU,
    NOISE,
    SHARPNESS,
    SPACING,
    STATS,
    STD_HU,
    WIDTH,
    slice_statistics,
)

IMAGE = "image/encoded"
SLOPE = "image/slope"
INTERCEPT = "image/intercept"
CALIBRATED = "image/calibrated"
IMAGE_ID = "image/id"
PATIENT_ID = "patient_id"
SOURCE = "source"
LABEL = "label"
AGE = "age"
SEX = "sex"
STUDY_DATE = "study_date"
SPAN = "span"

# The splits, in the order in which a run uses them.
TRAIN = "train"
EVAL = "eval"
TEST = "test"
SPLITS = (TRAIN, EVAL, TEST)


@dataclasses.dataclass(frozen=True)
class StoredSlice:
    """One axial slice as it is stored, with the linear map to Hounsfield units.

    Attributes:
      stored: uint16 [height, width], stored values (signed ones already shifted).
      slope: HU per stored value (DICOM PS3.3 C.11.1.1.2, Rescale Slope).
      intercept: HU of stored value 0 (DICOM PS3.3 C.11.1.1.2, Rescale Intercept).
      calibrated: True where slope and intercept came from the scanner, False where they were
        assumed from a display window.
      spacing: mm from one pixel to the next, the mean of both directions; None where unknown.
    """

    stored: np.ndarray
    slope: float
    intercept: float
    calibrated: bool
    spacing: float | None = None

    def hounsfield(self) -> np.ndarray:
        """HU of every pixel, float32 [height, width]."""
        return self.stored.astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)


@dataclasses.dataclass(frozen=True)
class SliceFacts:
    """What is known of a slice besides its pixels.

    Attributes:
      image_id: which slice.
      patient_id: whose; empty only in prediction.
      source: where it came from; may be empty.
      label: 1 positive, 0 negative, None when unknown (prediction only).
      age: years, None when unknown.
      sex: as the manifest writes it, None when unknown.
      study_date: as the manifest writes it, None when unknown.
      span: number of the span that it came with, None where there are no spans (and in prediction).
    """

    image_id: str
    patient_id: str = ""
    source: str = ""
    label: int | None = None
    age: float | None = None
    sex: str | None = None
    study_date: str | None = None
    span: int | None = None


def _feature(value: bytes | str | float | int) -> tf.train.Feature:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def make_example(
    stored_slice: StoredSlice,
    facts: SliceFacts,
    statistics: Mapping[str, float] | None = None,
) -> tf.train.Example:
    """The CT example of a slice; features that are unknown are absent, not empty.

    Args:
      stored_slice: its pixels.
      facts: what else is known of it.
      statistics: its `slice_statistics`, where the caller has them already.
    """
    if statistics is None:
        statistics = slice_statistics(stored_slice)
    values: dict[str, bytes | str | float | int] = {
        IMAGE: encode_png16(stored_slice.stored),
        SLOPE: float(stored_slice.slope),
        INTERCEPT: float(stored_slice.intercept),
        CALIBRATED: int(stored_slice.calibrated),
        IMAGE_ID: facts.image_id,
        PATIENT_ID: facts.patient_id,
        SOURCE: facts.source,
        **statistics,
    }
    optional: Mapping[str, str | float | int | None] = {
        LABEL: facts.label,
        AGE: None if facts.age is None else float(facts.age),
        SEX: facts.sex or None,
        STUDY_DATE: facts.study_date or None,
        SPAN: facts.span,
    }
    values.update({name: value for name, value in optional.items() if value is not None})
    features = {name: _feature(value) for name, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features))


def stored_slice_of(example: tf.train.Example) -> StoredSlice:
    """The slice that a CT example holds, as `make_example` was given it.

    Slope, intercept and spacing are what float32, in which an example keeps them, makes of them.

    Args:
      example: as `make_example` makes it.

    Raises:
      tf.errors.InvalidArgumentError: the pixels are no PNG.
    """
    features = example.features.feature
    encoded = features[IMAGE].bytes_list.value[0]
    # Looking a feature up that is not there would add it.
    known = SPACING in features
    return StoredSlice(
        stored=tf.io.decode_png(encoded, channels=1, dtype=tf.uint16).numpy()[..., 0],
        slope=features[SLOPE].float_list.value[0],
        intercept=features[INTERCEPT].float_list.value[0],
        calibrated=bool(features[CALIBRATED].int64_list.value[0]),
        spacing=features[SPACING].float_list.value[0] if known else None,
    )
