"""Warm-up: asking a version the requests that come with it, before anybody else does.

They lie where TF Serving looks for them (`transform.prediction.WARM_UP_REQUESTS`).
"""

from __future__ import annotations

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.loaded_model import LoadedModel, unloadable
from serving.model_versions import ModelVersion
from serving.request_error import RequestError
from transform.prediction import WARM_UP_REQUESTS

_MAX_REQUESTS = 1000


def warm_up(model: LoadedModel, version: ModelVersion) -> int:
    """Ask a version its own warm-up requests.

    Returns:
      How many there were; 0 where it has none.

    Raises:
      ConfigError: the file is damaged, holds something else than Predict requests or more than
        TF Serving takes, or the model does not answer one.
    """
    path = version.folder / WARM_UP_REQUESTS
    if not path.exists():
        return 0
    asked = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            if kind != "predict_log":
                raise ValueError(f"request {asked + 1} is {kind}, not predict_log")
            if asked == _MAX_REQUESTS:
                raise ValueError(f"more than {_MAX_REQUESTS} requests")
            request = log.predict_log.request
            model.predict(request.model_spec.signature_name, request.inputs, request.output_filter)
            asked += 1
    except (OSError, ValueError, DecodeError, RequestError, tf.errors.OpError) as error:
        raise unloadable(
            version, ValueError(f"warm-up requests in {WARM_UP_REQUESTS}: {error}")
        ) from error
    return asked
