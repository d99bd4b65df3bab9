"""The operations, in the graph, between a stored slice and the model's input."""

import tensorflow as tf

from transform.pixel_limit import limited_png

# More at once only take more memory where few cores decode: each of the largest slices needs 100
# MiB, and each of the largest pictures half a gigabyte.
SLICES_AT_ONCE = 2


def decode_stored(encoded: tf.Tensor) -> tf.Tensor:
    """Decode the 16-bit PNG of a CT example.

    Args:
      encoded: string [], `image/encoded`.

    Returns:
      float32 [height, width, 1], stored values (all of 0..65535 are exact in float32). Running it
      raises InvalidArgumentError for what is no PNG, and before decoding for more than `MAX_PIXELS`
      pixels.
    """
    limited = limited_png(encoded)
    return tf.cast(tf.io.decode_png(limited, channels=1, dtype=tf.uint16), tf.float32)


def to_hounsfield(stored: tf.Tensor, slope: tf.Tensor, intercept: tf.Tensor) -> tf.Tensor:
    """Apply the linear modality LUT, HU = stored * slope + intercept (DICOM PS3.3 C.11.1.1.2).

    Args:
      stored: float32, stored values of any shape.
      slope: float32, HU per stored value, broadcast against `stored`.
      intercept: float32, HU of stored value 0, broadcast against `stored`.

    Returns:
      float32 of the shape of `stored`, HU.
    """
    return stored * slope + intercept


def clip_and_scale(hounsfield: tf.Tensor, hu_min: float, hu_max: float) -> tf.Tensor:
    """Map [hu_min, hu_max] HU to [0, 1] and clip what lies outside (paper: -1000 and 400).

    Returns:
      float32 of the same shape, without unit.
    """
    return tf.clip_by_value((hounsfield - hu_min) / (hu_max - hu_min), 0.0, 1.0)


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resize to a square with antialiasing, so that fine texture does not alias into opacity.

    Args:
      image: float32 [height, width, 1].
      size: the side of the result in pixels.

    Returns:
      float32 [size, size, 1]; the range is kept (bilinear weights are positive and sum to 1).
    """
    return tf.image.resize(image, [size, size], method="bilinear", antialias=True)


def scaled_slices(
    encoded: tf.Tensor,
    slope: tf.Tensor,
    intercept: tf.Tensor,
    *,
    hu_min: float,
    hu_max: float,
    size: int,
) -> tf.Tensor:
    """Decode, convert to HU, clip, scale and resize a batch of CT examples.

    Slices of a batch differ in size, so they are mapped one by one up to the resize.

    Args:
      encoded: string [batch], 16-bit PNG.
      slope: float32 [batch], HU per stored value.
      intercept: float32 [batch], HU of stored value 0.
      hu_min: the HU that becomes 0.
      hu_max: the HU that becomes 1.
      size: the side of the result in pixels.

    Returns:
      float32 [batch, size, size, 1] in [0, 1].
    """

    def one_slice(inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        one_encoded, one_slope, one_intercept = inputs
        hounsfield = to_hounsfield(decode_stored(one_encoded), one_slope, one_intercept)
        return resize(clip_and_scale(hounsfield, hu_min, hu_max), size)

    return tf.map_fn(
        one_slice,
        (encoded, slope, intercept),
        parallel_iterations=SLICES_AT_ONCE,
        fn_output_signature=tf.TensorSpec([size, size, 1], tf.float32),
    )
