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

EXPLAIN = "explain"
"""Signature: `examples` as of `serving_default`, to its three outputs and `heatmap`."""

EXPLAIN_IMAGE = "explain_image"
"""Signature: `image_bytes` as of `predict_image`, to its three outputs and `heatmap`."""

HEATMAP = "heatmap"
"""Output of the two above: float32 [batch, s, s] in [0, 1], where in the model's input (s pixels a
side; the whole slice, squeezed to a square) the evidence for the positive class lies (Grad-CAM,
Selvaraju et al. 2017); all zeros where there is none."""

WARM_UP_REQUESTS = "assets.extra/tf_serving_warmup_requests"
"""Where in a SavedModel TensorFlow Serving looks for requests to begin with: a TFRecord file of
PredictionLog."""

PROBABILITY = "probability"
"""Output: float32 [batch], calibrated probability of COVID-19."""
DECISION = "decision"
"""Output: int64 [batch], 1 where the probability reaches the operating point, else 0."""
THRESHOLD = "threshold"
"""Output: float32 [batch], the operating point, the same for every row."""
