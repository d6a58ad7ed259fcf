"""Batches of crops for a network: bags and cells drawn, only the drawn crops decoded."""

from collections.abc import Iterator

import numpy as np

from hpa_utils.crops.cut import encode_crop
from hpa_utils.crops.reading import Bags
from hpa_utils.labels import N_CLASSES


def draw_bags(
    bags: Bags, numbers: np.ndarray, cells_per_bag: int, rng: np.random.Generator, blank: bytes
) -> Iterator[dict]:
    """Yield the given bags in random order, K cells of each drawn without replacement, blanks where it has fewer.

    Yields
    ------
    dict
        `crops` (K PNGs), `valid` float32 (K,), `percentiles` float32 (4, 4), `labels` float32 (19,).
    """
    labels = bags.labels
    for number in rng.permutation(numbers):
        pngs = bags.crops(number)
        drawn = rng.permutation(len(pngs))[:cells_per_bag]
        lacking = cells_per_bag - len(drawn)
        yield {
            "crops": [pngs[i] for i in drawn] + [blank] * lacking,
            "valid": np.r_[np.ones(len(drawn)), np.zeros(lacking)].astype(np.float32),
            "percentiles": np.asarray(bags.table["percentiles"][number], np.float32).reshape(4, 4),
            "labels": labels[number].astype(np.float32),
        }


def training_dataset(bags: Bags, numbers: np.ndarray, size: int, cells_per_bag: int, bags_per_batch: int, seed: int):
    """An endless tf.data pipeline of training batches; the order depends on `seed` and nothing else.

    Yields
    ------
    inputs : dict
        `cells` uint8 (B, K, S, S, 4), `percentiles` float32 (B, 4, 4), `valid` float32 (B, K).
    targets : dict
        `cells` (B, K, 19): the field's labels inherited by each cell; `field` (B, 19).
    weights : dict
        `cells` (B, K): the validity; `field` (B,): ones.
    """
    import tensorflow as tf

    blank = encode_crop(np.zeros((size, size, 4), np.uint8))

    def draw():
        epoch = 0
        while True:
            yield from draw_bags(bags, numbers, cells_per_bag, np.random.default_rng([seed, epoch]), blank)
            epoch += 1

    def decode(bag):
        cells = tf.stack([decode_tensor(bag["crops"][k], size) for k in range(cells_per_bag)])
        inputs = {"cells": cells, "percentiles": bag["percentiles"], "valid": bag["valid"]}
        inherited = tf.tile(bag["labels"][None], [cells_per_bag, 1])
        return inputs, {"cells": inherited, "field": bag["labels"]}, {"cells": bag["valid"], "field": 1.0}

    signature = {
        "crops": tf.TensorSpec((cells_per_bag,), tf.string),
        "valid": tf.TensorSpec((cells_per_bag,), tf.float32),
        "percentiles": tf.TensorSpec((4, 4), tf.float32),
        "labels": tf.TensorSpec((N_CLASSES,), tf.float32),
    }
    drawn = tf.data.Dataset.from_generator(draw, output_signature=signature)
    decoded = drawn.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return decoded.batch(bags_per_batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def cell_dataset(bags: Bags, numbers: np.ndarray, size: int, batch: int):
    """A tf.data pipeline over all cells of the given bags, in order: `cells` uint8 (N, S, S, 4), `percentiles`."""
    import tensorflow as tf

    def cells():
        for number in numbers:
            percentiles = np.asarray(bags.table["percentiles"][number], np.float32).reshape(4, 4)
            for png in bags.crops(number):
                yield png, percentiles

    def decode(png, percentiles):
        return {"cells": decode_tensor(png, size), "percentiles": percentiles}

    signature = (tf.TensorSpec((), tf.string), tf.TensorSpec((4, 4), tf.float32))
    one_by_one = tf.data.Dataset.from_generator(cells, output_signature=signature)
    return one_by_one.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(batch).prefetch(tf.data.AUTOTUNE)


def decode_tensor(png, size: int):
    """A crop's PNG as a uint8 tensor (S, S, 4): the four planes of RGBA are red, green, blue, yellow."""
    import tensorflow as tf

    return tf.ensure_shape(tf.io.decode_png(png, channels=4), (size, size, 4))
