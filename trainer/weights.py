"""The backbone's pretrained weights: where `model.weights` points, checked before a run starts."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from transform.errors import ConfigError

NONE = "none"
IMAGENET = "imagenet"
LAST_BLESSED = "last_blessed"

# tf_keras.applications.efficientnet: the file that weights="imagenet" fetches, and its MD5.
_KERAS_FILE = "efficientnetb3_notop.h5"
_KERAS_MD5 = "af6d107764bb5b1abb91932881670226"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class BackboneWeights:
    """Resolved weights.

    Attributes:
      path: the HDF5 file, None for random weights. Where the Trainer looks for the file itself,
        what `resolve_weights` takes.
      fingerprint: MD5 of the file, "none" for random weights; where the file is not known yet,
        what `resolve_weights` takes.
    """

    path: str | None
    fingerprint: str

    @property
    def is_keras_imagenet(self) -> bool:
        """Whether this is Keras's own file, whose inputs need one more rescaling inside."""
        return self.fingerprint == _KERAS_MD5


RANDOM_WEIGHTS = BackboneWeights(None, NONE)


def unresolved_weights(weights: str) -> BackboneWeights:
    """Weights that the Trainer finds and checks itself."""
    return RANDOM_WEIGHTS if weights == NONE else BackboneWeights(weights, fingerprint=weights)


def weights_without_blessed_model(weights: str, backbone: str) -> str:
    """What `model.weights` means where no model is blessed yet.

    Args:
      weights: `model.weights`.
      backbone: `model.backbone`; "tiny" has no pretrained weights.

    Returns:
      `weights`, or what stands in for "last_blessed".
    """
    if weights != LAST_BLESSED:
        return weights
    return NONE if backbone == "tiny" else IMAGENET


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _from_file(path: Path) -> BackboneWeights:
    try:
        with path.open("rb") as file:
            signature = file.read(len(_HDF5_SIGNATURE))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"model.weights: {path}: {reason}; give imagenet, none, last_blessed, or the path of "
            f"a file like Keras's {_KERAS_FILE}"
        ) from None
    if signature != _HDF5_SIGNATURE:
        raise ConfigError(f"model.weights: {path} is not an HDF5 file like Keras's {_KERAS_FILE}")
    return BackboneWeights(str(path.resolve()), _md5(path))


def _from_keras() -> BackboneWeights:
    import tf_keras  # late, because a run with other weights need not wait for it

    try:
        path = tf_keras.utils.get_file(
            _KERAS_FILE,
            f"https://storage.googleapis.com/keras-applications/{_KERAS_FILE}",
            cache_subdir="models",
            file_hash=_KERAS_MD5,
        )
    # Keras raises a bare Exception for a download that fails.
    except Exception as error:
        line = " ".join(str(error).split())
        raise ConfigError(
            f"model.weights: imagenet could not be downloaded ({line}); without a network, get "
            f"{_KERAS_FILE} elsewhere and give its path: --set model.weights=PATH"
        ) from None
    return _from_file(Path(path))


def resolve_weights(weights: str) -> BackboneWeights:
    """Find the file of the backbone's weights.

    Args:
      weights: "imagenet" (downloaded once into Keras's cache), "none", or a path; for
        `model.weights: last_blessed` see `weights_without_blessed_model`.

    Raises:
      ConfigError: the file is missing, is not HDF5, or cannot be downloaded.
    """
    if weights == NONE:
        return RANDOM_WEIGHTS
    return _from_keras() if weights == IMAGENET else _from_file(Path(weights).expanduser())
