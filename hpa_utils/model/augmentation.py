"""Random changes of crops that leave their labels true; active in training only."""

import keras
from keras import ops, random


@keras.saving.register_keras_serializable("hpa_utils")
class Augmentation(keras.layers.Layer):
    """Flip, turn by right angles, and dim or brighten green, each crop (N, S, S, 4) by itself.

    Parameters
    ----------
    green_range : float
        Green is multiplied by a factor between exp(−green_range) and exp(green_range).
    seed : int
    """

    def __init__(self, green_range: float = 0.3, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.green_range, self.seed = green_range, seed
        self.generator = random.SeedGenerator(seed)

    def call(self, crops, training=False):
        if not training:
            return crops
        number = ops.shape(crops)[0]
        chosen = random.uniform((3, number, 1, 1, 1), seed=self.generator) < 0.5
        crops = ops.where(chosen[0], ops.flip(crops, axis=1), crops)
        crops = ops.where(chosen[1], ops.flip(crops, axis=2), crops)
        crops = ops.where(chosen[2], ops.transpose(crops, (0, 2, 1, 3)), crops)
        factor = ops.exp(random.uniform((number, 1, 1, 1), -self.green_range, self.green_range, seed=self.generator))
        is_green = ops.convert_to_tensor([0.0, 1.0, 0.0, 0.0])
        return ops.clip(crops * (1.0 + is_green * (factor - 1.0)), 0.0, 255.0)

    def get_config(self):
        return {**super().get_config(), "green_range": self.green_range, "seed": self.seed}
