"""Pictures of test slices, with the model's evidence for COVID-19 laid over them (Grad-CAM)."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
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

# What TensorFlow raises for a model, a signature or an example that cannot be used.
_FAILURES = (tf.errors.OpError, OSError, ValueError, TypeError, KeyError)

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


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", None) or error).split())[:200]


def _find_records(files: Sequence[str], wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """The serialised CT examples of some ids, each once; stops when all were found."""
    spec = {ct_example.IMAGE_ID: tf.io.FixedLenFeature([], tf.string)}

    def with_id(serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.io.parse_single_example(serialised, spec)[ct_example.IMAGE_ID], serialised

    missing = set(wanted)
    records = tf.data.TFRecordDataset(list(files), compression_type="GZIP").map(with_id)
    for image_id, serialised in records.as_numpy_iterator() if missing else ():
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
    except _FAILURES as error:
        return None, None, f"The model could not be loaded to explain slices: {_one_line(error)}."
    explain = model.signatures.get(EXPLAIN)
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
    except _FAILURES as error:
        return SlicePicture(None), _one_line(error)
    if explain is None:
        return SlicePicture(_encode(grey)), None
    try:
        heat = explain(**{EXAMPLES: tf.constant([serialised])})[HEATMAP].numpy()[0]
        if heat.ndim != 2 or not np.isfinite(heat).all():
            raise ValueError("its heat map is no map of numbers")
        pixels = blend(grey, heat)
    except _FAILURES as error:
        return SlicePicture(_encode(grey)), _one_line(error)
    return SlicePicture(_encode(pixels), explained=True, silent=not heat.any()), None


def draw_slices(
    ids: Iterable[str],
    files: Sequence[str],
    model_path: str,
    window: tuple[float, float] | None,
) -> SlicePictures:
    """Draw some slices of the test split; what cannot be drawn is said and stops nothing.

    The files are read once, up to the last of these slices; one slice is decoded at a time.

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
    except _FAILURES as error:
        remarks.append(f"The test split could not be read to its end: {_one_line(error)}.")
    del model
    for failure, names in failures.items():
        remarks.append(f"Not drawn, or without an overlay ({', '.join(names)}): {failure}.")
    if lost := sorted(wanted - drawn.keys()):
        remarks.append(f"Not found in the test split's files: {', '.join(lost)}.")
    return SlicePictures(drawn, remarks)
