"""From the cells' logits to the field's.

Every pooling gives logits, ignores padding, and gives a cell's own logits for a bag of that one cell, so that it
serves bags of any size.
"""

import keras
import numpy as np
from keras import ops

from hpa_utils.labels import NEGATIVE

NEGATIVE_POOLINGS = ("min", "product", "none")
_FAR = 1e4  # a logit beyond all others, for padding
_LEAST = -60.0  # a logit whose probability, 1e-26, float32 still tells from 0


def pool_mean(logits, valid):
    """The mean of the cells' logits."""
    return ops.sum(ops.where(valid, logits, 0.0), axis=1) / _count(valid)


def pool_max(logits, valid):
    """The highest of the cells' logits."""
    return ops.max(ops.where(valid, logits, -_FAR), axis=1)


def pool_log_sum_exp(logits, valid):
    """log of the mean of exp(logit): between mean and maximum (Pinheiro and Collobert 2015, with r = 1)."""
    return ops.logsumexp(ops.where(valid, logits, -_FAR), axis=1) - ops.log(_count(valid))


def pool_noisy_or(logits, valid):
    """The logit of 1 − ∏(1 − p): that at least one cell shows the class, were the cells independent.

    With s = −log ∏(1 − p) = Σ softplus(logit), it is log(eˢ − 1).
    """
    none_shows = ops.sum(ops.where(valid, ops.softplus(ops.maximum(logits, _LEAST)), 0.0), axis=1)
    none_shows = ops.maximum(none_shows, 1e-30)
    return none_shows + ops.log(-ops.expm1(-none_shows))


def pool_attention(logits, valid, scores):
    """The mean of the cells' logits weighted by the softmax of their attention scores.

    With a linear head this is the head of the features so weighted (gated attention: Ilse, Tomczak and Welling
    2018); here each class has scores of its own.
    """
    scores = ops.where(valid, scores, -_FAR)
    weights = ops.exp(scores - ops.logsumexp(scores, axis=1, keepdims=True))  # ops.softmax warns of bags of one cell
    return ops.sum(weights * ops.where(valid, logits, 0.0), axis=1)


POOLINGS = {
    "mean": pool_mean,
    "log_sum_exp": pool_log_sum_exp,
    "max": pool_max,
    "noisy_or": pool_noisy_or,
    "attention": pool_attention,
}


@keras.saving.register_keras_serializable("hpa_utils")
class FieldPooling(keras.layers.Layer):
    """The field's logits from its cells', class 18 (Negative) the other way round.

    A field is Negative only if all its cells are. Pooled like the others, Negative would be pushed towards zero in
    the very cells that are negative within fields that are not.

    Parameters
    ----------
    pooling : {"mean", "log_sum_exp", "max", "noisy_or", "attention"}
        Of the classes 0…17.
    negative : {"min", "product", "none"}
        Of class 18: the lowest logit; the logit of the product of the cells' probabilities; or the lowest logit
        through which no gradient flows, which leaves class 18 out of the field's loss.

    Notes
    -----
    Input: logits (B, K, 19), validity (B, K), 1 for a cell and 0 for padding, and for ``"attention"`` scores
    (B, K, 18). Output: float32 (B, 19); 0 for a bag of padding alone. Always computed in float32.
    """

    def __init__(self, pooling: str = "mean", negative: str = "min", **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
        if negative not in NEGATIVE_POOLINGS:
            raise ValueError(f"negative is {negative!r}; expected one of {', '.join(NEGATIVE_POOLINGS)}")
        self.pooling, self.negative = pooling, negative

    def call(self, logits, valid, scores=None):
        valid = (ops.cast(valid, "float32") > 0.5)[..., None]
        others, negative = logits[..., :NEGATIVE], logits[..., NEGATIVE:]
        given = (others, valid) if scores is None else (others, valid, scores)
        pool_negative = pool_noisy_or if self.negative == "product" else pool_max
        # ∏ p = 1 − (1 − ∏(1 − (1 − p))), and the logit of 1 − p is −logit(p); likewise min = −max(−logit)
        pooled_negative = -pool_negative(-negative, valid)
        if self.negative == "none":
            pooled_negative = ops.stop_gradient(pooled_negative)
        pooled = ops.concatenate([POOLINGS[self.pooling](*given), pooled_negative], axis=-1)
        return ops.where(ops.any(valid, axis=1), pooled, 0.0)

    def get_config(self):
        return {**super().get_config(), "pooling": self.pooling, "negative": self.negative}


@keras.saving.register_keras_serializable("hpa_utils")
class Regroup(keras.layers.Layer):
    """Cells of all bags in one row, (B·K, features), back into their bags, (B, K, features), as in `valid` (B, K)."""

    def call(self, rows, valid):
        return ops.reshape(rows, (*ops.shape(valid), rows.shape[-1]))


@keras.saving.register_keras_serializable("hpa_utils")
class FillPadding(keras.layers.Layer):
    """Padding of a bag replaced by its cells over again, so that batch statistics are of cells alone.

    Input: crops (B, K, S, S, 4) and validity (B, K). Output: of the crops' shape, cells where they were. What comes
    of the repeated cells is masked by `valid` later, as that of padding would be.
    """

    def call(self, crops, valid):
        valid = ops.cast(valid, "float32") > 0.5
        bags, places = ops.shape(crops)[0], ops.shape(crops)[1]
        place = ops.arange(places, dtype="int32")
        cells_first = ops.argsort(ops.where(valid, place, place + places), axis=1)
        count = ops.maximum(ops.sum(ops.cast(valid, "int32"), axis=1, keepdims=True), 1)
        repeated = ops.take_along_axis(ops.cast(cells_first, "int32"), place[None] % count, axis=1)
        source = ops.where(valid, place, repeated) + places * ops.arange(bags, dtype="int32")[:, None]
        shape = crops.shape[2:]
        rows = ops.take(ops.reshape(crops, (-1, *shape)), ops.reshape(source, (-1,)), axis=0)
        return ops.reshape(rows, (bags, places, *shape))


def pool_fields(model: keras.Model, outputs: dict[str, np.ndarray], counts: list[int]) -> np.ndarray:
    """Field logits from the outputs of a bag model's cells, pooled over all cells of a field as in training.

    Parameters
    ----------
    model : keras.Model
        A bag model (`build_bag_model`).
    outputs : dict
        Of `cell_model(model)`, all cells in one row: `cells` (n, 19) and, with attention, `attention` (n, 18).
    counts : list of int
        Cells of each field, in the order of the rows.

    Returns
    -------
    numpy.ndarray
        float32 (fields, 19); 0 for a field without cells.
    """
    pooling, pooled, start = model.get_layer("pooling"), [], 0
    for first in range(0, len(counts), 64):
        some = np.asarray(counts[first : first + 64])
        valid = np.arange(max(some.max(), 1)) < some[:, None]
        bags = {name: np.zeros((*valid.shape, rows.shape[-1]), np.float32) for name, rows in outputs.items()}
        for name, rows in outputs.items():
            bags[name][valid] = rows[start : start + some.sum()]
        start += some.sum()
        pooled.append(np.asarray(pooling(bags["cells"], valid, bags.get("attention"))))
    return np.concatenate(pooled) if pooled else np.zeros((0, outputs["cells"].shape[-1]), np.float32)


def _count(valid):
    return ops.maximum(ops.sum(ops.cast(valid, "float32"), axis=1), 1.0)
