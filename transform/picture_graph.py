"""Reading a PNG or JPEG picture in the graph, as `transform.reading.picture` does outside it."""

import tensorflow as tf

from transform.pixel_limit import limited_jpeg, limited_png

# ITU-R BT.601 luma in 16-bit fixed point, with the coefficients that Pillow uses, so that a
# picture served as bytes and the same picture ingested from disk give the same grey levels.
_RED, _GREEN, _BLUE, _HALF, _ONE = 19595, 38470, 7471, 0x8000, 0x10000

# PNG (ISO/IEC 15948) section 11.2.2: bit depth and colour type in the header chunk.
_BIT_DEPTH_AT, _SIXTEEN_BIT, _GREY = 24, b"\x10", b"\x00"
_WHITE_8_BIT, _WHITE_16_BIT = 255.0, 65535.0


def decode_picture(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode one picture to grey levels.

    Args:
      encoded: string [], a PNG or JPEG of any colour type and depth. Only grey without alpha keeps
        16 bit; of other 16-bit samples the high bytes count.

    Returns:
      uint16 [height, width, 1], grey levels, and float32 [], the level of white (255 or 65535).
      Running it raises InvalidArgumentError for what is neither or cannot be decoded, and before
      decoding for more than `MAX_PIXELS` pixels.
    """

    def luma(rgb: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        red, green, blue = tf.split(tf.cast(rgb, tf.int32), 3, axis=-1)
        grey = (red * _RED + green * _GREEN + blue * _BLUE + _HALF) // _ONE
        return tf.cast(grey, tf.uint16), tf.constant(_WHITE_8_BIT)

    def jpeg() -> tuple[tf.Tensor, tf.Tensor]:
        # TensorFlow's default transform is the fast one, which differs from Pillow's by up to 18
        # grey levels on COVID-CT.
        limited = limited_jpeg(encoded)
        return luma(tf.io.decode_jpeg(limited, channels=3, dct_method="INTEGER_ACCURATE"))

    def png() -> tuple[tf.Tensor, tf.Tensor]:
        limited = limited_png(encoded, "a PNG or JPEG")

        def sixteen_bit_grey() -> tuple[tf.Tensor, tf.Tensor]:
            grey = tf.io.decode_png(limited, channels=1, dtype=tf.uint16)
            return grey, tf.constant(_WHITE_16_BIT)

        # Padded, so that a picture too short to have a header fails in its decoder and not here.
        padded = tf.strings.join([limited, tf.constant(b"\xff" * (_BIT_DEPTH_AT + 2))])
        depth_and_type = tf.strings.substr(padded, _BIT_DEPTH_AT, 2)
        return tf.cond(
            tf.equal(depth_and_type, _SIXTEEN_BIT + _GREY),
            sixteen_bit_grey,
            lambda: luma(tf.io.decode_png(limited, channels=3)),
        )

    return tf.cond(tf.io.is_jpeg(encoded), jpeg, png)


def stored_picture(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A picture as a CT example stores it.

    Args:
      encoded: string [], as `decode_picture` takes.

    Returns:
      string [], a 16-bit PNG of the grey levels, and float32 [], the level of white.
    """
    grey, white = decode_picture(encoded)
    # The PNG is decoded again at once by the Transform graph, so that it is not compressed.
    return tf.io.encode_png(grey, compression=0), white
