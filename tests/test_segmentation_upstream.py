"""Against upstream: hpacellseg's own figures (tests/data/hpacellseg_golden.npz), and where it is installed itself.

`python tests/test_segmentation_upstream.py`, with torch, pytorch_zoo and hpacellseg importable, makes the file anew.
"""

import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from hpa_utils.segmentation import label_cells
from hpa_utils.segmentation.hpacellseg import net_inputs
from hpa_utils.segmentation.masks_elsewhere import hit_ious

GOLDEN = Path(__file__).parent / "data" / "hpacellseg_golden.npz"
SHAPES = {"square": (320, 320), "wide": (200, 344)}  # the second one's quarter is not divisible by 32
EVERY = 9  # th pixel of an input is kept


def waves(height, width, count, period):
    """Planes of crossing waves in [0, 1], (height, width, count), each another."""
    rows, columns = np.mgrid[:height, :width]
    planes = [np.sin(rows / (period + n)) * np.cos(columns / (period + 2 * n)) for n in range(count)]
    return np.stack(planes, axis=-1) / 2 + 0.5


def a_field(height, width):
    return np.round(255 * waves(height, width, 4, 7)).astype(np.uint8)


def crowded_predictions():
    """Six cells, most of them touching, with nuclei: uint8 (480, 480, 3) twice, a network's pixel repeated 4 × 4."""
    centres = np.array([(36, 30), (32, 78), (74, 52), (84, 96), (96, 22), (50, 108)])
    rows, columns = np.mgrid[:120, :120]
    distance = np.hypot(rows[..., None] - centres[:, 0], (columns[..., None] - centres[:, 1]) * 0.9)
    first, second = np.sort(distance, axis=-1)[..., :2].transpose(2, 0, 1)
    uneven = 1 - 0.15 * waves(120, 120, 1, 4)[..., 0]
    border = np.exp(-(((second - first) / 4) ** 2)) / (1 + np.exp(first - 26))
    inside = uneven / (1 + np.exp(first - 25)) * (1 - border)
    nuclei = uneven / (1 + np.exp((first - 9) * 2))
    nothing = np.zeros_like(border)
    pair = np.stack([nothing, nothing, nuclei], -1), np.stack([nothing, border, inside], -1)
    return [np.round(chances * 255).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1) for chances in pair]


def upstream_segmentator(nuclei_net, cell_net):
    """hpacellseg's own class and a patch for what no longer runs: scikit-image's argument of another name."""
    cellsegmentator = pytest.importorskip("hpacellseg.cellsegmentator", reason="hpacellseg is not installed")
    rescale = cellsegmentator.transform.rescale

    def rescale_as_before(image, factor, multichannel):
        return rescale(image, factor, channel_axis=-1)

    patch = mock.patch.object(cellsegmentator.transform, "rescale", rescale_as_before)
    return cellsegmentator.CellSegmentator(nuclei_net, cell_net, device="cpu", padding=True), patch


def upstream_run(nuclei_net, cell_net, field):
    """What upstream's networks see and say, and what it makes of that: (inputs, outputs, predictions), two each."""
    segmentator, patch = upstream_segmentator(nuclei_net, cell_net)
    seen, said = [], []

    def watch(net, inputs, output):
        seen.append(inputs[0].numpy())
        said.append(output.numpy())

    hooks = [net.register_forward_hook(watch) for net in (nuclei_net, cell_net)]
    with patch:
        nuclei = segmentator.pred_nuclei([field[..., [0, 3, 2]]])[0]
        cells = segmentator.pred_cells([field[..., [0, 3, 2]]], precombined=True)[0]
    for hook in hooks:
        hook.remove()
    return seen, said, (nuclei, cells)


def upstream_figures():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    utils = pytest.importorskip("hpacellseg.utils", reason="hpacellseg is not installed")
    figures = {}
    for name, shape in SHAPES.items():
        seen, _, _ = upstream_run(torch.nn.Identity(), torch.nn.Identity(), a_field(*shape))
        for net, batch in zip(("nuclei", "cells"), seen):
            figures[f"{name}_{net}_shape"] = np.array(batch.shape[1:])
            figures[f"{name}_{net}"] = batch[0, :, ::EVERY, ::EVERY]
    with mock.patch.object(np, "bool", bool, create=True):
        nuclei, cells = utils.label_cell(*crowded_predictions())
    return figures | {"nuclei": nuclei.astype(np.uint8), "labels": cells.astype(np.uint8)}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", SHAPES)
def test_the_networks_see_what_they_see_upstream(golden, name):
    inputs, _ = net_inputs(a_field(*SHAPES[name]), 0.08)
    for net, planes in zip(("nuclei", "cells"), inputs):
        assert planes.dtype == np.float32 and planes.shape == tuple(golden[f"{name}_{net}_shape"])
        assert all(side % 32 == 0 for side in planes.shape[1:])
        np.testing.assert_allclose(planes[:, ::EVERY, ::EVERY], golden[f"{name}_{net}"], atol=1e-3)


def test_crowded_cells_are_labelled_as_upstream(golden):
    nuclei, cells = label_cells(*crowded_predictions())
    for labels, upstream in ((cells, golden["labels"]), (nuclei, golden["nuclei"])):
        ious = hit_ious(labels, upstream)
        assert len(ious) == labels.max() == upstream.max() == 6
        assert ious.mean() > 0.97


def test_the_golden_figures_are_upstreams(golden):
    for name, figures in upstream_figures().items():
        np.testing.assert_allclose(golden[name], figures, atol=1e-5, err_msg=name)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    np.savez_compressed(GOLDEN, **upstream_figures())
