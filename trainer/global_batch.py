"""The global batch: what a step takes over all replicas, and the learning rates for it."""

from __future__ import annotations

import dataclasses

from trainer.distribution import Devices
from trainer.fitting import FitSettings


@dataclasses.dataclass(frozen=True)
class GlobalBatch:
    """What one training step takes, and how many steps an epoch has.

    Attributes:
      slices: of all replicas together.
      of_worker: slices of this worker's replicas.
      steps: of an epoch; slices that are too few for another are left out.
    """

    slices: int
    of_worker: int
    steps: int

    @classmethod
    def of(cls, batch_size: int, epoch_slices: int, devices: Devices) -> GlobalBatch:
        """Plan it.

        Args:
          batch_size: of one replica; less is taken where an epoch has less.
          epoch_slices: of an epoch.
          devices: that share the step.
        """
        of_replica = max(1, min(batch_size, epoch_slices // devices.replicas))
        slices = of_replica * devices.replicas
        return cls(slices, of_replica * devices.replicas_of_worker, epoch_slices // slices)


def scaled(settings: FitSettings, replicas: int) -> FitSettings:
    """Learning rates that grow with the slices of a step (linear scaling, Goyal et al. 2017).

    Args:
      settings: with the rates of one replica.
      replicas: that share a step.
    """
    return dataclasses.replace(
        settings,
        learning_rate=settings.learning_rate * replicas,
        head_learning_rate=settings.head_learning_rate * replicas,
    )
