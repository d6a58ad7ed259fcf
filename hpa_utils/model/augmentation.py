"""Random changes of crops and bags that leave their labels true; active in training only."""

import math
from dataclasses import asdict, dataclass

import keras
from keras import ops, random


@dataclass(frozen=True)
class AugmentationConfig:
    """What is changed at random, each crop by itself; 0 (or false) leaves a change out and costs nothing.

    Attributes
    ----------
    right_angles : bool
        Flips and turns by right angles: each crop becomes one of its eight variants.
    rotation : float
        Largest turn to either side, degrees.
    scale : float
        Crops are enlarged by a factor between exp(−scale) and exp(scale); what leaves the square is lost.
    green : float
        Green is multiplied by a factor between exp(−green) and exp(green).
    blur : float
        Largest standard deviation of a Gaussian blur, px.
    noise : float
        Largest standard deviation of Gaussian noise, grey levels (of 255).
    cell_drop : float
        Share (0 ≤ … < 1) of a bag's cells that its pooled logits leave out (`CellDrop`).
    """

    right_angles: bool = True
    rotation: float = 0.0
    scale: float = 0.0
    green: float = 0.3
    blur: float = 0.0
    noise: float = 0.0
    cell_drop: float = 0.0

    def __post_init__(self):
        if self.right_angles not in (False, True):
            raise ValueError(f"augmentation.right_angles is {self.right_angles!r}; expected true or false")
        limits = {"rotation": (180, " degrees"), "scale": (1, ""), "green": (2, ""), "blur": (4, " px")}
        limits |= {"noise": (64, " grey levels")}
        for name, (limit, unit) in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"augmentation.{name} is {getattr(self, name)}; expected 0…{limit}{unit}")
        if not 0 <= self.cell_drop < 1:
            raise ValueError(f"augmentation.cell_drop is {self.cell_drop}; expected a share 0 ≤ … < 1")


@keras.saving.register_keras_serializable("hpa_utils")
class Augmentation(keras.layers.Layer):
    """Change each crop of float32 (N, S, S, 4) in 0…255, order red, green, blue, yellow, at random, by itself.

    Pixels masked out, all four planes 0, stay 0: neither noise nor blur lights up the background.

    Parameters
    ----------
    config : AugmentationConfig
        Or its fields as a dict, as a saved model holds them.
    seed : int
    """

    def __init__(self, config: AugmentationConfig | dict = AugmentationConfig(), seed: int = 0, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.config = AugmentationConfig(**config) if isinstance(config, dict) else config
        self.seed = seed
        self.generator = random.SeedGenerator(seed)

    def call(self, crops, training=False):
        if not training:
            return crops
        config = self.config
        if config.right_angles:
            crops = self._turn_by_right_angles(crops)
        if config.rotation or config.scale:
            angle, enlargement = self._uniform(crops, math.radians(config.rotation)), self._uniform(crops, config.scale)
            crops = resample(crops, angle, ops.exp(enlargement))
        kept = ops.cast(ops.max(crops, axis=-1, keepdims=True) > 0, crops.dtype)
        if config.green:
            is_green = ops.convert_to_tensor([0.0, 1.0, 0.0, 0.0])
            crops = crops * (1.0 + is_green * (ops.exp(self._uniform(crops, config.green)) - 1.0))
        if config.blur:
            crops = kept * blur(crops, ops.abs(self._uniform(crops, config.blur)), math.ceil(2 * config.blur))
        if config.noise:
            noise = random.normal(ops.shape(crops), seed=self.generator)
            crops = crops + kept * noise * self._uniform(crops, config.noise)
        return ops.clip(crops, 0.0, 255.0)

    def get_config(self):
        return {**super().get_config(), "config": asdict(self.config), "seed": self.seed}

    def _uniform(self, crops, limit: float):
        """A number between −limit and limit for each crop, (N, 1, 1, 1)."""
        return random.uniform((ops.shape(crops)[0], 1, 1, 1), -limit, limit, seed=self.generator)

    def _turn_by_right_angles(self, crops):
        chosen = random.uniform((3, ops.shape(crops)[0], 1, 1, 1), seed=self.generator) < 0.5
        crops = ops.where(chosen[0], ops.flip(crops, axis=1), crops)
        crops = ops.where(chosen[1], ops.flip(crops, axis=2), crops)
        return ops.where(chosen[2], ops.transpose(crops, (0, 2, 1, 3)), crops)


@keras.saving.register_keras_serializable("hpa_utils")
class CellDrop(keras.layers.Layer):
    """Drop whole cells of a bag in training: validity (B, K) in, with a share of its ones set to 0, out.

    Meant for what the pooling sees, so that a field's label does not hang on one cell. A bag with a valid cell keeps
    at least one.

    Parameters
    ----------
    rate : float
        Share (0 ≤ … < 1) of the cells dropped.
    seed : int
    """

    def __init__(self, rate: float, seed: int = 0, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.rate, self.seed = rate, seed
        self.generator = random.SeedGenerator(seed)

    def call(self, valid, training=False):
        if not training or not self.rate:
            return valid
        drawn = ops.where(valid > 0, random.uniform(ops.shape(valid), seed=self.generator), -1.0)
        kept = ops.logical_or(drawn >= self.rate, drawn == ops.max(drawn, axis=1, keepdims=True))
        return valid * ops.cast(kept, valid.dtype)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def resample(crops, angle, enlargement):
    """Crops (N, S, S, C) turned about their centres by angles (N, 1, 1, 1) in radians and enlarged by factors
    (N, 1, 1, 1), bilinear, 0 beyond the square.

    `keras.ops.image.affine_transform` does the same on TensorFlow, as fast, but cannot be compiled by XLA there: a
    model that holds it must give up compilation as a whole.
    """
    number, side, channels = ops.shape(crops)[0], crops.shape[1], crops.shape[3]
    centred = ops.arange(side, dtype="float32") - (side - 1) / 2
    rows, columns = centred[None, :, None], centred[None, None, :]
    cosine, sine = ops.cos(angle[..., 0]) / enlargement[..., 0], ops.sin(angle[..., 0]) / enlargement[..., 0]
    rows, columns = cosine * rows + sine * columns, cosine * columns - sine * rows  # where each pixel comes from
    rows, columns = rows + (side - 1) / 2, columns + (side - 1) / 2
    pixels = ops.reshape(crops, (-1, channels))
    first = (ops.arange(number, dtype="int32") * side * side)[:, None, None]
    found = 0.0
    for step_down in (0, 1):
        for step_right in (0, 1):
            row, column = ops.floor(rows) + step_down, ops.floor(columns) + step_right
            share = (1.0 - ops.abs(rows - row)) * (1.0 - ops.abs(columns - column))
            inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
            place = ops.clip(row, 0, side - 1) * side + ops.clip(column, 0, side - 1)
            share = ops.where(inside, share, 0.0)[..., None]
            found = found + share * ops.take(pixels, first + ops.cast(place, "int32"), axis=0)
    return found


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
