"""From the cells' logits to the field's."""

import keras
from keras import ops

from hpa_utils.labels import NEGATIVE


@keras.saving.register_keras_serializable("hpa_utils")
class Regroup(keras.layers.Layer):
    """Cells of all bags in one row, (B·K, features), back into their bags, (B, K, features), as in `valid` (B, K)."""

    def call(self, rows, valid):
        return ops.reshape(rows, (*ops.shape(valid), rows.shape[-1]))


@keras.saving.register_keras_serializable("hpa_utils")
class FieldPooling(keras.layers.Layer):
    """Mean of the cells' logits; for Negative their minimum, since a field is Negative only if all its cells are.

    Pooled like the others, Negative would be pushed towards zero in the very cells that are negative within
    fields that are not.

    Input: logits (B, K, 19) and validity (B, K), 1 for a cell and 0 for padding. Output: (B, 19).
    """

    def call(self, logits, valid):
        valid = ops.cast(valid, logits.dtype)[..., None]
        mean = ops.sum(logits * valid, axis=1) / ops.maximum(ops.sum(valid, axis=1), 1.0)
        lowest = ops.min(logits + (1.0 - valid) * 1e4, axis=1)
        return ops.concatenate([mean[:, :NEGATIVE], lowest[:, NEGATIVE:]], axis=1)
