"""The most pixels that a slice may have, and the refusal of larger pictures before decoding.

A few kilobytes of compressed zeros decode to any number of pixels. Ingestion refuses such files
with a reason; what is here does the same in the graph, for a model that is asked over the network.
"""

import tensorflow as tf

# A chest CT slice has at most 2048 x 2048 pixels; a scan of a printed page is larger. Beyond
# this a few kilobytes of compressed zeros could take the memory of the worker.
MAX_PIXELS = 4096 * 4096

# PNG (ISO/IEC 15948) sections 5.2 and 11.2.2: the signature, then the header chunk, whose data is
# 13 bytes long and begins with width and height.
_PNG_START = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x0dIHDR"
_PNG_SIDES_BYTES = 8
_PNG_HEADER_BYTES = len(_PNG_START) + _PNG_SIDES_BYTES


def limited_png(encoded: tf.Tensor, expected: str = "a PNG") -> tf.Tensor:
    """A PNG whose header says that it is not too large; use it in place of `encoded`.

    TensorFlow's decoders take whatever format the bytes are of, and GIF and WebP say their size
    elsewhere, so that nothing but a PNG is let through.

    Args:
      encoded: string [].
      expected: what the error says that other bytes are not.

    Returns:
      string [], the same bytes. Running it raises InvalidArgumentError for bytes that do not begin
      as a PNG does and for more than `MAX_PIXELS` pixels; damage further on is left to the decoder.
    """
    is_png = tf.equal(tf.strings.substr(encoded, 0, len(_PNG_START)), _PNG_START)
    with tf.control_dependencies([tf.Assert(is_png, [f"the picture is not {expected}"])]):
        # Padded, so that a cut header fails in the decoder, which says so.
        padded = tf.strings.join([encoded, tf.constant(bytes(_PNG_HEADER_BYTES))])
    sides = tf.strings.substr(padded, len(_PNG_START), _PNG_SIDES_BYTES)
    signed = tf.cast(tf.io.decode_raw(sides, tf.int32, little_endian=False), tf.int64)
    width, height = tf.unstack(tf.math.floormod(signed, 2**32), 2)
    return _limited(encoded, width, height)


def limited_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """A JPEG that is not too large; use it in place of `encoded`.

    Args:
      encoded: string [].

    Returns:
      string [], the same bytes. Running it raises InvalidArgumentError for more than `MAX_PIXELS`
      pixels and for bytes that hold no whole JPEG header.
    """
    # The size comes from the library that decodes, so that the two cannot disagree.
    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(encoded, output_type=tf.int64), 3)
    return _limited(encoded, width, height)


def _limited(encoded: tf.Tensor, width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    # The product of two sides of 32 bit can be more than an int64 holds.
    pixels = tf.cast(width, tf.float64) * tf.cast(height, tf.float64)
    sides = tf.strings.join([tf.strings.as_string(width), tf.strings.as_string(height)], " x ")
    said = tf.strings.join(
        ["the picture has ", sides, f" pixels, more than the {MAX_PIXELS} that a slice may have"]
    )
    with tf.control_dependencies([tf.Assert(pixels <= MAX_PIXELS, [said])]):
        return tf.identity(encoded)
