"""Do the maps lie on the organelle? `python benchmarks/explanations.py --model FOLDER [--fields N]`.

Simulated fields are drawn together with the light of each pattern that a cell shows. Cut with the cell's own square,
what reaches a quarter of its highest light is the true structure of that cell and class. In cells that show two
patterns or more, two questions are asked of `explain_cells`, of the green channel itself, which only says where it is
bright, and for comparison of occlusion (Zeiler and Fergus 2014), of the exact class activation map of the last layer
(Zhou et al. 2016: with average and maximum pooling before a linear head, as in notebook 04) and of LayerCAM (Jiang et
al. 2021) where the backbone has an eighth of the crop's side.

Does the map find the structure? How often has a pixel of the structure more than another of the cell (the area under
the ROC curve, chance ½, which no rising function of a map changes)?

Is the map of its class, not of whatever is conspicuous? Only a cell of two patterns can tell: of its two maps the one
of a class should be stronger on that class's structure than on the other's, compared with the other map. Printed is
how often it is; a map that does not know its class has one half.
"""

import argparse
import collections
import itertools
import os

import cv2
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from hpa_explorer import explain_cells
from hpa_simulator.fields import draw_field
from hpa_simulator.plan import COARSE_UM, plan_fields
from hpa_utils import manifest
from hpa_utils.crops import CropConfig, cut_cell
from hpa_utils.images import field_percentiles
from hpa_utils.inference import load_network
from hpa_utils.model import FieldNormalisation, keras
from hpa_utils.plots.pictures import SHORT_NAMES

SIDE, SEED = 512, 20211  # px of a field; of the fields, which no data set of the documentation has
LEAST = 0.25  # of a pattern's highest light that still counts as the structure
FEWEST = 5  # cells of a class that counts in the mean of the classes


def draw_structures(fields, config, seed=SEED):
    """Cells that lie whole in simulated fields, and their structures.

    Returns crops uint8 (N, S, S, 4), percentiles (N, 4, 4), the cells' areas bool (N, S, S), and a list of (cell's
    row, label, structure bool (S, S)).
    """
    crops, percentiles, areas, structures = [], [], [], []
    plan = [field for field in plan_fields(fields, 1, SIDE, seed, "floor") if field.split == "train"]
    for field in plan:
        lights, rng = {}, np.random.default_rng([seed, field.index])
        drawn = draw_field(rng, field.side, COARSE_UM, list(field.labels), must=field.must, structures=lights)
        levels, rows = field_percentiles(drawn.image), {}
        boxes = {number: _box(drawn.masks == number) for number in range(1, len(drawn.shows) + 1)}
        for number, box in boxes.items():
            if min(box) == 0 or max(box) == SIDE:
                continue  # the border may have cut its structure off
            rows[number] = len(crops)
            cut = (drawn.masks, number, box, COARSE_UM, config)
            crops.append(cut_cell(drawn.image, *cut)[0])
            areas.append(cut_cell(_plane((drawn.masks == number) * np.float32(1)), *cut)[0][..., 0] > 127)
            percentiles.append(levels)
        for (number, label), (window, light) in lights.items():
            if number not in rows:
                continue
            whole = np.zeros(drawn.masks.shape, np.float32)
            whole[window] = light
            cut = cut_cell(_plane(whole), drawn.masks, number, boxes[number], COARSE_UM, config)[0][..., 0]
            structure = (cut >= LEAST * 255 * light.max()) & areas[rows[number]]
            if structure.any():  # else it lies where a neighbour covers the cell
                structures.append((rows[number], label, structure))
    return np.stack(crops), np.stack(percentiles), np.stack(areas), structures


def _box(mask):
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return y, x, y + height, x + width


def _plane(light):
    """Light 0…1 as a field whose channels all show it."""
    return cv2.merge([(255 * light).round().astype(np.uint8)] * 4)


