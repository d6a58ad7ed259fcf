"""Brightness of crops brought to one scale, inside the network, so that a saved model carries it along."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("hpa_utils")
class FieldNormalisation(keras.layers.Layer):
    """Stretch red, blue and yellow by the field's percentiles; leave green as it is.

    The reference channels are stretched so that the field's 1st percentile becomes 0 and its 99.9th 255. Green
    keeps its own brightness, since stretching it would erase what tells Negative from a dim signal.

    Input: crops (B, K, S, S, 4) in 0…255 and percentiles (B, 4 channels, 4 of p1, p50, p99, p99.9).
    Output: float32 of the crops' shape in 0…255. Pixels masked out stay 0.
    """

    def call(self, crops, percentiles):
        crops = ops.cast(crops, "float32")
        percentiles = ops.cast(percentiles, "float32")[:, None, None, None]  # (B, 1, 1, 1, 4, 4)
        low, high = percentiles[..., 0], percentiles[..., 3]
        stretched = ops.clip((crops - low) * 255.0 / ops.maximum(high - low, 16.0), 0.0, 255.0)
        is_green = ops.convert_to_tensor([0.0, 1.0, 0.0, 0.0])
        return stretched * (1.0 - is_green) + crops * is_green
