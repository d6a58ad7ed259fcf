"""Losses of cells and fields: one value a cell or field, from logits and labels that may be soft or unknown."""

import keras
from keras import ops

LOSSES = ("bce", "focal", "asymmetric")
FOCUS = 2.0  # γ of the focal loss
NEGATIVE_FOCUS, MARGIN = 4.0, 0.05  # γ− and the probability shift of the asymmetric loss, as its authors chose them


class LabelLoss(keras.losses.Loss):
    """Mean over the classes whose label is known; a label of −1 is ignored.

    Parameters
    ----------
    kind : {"bce", "focal", "asymmetric"}
        Cross-entropy; the same weighted by |label − p|² (Lin et al. 2017, for soft labels Li et al. 2020); or with
        easy negatives weighted down by p⁴ and left out below p = 0.05 (Ridnik et al. 2021).

    Notes
    -----
    Labels and logits (…, 19), float32. The result (…) is then averaged over cells or fields by Keras.
    """

    def __init__(self, kind: str = "bce", **kwargs):
        super().__init__(name=kind, dtype="float32", **kwargs)
        if kind not in LOSSES:
            raise ValueError(f"loss is {kind!r}; expected one of {', '.join(LOSSES)}")
        self.kind = kind

    def call(self, labels, logits):
        known = ops.cast(labels >= 0, logits.dtype)
        labels = ops.maximum(labels, 0.0)
        values = known * _BY_KIND[self.kind](labels, logits)
        return ops.sum(values, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)


def _cross_entropy(labels, logits):
    return ops.softplus(logits) - labels * logits


def _focal(labels, logits):
    return _cross_entropy(labels, logits) * ops.abs(labels - ops.sigmoid(logits)) ** FOCUS


def _asymmetric(labels, logits):
    shifted = ops.maximum(ops.sigmoid(logits) - MARGIN, 0.0)
    negative = -ops.log(ops.maximum(1.0 - shifted, 1e-7)) * shifted**NEGATIVE_FOCUS
    return labels * ops.softplus(-logits) + (1.0 - labels) * negative


_BY_KIND = {"bce": _cross_entropy, "focal": _focal, "asymmetric": _asymmetric}
