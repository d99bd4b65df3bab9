"""What a training of several workers leaves for its export, which the chief can then do alone.

The others end when the network is here. A chief that is stopped while it exports takes it up when
it is started again, without them.
"""

from __future__ import annotations

import dataclasses
import json

import tensorflow as tf

from trainer.fitting import Fitted
from trainer.model import ModelSettings, Network, build_network
from trainer.warm_start import load_network_weights, network_folder, save_network
from trainer.weights import RANDOM_WEIGHTS
from transform.errors import ConfigError
from transform.training_record import EpochRecord
from transform.whole_file import write_whole


def _training_file(checkpoints: str) -> str:
    return f"{checkpoints}/trained/training.json"


def _beside_network(checkpoints: str) -> str:
    """Where an export would be whose network this is; see `network_folder`."""
    return f"{checkpoints}/trained/export"


def is_trained(checkpoints: str) -> bool:
    """Whether a training has come to its end there and is not exported yet.

    Args:
      checkpoints: the folder of this training's checkpoints.
    """
    return bool(tf.io.gfile.exists(_training_file(checkpoints)))


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A network at the end of its training, and what its record says of how it came about.

    Attributes:
      network: in float32, on this process's own device.
      fitted: the learning curves.
      replicas: devices that shared a step.
      global_batch_size: slices of a step, of all replicas together.
      learning_rate: peak of fine-tuning, multiplied by the replicas.
    """

    network: Network
    fitted: Fitted
    replicas: int
    global_batch_size: int
    learning_rate: float

    def write(self, settings: ModelSettings, checkpoints: str) -> None:
        """Write it beside the checkpoints; `is_trained` is true when all of it is there.

        Raises:
          StorageError: it cannot be written.
        """
        save_network(self.network, settings, network_folder(_beside_network(checkpoints)))
        values = {
            "records": [dataclasses.asdict(record) for record in self.fitted.records],
            "kept": self.fitted.kept,
            "resumed_from": self.fitted.resumed_from,
            "replicas": self.replicas,
            "global_batch_size": self.global_batch_size,
            "learning_rate": self.learning_rate,
        }
        write_whole(_training_file(checkpoints), json.dumps(values).encode())

    @classmethod
    def read(cls, settings: ModelSettings, checkpoints: str) -> TrainedNetwork:
        """The inverse of `write`.

        Raises:
          ConfigError: it cannot be read.
        """
        network = build_network(settings, RANDOM_WEIGHTS)
        try:
            load_network_weights(network, settings, _beside_network(checkpoints))
            with tf.io.gfile.GFile(_training_file(checkpoints)) as file:
                values = json.loads(file.read())
            records = [EpochRecord(**record) for record in values["records"]]
            return cls(
                network,
                Fitted(records, values["kept"], values["resumed_from"]),
                values["replicas"],
                values["global_batch_size"],
                values["learning_rate"],
            )
        except (ConfigError, tf.errors.OpError, ValueError, TypeError, KeyError) as error:
            line = " ".join(str(error).split())
            raise ConfigError(
                f"{checkpoints}: the trained network cannot be read ({line}); remove the folder to "
                "train again"
            ) from error
