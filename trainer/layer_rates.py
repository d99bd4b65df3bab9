"""Layer-wise learning rates: the nearer to the input, the smaller (Howard and Ruder 2018)."""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from trainer.backbone_stages import backbone_stages

RateFactors = list[tuple[tf.Variable, float]]


def rate_factors(
    model: tf_keras.Model, backbone: tf_keras.Model, layer_decay: float
) -> RateFactors:
    """The factor of the learning rate for each variable that `model` trains.

    It is layer_decay**n for a variable of the backbone with n stages of it above, and 1 in the
    backbone's last stage and in the head.
    """
    stages = backbone_stages(backbone)
    factors = {
        variable.ref(): layer_decay ** (len(stages) - 1 - number)
        for number, stage in enumerate(stages)
        for layer in stage
        for variable in layer.trainable_variables
    }
    return [(variable, factors.get(variable.ref(), 1.0)) for variable in model.trainable_variables]


class LayerwiseAdam(tf_keras.optimizers.Adam):
    """Adam, or with weight decay AdamW, with a factor of the rate for each variable.

    With all factors 1 it takes the steps of tf_keras's own Adam and AdamW.
    """

    def __init__(
        self,
        learning_rate: float | tf_keras.optimizers.schedules.LearningRateSchedule,
        factors: RateFactors,
        weight_decay: float = 0.0,
        *,
        jit_compile: bool = False,
    ):
        """Make the optimizer.

        Args:
          learning_rate: for factor 1.
          factors: of every variable that is trained.
          weight_decay: share of a variable that a step takes off, times its learning rate
            (Loshchilov and Hutter 2019).
          jit_compile: whether each variable's update is compiled by XLA.
        """
        super().__init__(learning_rate, jit_compile=jit_compile)
        self._factor = 1.0
        self._factors = {self._var_key(variable): factor for variable, factor in factors}
        # Not tf_keras's weight_decay, which it applies to all variables at once.
        self._decay = weight_decay

    @property
    def learning_rate(self) -> tf.Variable | tf.Tensor:
        """The rate of the variable under way; between steps that of factor 1."""
        rate = super().learning_rate
        return rate if self._factor == 1.0 else rate * self._factor

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """One step of one variable; tf_keras calls it for each, and once only when it traces."""
        self._factor = self._factors[self._var_key(variable)]
        if self._decay:
            variable.assign_sub(variable * self._decay * self.learning_rate)
        super().update_step(gradient, variable)
        self._factor = 1.0
