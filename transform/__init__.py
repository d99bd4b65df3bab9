"""What a CT slice is: how it is read, what its pixels mean, how they become the model's input."""

import os

# TFT 1.21 and TFMA 0.52 know Keras 2 only; this must stand before anything imports TensorFlow.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# A process that took all of a GPU's memory would leave none to the server that it validates with.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
