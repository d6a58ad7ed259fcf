"""Do the maps lie on the organelle? `python benchmarks/explanations.py --model FOLDER [--fields N]`.

Simulated fields are drawn together with the light of each pattern that a cell shows; cut with the cell's own square,
what reaches a quarter of its highest light is the true structure of that cell and class. For each class: chance, the
structure's share of the cell's area; the share on it of the green channel's light, which any map that only follows
brightness would have; of `explore.explain_cells`; and of its map of a class that the cell does not show, the one that
the model finds most probable there, which tells a map of the class from a map of whatever is conspicuous.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hpa_utils import manifest  # noqa: E402
from hpa_utils.crops import CropConfig, cut_cell  # noqa: E402
from hpa_utils.images import field_percentiles  # noqa: E402
from hpa_utils.simulate.fields import draw_field  # noqa: E402
from hpa_utils.simulate.plan import COARSE_UM, plan_fields  # noqa: E402

SIDE, SEED = 512, 20211  # px of a field; of the fields, which no data set of the documentation has
LEAST = 0.25  # of a pattern's highest light that still counts as the structure


def draw_structures(fields, config, seed=SEED):
    """Cells of simulated fields and their structures.

    Returns crops uint8 (N, S, S, 4), percentiles (N, 4, 4), shows bool (N, 19), the cells' areas bool (N, S, S), and
    a list of (cell's row, label, structure bool (S, S)).
    """
    crops, percentiles, shows, areas, structures = [], [], [], [], []
    plan = [field for field in plan_fields(fields, 1, SIDE, seed, "floor") if field.split == "train"]
    for field in plan:
        lights, rng = {}, np.random.default_rng([seed, field.index])
        drawn = draw_field(rng, field.side, COARSE_UM, list(field.labels), must=field.must, structures=lights)
        first, levels = len(crops), field_percentiles(drawn.image)
        boxes = [_box(drawn.masks == number) for number in range(1, len(drawn.shows) + 1)]
        for number, box in enumerate(boxes, start=1):
            cut = (drawn.masks, number, box, COARSE_UM, config)
            crops.append(cut_cell(drawn.image, *cut)[0])
            areas.append(cut_cell(_plane((drawn.masks == number) * np.float32(1)), *cut)[0][..., 0] > 127)
            percentiles.append(levels)
        shows.extend(drawn.shows)
        for (number, label), (window, light) in lights.items():
            whole = np.zeros(drawn.masks.shape, np.float32)
            whole[window] = light
            cut = cut_cell(_plane(whole), drawn.masks, number, boxes[number - 1], COARSE_UM, config)[0][..., 0]
            row = first + number - 1
            cut = cut * areas[row]
            if cut.max() > 0:
                structures.append((row, label, cut >= LEAST * cut.max()))
    return np.stack(crops), np.stack(percentiles), np.stack(shows), np.stack(areas), structures


def _box(mask):
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return y, x, y + height, x + width


def _plane(light):
    """Light 0…1 as a field whose channels all show it."""
    return cv2.merge([(255 * light).round().astype(np.uint8)] * 4)