def layer_maps(network, crops, percentiles, label, stride=0):
    """LayerCAM of the backbone's last layer at a stride; without it the exact class activation map of its output."""
    import tensorflow as tf

    backbone, head = network.get_layer("backbone"), network.get_layer("head")
    normalisation = next(layer for layer in network.layers if isinstance(layer, FieldNormalisation))
    side = -(-crops.shape[1] // stride) if stride else 0
    layers = [layer.output for layer in backbone.layers if layer.output.shape[1:3] == (side, side)]
    net = keras.Model(backbone.input, [(layers or [backbone.output])[-1], backbone.output])
    normalised = normalisation(crops, percentiles)
    with tf.GradientTape() as tape:
        tape.watch(normalised)
        layer, last = net(normalised, training=False)
        pooled = tf.concat([tf.reduce_mean(last, (1, 2)), tf.reduce_max(last, (1, 2))], 1)
        logit = tf.reduce_sum(head(pooled)[:, label])
    slopes = tape.gradient(logit, layer if stride else last)
    parts = tf.nn.relu(slopes) * layer if stride else slopes * last
    return np.stack([cv2.resize(part, crops.shape[1:3]) for part in tf.reduce_sum(parts, -1).numpy()])


def occlusion(network, crops, percentiles, label):
    """By how much the logit falls where green is 0 in a square of a sixth of the side: mean of four, smoothed."""
    step, maps = crops.shape[1] // 12, np.zeros(crops.shape[:3], np.float32)
    before = network.predict_on_batch([np.float32(crops), percentiles])[:, label]
    slices = [slice(max(start, 0), start + 2 * step) for start in range(-step, crops.shape[1], step)]
    for square in itertools.product(slices, slices):
        hidden = np.float32(crops)
        hidden[:, *square, 1] = 0
        fall = before - network.predict_on_batch([hidden, percentiles])[:, label]
        maps[:, *square] += fall[:, None, None] / 4
    return np.stack([cv2.GaussianBlur(one, (0, 0), step / 2) for one in maps])


def all_maps(network, crops, percentiles, rows, labels):
    """Name of the method → maps (M, S, S) of M pairs of a cell's row and a label."""
    methods = {
        "explain_cells": lambda c, p, label: explain_cells(network, c, p, [label])[:, 0],
        "occlusion": lambda c, p, label: occlusion(network, c, p, label),
        "last layer": lambda c, p, label: layer_maps(network, c, p, label),
        "LayerCAM": lambda c, p, label: layer_maps(network, c, p, label, stride=8),
    }
    maps = {"green": crops[rows, ..., 1].astype(np.float32)}
    maps |= {name: np.zeros(maps["green"].shape, np.float32) for name in methods}
    for label in np.unique(labels):
        which = np.flatnonzero(labels == label)
        for start in range(0, len(which), 64):
            part = which[start : start + 64]
            for name, method in methods.items():
                maps[name][part] = method(crops[rows[part]], percentiles[rows[part]], label)
    return maps


def rank_pixels(maps, rows, structures, areas):
    """How often a pixel of the structure has more than another of its cell: (M,), nan where all of it is structure."""
    found = np.full(len(rows), np.nan)
    for number, (values, row, structure) in enumerate(zip(maps, rows, structures)):
        on = structure[areas[row]]
        if not on.all():
            found[number] = roc_auc_score(on, values[areas[row]])
    return found


def tell_apart(maps, rows, structures, areas):
    """1 for each pair of classes of a cell whose maps lie the right way round, 0 where not, ½ for equal maps."""
    right = []
    for row in np.unique(rows):
        for one, other in itertools.combinations(np.flatnonzero(rows == row), 2):
            alone = [structures[a] & ~structures[b] & areas[row] for a, b in ((one, other), (other, one))]
            if min(place.sum() for place in alone) < 3:  # px: one lies within the other
                continue
            ratios = [
                np.subtract(*(np.log(maps[of][place].clip(1e-9).mean()) for place in alone)) for of in (one, other)
            ]
            right.append(0.5 + 0.5 * np.sign(ratios[0] - ratios[1]))
    return np.array(right)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="model folder")
    parser.add_argument("--fields", type=int, default=80, help="simulated fields")
    options = parser.parse_args()
    config = CropConfig(**manifest.read_config(options.model)["crops"]["config"])
    network = load_network(options.model)
    crops, percentiles, areas, found = draw_structures(options.fields, config)
    shown = collections.Counter(row for row, _, _ in found)
    found = [structure for structure in found if shown[structure[0]] > 1]
    rows, labels, structures = (np.array(column) for column in zip(*found))
    maps = all_maps(network, crops, percentiles.astype(np.float32), rows, labels)
    print(f"{options.fields} fields of {SIDE}² px, {len(set(rows))} cells of two patterns or more,", end=" ")
    print(f"{len(rows)} structures; {os.cpu_count()} cores\n")
    ranks = pd.DataFrame({name: rank_pixels(of_method, rows, structures, areas) for name, of_method in maps.items()})
    means = ranks.groupby(labels).mean().assign(structures=pd.Series(labels).value_counts())
    print("area under the ROC curve of pixels")
    print(means.rename(index=dict(enumerate(SHORT_NAMES))).round(3).to_string())
    often = means[means["structures"] >= FEWEST][list(maps)]
    print(f"\nmean of the {len(often)} classes of {FEWEST} structures or more\n{often.mean().round(3).to_string()}")
    right = {name: tell_apart(of_method, rows, structures, areas) for name, of_method in maps.items()}
    print(f"\ntwo patterns told apart, share of {len(right['green'])} pairs")
    print(pd.Series({name: pairs.mean() for name, pairs in right.items()}).round(3).to_string())


if __name__ == "__main__":
    main()
