"""Layers for crops of cells: brightness brought to one scale, and random changes that leave the labels true.

Crops are float32 (N, S, S, 4) in 0…255, channel order red, green, blue, yellow. Pixels masked out, all four planes 0,
stay 0.
"""

import math

import keras
import numpy as np
from keras import ops, random

from hpa_utils.dataset import CHANNELS

SCALES = ("percentiles", "fixed")


@keras.saving.register_keras_serializable("hpa_utils")
class FieldNormalisation(keras.layers.Layer):
    """Stretch channels by the field's percentiles ("percentiles"), or leave them as they are ("fixed").

    `reference` is the scale of red, blue and yellow, `protein` that of green. A stretched channel has the field's 1st
    percentile at 0 and its 99.9th at 255. Green keeps its own brightness unless told otherwise, since stretching it
    erases what tells Negative from a dim signal.

    Input: crops (N, S, S, 4) in 0…255 and percentiles (N, 4 channels, 4 of p1, p50, p99, p99.9). Output: float32 in
    0…255. The percentiles are the whole field's: no statistic is taken from crops, so masked pixels count in none.
    """

    def __init__(self, reference: str = "percentiles", protein: str = "fixed", **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        for name, scale in (("reference", reference), ("protein", protein)):
            if scale not in SCALES:
                raise ValueError(f"{name} is {scale!r}; expected one of {', '.join(SCALES)}")
        self.reference, self.protein = reference, protein

    def call(self, crops, percentiles):
        crops = ops.cast(crops, "float32")
        percentiles = ops.cast(percentiles, "float32")[:, None, None]  # (N, 1, 1, 4, 4)
        low, high = percentiles[..., 0], percentiles[..., 3]
        # at least 16 grey levels: an empty channel's noise is not to be stretched to full brightness
        stretched = ops.clip((crops - low) * 255.0 / ops.maximum(high - low, 16.0), 0.0, 255.0)
        scales = (self.reference, self.protein, self.reference, self.reference)
        return ops.where(np.array([scale == "fixed" for scale in scales]), crops, stretched)

    def get_config(self):
        return {**super().get_config(), "reference": self.reference, "protein": self.protein}


class RandomChange(keras.layers.Layer):
    """Base of the layers below, whose `change` treats each crop by itself, in training only, by `amount` at most.

    An amount of 0 changes nothing, and costs nothing.
    """

    def __init__(self, amount: float, seed: int = 0, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.amount, self.seed = amount, seed
        self.generator = random.SeedGenerator(seed)

    def call(self, crops, training=False):
        return ops.clip(self.change(ops.cast(crops, "float32")), 0.0, 255.0) if training and self.amount else crops

    def get_config(self):
        return {**super().get_config(), "amount": self.amount, "seed": self.seed}

    def uniform(self, crops, amount: float):
        """A number between −amount and amount for each crop, (N, 1, 1, 1)."""
        return random.uniform((ops.shape(crops)[0], 1, 1, 1), -amount, amount, seed=self.generator)


@keras.saving.register_keras_serializable("hpa_utils")
class RandomRightAngles(RandomChange):
    """Flips and turns by right angles: each crop becomes one of its eight variants."""

    def __init__(self, seed: int = 0, amount: float = 1.0, **kwargs):
        super().__init__(amount, seed, **kwargs)

    def change(self, crops):
        chosen = random.uniform((3, ops.shape(crops)[0], 1, 1, 1), seed=self.generator) < 0.5
        crops = ops.where(chosen[0], ops.flip(crops, axis=1), crops)
        crops = ops.where(chosen[1], ops.flip(crops, axis=2), crops)
        return ops.where(chosen[2], ops.transpose(crops, (0, 2, 1, 3)), crops)


@keras.saving.register_keras_serializable("hpa_utils")
class RandomScale(RandomChange):
    """Enlarge by a factor between exp(−amount) and exp(amount); what leaves the square is lost."""

    def change(self, crops):
        return enlarge(crops, ops.exp(self.uniform(crops, self.amount)))


@keras.saving.register_keras_serializable("hpa_utils")
class RandomBrightness(RandomChange):
    """Change the brightness of each channel by itself: a factor between exp(−amount) and exp(amount), as of another
    gain, and a power between exp(−amount / 2) and exp(amount / 2), as of another contrast.
    """

    def change(self, crops):
        shape = (ops.shape(crops)[0], 1, 1, crops.shape[-1])
        factor, power = (
            ops.exp(random.uniform(shape, -amount, amount, seed=self.generator))
            for amount in (self.amount, self.amount / 2)
        )
        return 255.0 * factor * ops.power(ops.maximum(crops, 1e-3) / 255.0, power) * ops.cast(crops > 0, crops.dtype)


@keras.saving.register_keras_serializable("hpa_utils")
class Channels(keras.layers.Layer):
    """Show only the channels in `shown`, such as "green,blue"; "" shows all four.

    Green stands in the place of the others: filters trained on photographs expect something everywhere.
    """

    def __init__(self, shown: str = "", **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        names = [name.strip() for name in shown.split(",")] if shown else list(CHANNELS)
        if unknown := set(names) - set(CHANNELS):
            raise ValueError(f"channels: {unknown.pop()!r} is none of {', '.join(CHANNELS)}")
        self.shown = shown
        green = CHANNELS.index("green")
        self.places = np.array([place if name in names else green for place, name in enumerate(CHANNELS)])

    def call(self, crops):
        return ops.take(ops.cast(crops, "float32"), self.places, axis=-1)

    def get_config(self):
        return {**super().get_config(), "shown": self.shown}


@keras.saving.register_keras_serializable("hpa_utils")
class RandomBlur(RandomChange):
    """Gaussian blur of a standard deviation up to `amount` px."""

    def change(self, crops):
        blurred = blur(crops, ops.abs(self.uniform(crops, self.amount)), math.ceil(2 * self.amount))
        return blurred * ops.cast(ops.max(crops, axis=-1, keepdims=True) > 0, crops.dtype)  # masked out, it stays 0


def enlarge(crops, factor):
    """Crops (N, S, S, C) enlarged about their centres by factors (N, 1, 1, 1), bilinear, 0 beyond the square.

    Each row of the result is a sum of rows, each column of columns, as matrices tell: unlike
    `keras.ops.image.affine_transform`, which does the same, that can be compiled by XLA on TensorFlow.
    """
    place = ops.arange(crops.shape[1], dtype="float32")
    middle = (crops.shape[1] - 1) / 2
    source = (place - middle)[:, None] / factor[..., 0] + middle  # (N, S, 1): where each row comes from
    share = ops.maximum(1.0 - ops.abs(source - place), 0.0)
    return ops.einsum("nlk,nikc->nilc", share, ops.einsum("nij,njkc->nikc", share, crops))


def blur(crops, deviation, radius: int):
    """Crops (N, S, S, C) blurred by Gaussians of standard deviations (N, 1, 1, 1), px, cut at `radius` px; beyond
    the square is 0.
    """
    offsets = range(-radius, radius + 1)
    shares = [ops.exp(-0.5 * (offset / ops.maximum(deviation, 1e-3)) ** 2) for offset in offsets]
    total, side = sum(shares), crops.shape[1]
    padded = ops.pad(crops, ((0, 0), (radius, radius), (0, 0), (0, 0)))
    crops = sum(share * padded[:, k : k + side] for k, share in enumerate(shares)) / total
    padded = ops.pad(crops, ((0, 0), (0, 0), (radius, radius), (0, 0)))
    return sum(share * padded[:, :, k : k + side] for k, share in enumerate(shares)) / total
