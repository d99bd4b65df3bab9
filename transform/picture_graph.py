"""Reading a PNG or JPEG picture in the graph, as `transform.reading.picture` does outside it."""

import tensorflow as tf

from transform.reading.picture import window_rescale

# ITU-R BT.601 luma in 16-bit fixed point, with the coefficients that Pillow uses, so that a
# picture served as bytes and the same picture ingested from disk give the same grey levels.
_RED, _GREEN, _BLUE, _HALF, _ONE = 19595, 38470, 7471, 0x8000, 0x10000

# PNG (ISO/IEC 15948) section 11.2.2: bit depth and colour type in the header chunk.
_BIT_DEPTH_AT, _SIXTEEN_BIT, _GREY = 24, b"\x10", b"\x00"
_WHITE = 255.0


def decode_grey(encoded: tf.Tensor) -> tf.Tensor:
    """Decode one picture to grey levels.

    Args:
      encoded: string [], an 8-bit PNG or JPEG of any colour type, or a 16-bit grey PNG.

    Returns:
      float32 [height, width, 1] in [0, 255]; fractional only for 16-bit PNG.
    """

    def luma(rgb: tf.Tensor) -> tf.Tensor:
        rgb = tf.cast(rgb, tf.int32)
        red, green, blue = tf.split(rgb, 3, axis=-1)
        return tf.cast((red * _RED + green * _GREEN + blue * _BLUE + _HALF) // _ONE, tf.float32)

    def jpeg() -> tf.Tensor:
        # TensorFlow's default transform is the fast one, which differs from Pillow's by up to 18
        # grey levels on COVID-CT.
        return luma(tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"))

    def png() -> tf.Tensor:
        return luma(tf.io.decode_png(encoded, channels=3))

    def png_16_bit_grey() -> tf.Tensor:
        grey = tf.io.decode_png(encoded, channels=1, dtype=tf.uint16)
        return tf.cast(grey, tf.float32) * (_WHITE / 65535.0)

    depth_and_type = tf.strings.substr(
        tf.strings.join([encoded, tf.constant(b"\xff" * (_BIT_DEPTH_AT + 2))]), _BIT_DEPTH_AT, 2
    )
    return tf.cond(
        tf.io.is_jpeg(encoded),
        jpeg,
        lambda: tf.cond(tf.equal(depth_and_type, _SIXTEEN_BIT + _GREY), png_16_bit_grey, png),
    )


def picture_rescale(window: tuple[float, float]) -> tuple[float, float]:
    """Slope and intercept (HU) of the grey levels of `decode_grey` under an assumed window."""
    return window_rescale(window, int(_WHITE))
