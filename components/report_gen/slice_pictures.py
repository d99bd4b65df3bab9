"""Pictures of test slices, with the model's evidence for COVID-19 laid over them (Grad-CAM)."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image

from serving.overlay import blend, in_lung_window
from transform import ct_example
from transform.hounsfield import decode_stored, to_hounsfield
from transform.prediction import EXAMPLES, EXPLAIN, HEATMAP

SIDE = 256
"""Of the square that a picture fits into, pixels."""
MOST_BYTES = 15_000
"""Of a picture; as a `data:` address it takes a third more."""

_QUALITIES = (82, 70, 55, 40)
# Files that are read at a time.
_FILES_AT_A_TIME = 16

_SPEC = {
    ct_example.IMAGE: tf.io.FixedLenFeature([], tf.string),
    ct_example.SLOPE: tf.io.FixedLenFeature([], tf.float32),
    ct_example.INTERCEPT: tf.io.FixedLenFeature([], tf.float32),
    ct_example.CALIBRATED: tf.io.FixedLenFeature([], tf.int64, 1),
}


@dataclasses.dataclass(frozen=True)
class SlicePicture:
    """One slice as it is shown.

    Attributes:
      source: a `data:` address, or None where it cannot be drawn.
      explained: whether the evidence is laid over it.
      silent: whether it was looked for, and nothing speaks for the positive class.
    """

    source: str | None
    explained: bool = False
    silent: bool = False


@dataclasses.dataclass(frozen=True)
class SlicePictures:
    """The pictures of some slices.

    Attributes:
      by_id: by the slices' ids.
      remarks: why pictures or their overlays are missing, a sentence each.
    """

    by_id: dict[str, SlicePicture]
    remarks: list[str]


def _reason(error: Exception) -> str:
    """Why something could not be drawn, on one line; the log has all of it.

    Pictures are drawn after the model was pushed. Whatever goes wrong with one, also what nobody
    thought of, must not fail the report.
    """
    logging.warning("A slice of the report could not be drawn.", exc_info=error)
    return (
        " ".join(str(getattr(error, "message", None) or error).split())[:200]
        or type(error).__name__
    )


def _find_records(files: Sequence[str], wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """The serialised CT examples of some ids, each once; stops when all were found.

    Files are read side by side, and what is not wanted never reaches Python. The order is that of
    the files, however fast each is read.
    """
    spec = {ct_example.IMAGE_ID: tf.io.FixedLenFeature([], tf.string)}
    names = tf.constant([one.encode(errors="replace") for one in sorted(wanted)])

    def with_id(serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.io.parse_single_example(serialised, spec)[ct_example.IMAGE_ID], serialised

    def found_in(file: tf.Tensor) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(file, compression_type="GZIP").map(with_id)
        return records.filter(lambda image_id, _: tf.reduce_any(image_id == names))

    missing = set(wanted)
    records = tf.data.Dataset.from_tensor_slices(tf.constant(list(files), tf.string)).interleave(
        found_in,
        cycle_length=_FILES_AT_A_TIME,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    for image_id, serialised in records.as_numpy_iterator():
        name = image_id.decode(errors="replace")
        if name in missing:
            missing.remove(name)
            yield name, serialised
        if not missing:
            return


def _grey(serialised: bytes, window: tuple[float, float] | None) -> np.ndarray:
    """A slice as it is looked at, uint8 [height, width]: no side is longer than `SIDE`."""
    features = tf.io.parse_single_example(serialised, _SPEC)
    hounsfield = to_hounsfield(
        decode_stored(features[ct_example.IMAGE]),
        features[ct_example.SLOPE],
        features[ct_example.INTERCEPT],
    ).numpy()[..., 0]
    if features[ct_example.CALIBRATED] or window is None:
        grey = in_lung_window(hounsfield)
    else:
        # A picture looks as it did before its grey levels were read under this window.
        black, white = window
        shown = np.clip((hounsfield - black) / (white - black), 0.0, 1.0)
        grey = np.rint(shown * 255).astype(np.uint8)
    image = Image.fromarray(grey)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(image)


def _encode(pixels: np.ndarray) -> str:
    """A picture as a `data:` address, of as high a quality as `MOST_BYTES` allow."""
    image = Image.fromarray(pixels)
    content = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        content = file.getvalue()
        if len(content) <= MOST_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")


_Explain = Callable[..., dict[str, tf.Tensor]]


def _load_explain(model_path: str) -> tuple[object, _Explain | None, str | None]:
    """The model, which must be kept while it is asked; its signature; and why there is none."""
    try:
        model = tf.saved_model.load(model_path)
        explain = model.signatures.get(EXPLAIN)
    except Exception as error:
        return None, None, f"The model could not be loaded to explain slices: {_reason(error)}."
    if explain is None:
        why = f"The model has no signature {EXPLAIN!r}: the slices are shown without overlays."
        return model, None, why
    return model, explain, None


def _draw(
    serialised: bytes, explain: _Explain | None, window: tuple[float, float] | None
) -> tuple[SlicePicture, str | None]:
    """A picture, and why it or its overlay is missing."""
    try:
        grey = _grey(serialised, window)
        plain = SlicePicture(_encode(grey))
    except Exception as error:
        return SlicePicture(None), _reason(error)
    if explain is None:
        return plain, None
    try:
        heat = explain(**{EXAMPLES: tf.constant([serialised])})[HEATMAP].numpy()[0]
        if heat.ndim != 2 or not np.isfinite(heat).all():
            raise ValueError("its heat map is no map of numbers")
        source = _encode(blend(grey, heat))
    except Exception as error:
        return plain, _reason(error)
    return SlicePicture(source, explained=True, silent=not heat.any()), None


def draw_slices(
    ids: Iterable[str],
    files: Sequence[str],
    model_path: str,
    window: tuple[float, float] | None,
) -> SlicePictures:
    """Draw some slices of the test split; what cannot be drawn is said and stops nothing.

    The files are read once, no further than needed; one slice is decoded at a time.

    Args:
      ids: of the slices.
      files: gzipped TFRecord of CT examples.
      model_path: the SavedModel.
      window: HU of black and of white, under which pictures without Hounsfield units were read;
        None: all are shown in the lung window.
    """
    wanted = set(ids)
    if not wanted:
        return SlicePictures({}, [])
    # Bound to a name: functions of a model that is gone have no variables.
    model, explain, why = _load_explain(model_path)
    remarks = [why] if why else []
    drawn: dict[str, SlicePicture] = {}
    failures: dict[str, list[str]] = {}
    try:
        for name, serialised in _find_records(files, wanted):
            drawn[name], failure = _draw(serialised, explain, window)
            if failure:
                failures.setdefault(failure, []).append(name)
    except Exception as error:
        remarks.append(f"The test split could not be read to its end: {_reason(error)}.")
    del model
    for failure, names in failures.items():
        remarks.append(f"Not drawn, or without an overlay ({', '.join(names)}): {failure}.")
    if lost := sorted(wanted - drawn.keys()):
        remarks.append(f"Not found in the test split's files: {', '.join(lost)}.")
    return SlicePictures(drawn, remarks)
