"""What the exported model says: the names of its signatures, their inputs and their outputs.

TFMA, the client, the server and the report all read these names from here.
"""

MODEL_NAME = "ctnet"

SERVING_DEFAULT = "serving_default"
"""Signature: `examples` string [batch], serialised CT examples, to the three outputs below."""
EXAMPLES = "examples"

PREDICT_IMAGE = "predict_image"
"""Signature: `image_bytes` string [batch], 8-bit PNG or JPEG, to the three outputs below."""
IMAGE_BYTES = "image_bytes"

TRANSFORM_FEATURES = "transform_features"
"""Signature: `examples` string [batch] to the model's input, `image` float32 [batch, s, s, 1]."""

PROBABILITY = "probability"
"""Output: float32 [batch], calibrated probability of COVID-19."""
DECISION = "decision"
"""Output: int64 [batch], 1 where the probability reaches the operating point, else 0."""
THRESHOLD = "threshold"
"""Output: float32 [batch], the operating point, the same for every row."""
