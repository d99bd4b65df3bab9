"""Where TFMA keeps what is known of a slice, and in which shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from transform import prediction


def scalar(value: Any) -> Any:
    """A single value as plain Python; TFMA gives it as [] or [1]."""
    return np.ravel(value).tolist()[0]


def said_by(predictions: Mapping[str, Any], model_name: str) -> Mapping[str, Any] | None:
    """What a model said of a slice, by output.

    Args:
      predictions: TFMA's; of a lone model under no name, of several under the name of each.
      model_name: whose, or whatever TFMA calls a lone model.

    Returns:
      None where several models were asked, and none of this name.
    """
    if prediction.PROBABILITY in predictions:
        return predictions
    return predictions.get(model_name)
