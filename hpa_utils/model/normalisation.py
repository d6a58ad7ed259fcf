"""Brightness of crops brought to one scale, inside the network, so that a saved model carries it along."""

import keras
import numpy as np
from keras import ops

SCALES = ("percentiles", "fixed")


@keras.saving.register_keras_serializable("hpa_utils")
class FieldNormalisation(keras.layers.Layer):
    """Stretch channels by the field's percentiles, or leave them as they are.

    A stretched channel has the field's 1st percentile at 0 and its 99.9th at 255. Green keeps its own brightness
    unless told otherwise, since stretching it erases what tells Negative from a dim signal.

    Parameters
    ----------
    reference : {"percentiles", "fixed"}
        Scale of red, blue and yellow.
    protein : {"fixed", "percentiles"}
        Scale of green.

    Notes
    -----
    Input: crops (B, K, S, S, 4) in 0…255 and percentiles (B, 4 channels, 4 of p1, p50, p99, p99.9).
    Output: float32 of the crops' shape in 0…255. Pixels masked out, all four planes 0, stay 0. The percentiles are
    the whole field's: no statistic is taken from crops, so that masked pixels count in none.
    """

    def __init__(self, reference: str = "percentiles", protein: str = "fixed", **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        for name, scale in (("reference", reference), ("protein", protein)):
            if scale not in SCALES:
                raise ValueError(f"{name} is {scale!r}; expected one of {', '.join(SCALES)}")
        self.reference, self.protein = reference, protein

    def call(self, crops, percentiles):
        crops = ops.cast(crops, "float32")
        percentiles = ops.cast(percentiles, "float32")[:, None, None, None]  # (B, 1, 1, 1, 4, 4)
        low, high = percentiles[..., 0], percentiles[..., 3]
        # at least 16 grey levels: an empty channel's noise is not to be stretched to full brightness
        stretched = ops.clip((crops - low) * 255.0 / ops.maximum(high - low, 16.0), 0.0, 255.0)
        scales = (self.reference, self.protein, self.reference, self.reference)
        is_fixed = np.array([scale == "fixed" for scale in scales])
        return ops.where(is_fixed, crops, stretched)

    def get_config(self):
        return {**super().get_config(), "reference": self.reference, "protein": self.protein}
