"""Against upstream: hpacellseg's own figures (tests/data/hpacellseg_golden.npz), and where it is installed itself.

`python tests/test_segmentation_upstream.py`, with torch, pytorch_zoo and hpacellseg importable, makes the file anew.
"""

import functools
import hashlib
import importlib
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from hpa_utils.segmentation import HPACellSegmenter, label_cells
from hpa_utils.segmentation.agreement import match_masks
from hpa_utils.segmentation.hpacellseg import full_size
from hpa_utils.segmentation.weights import load_net

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


def some_chances(height, width):
    """A prediction with its padding, as it leaves the softmax: float32 (3, height, width)."""
    chances = waves(height, width, 3, 5).astype(np.float32)
    return (chances / chances.sum(-1, keepdims=True)).transpose(2, 0, 1)


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
    segmentator, _ = upstream_segmentator(torch.nn.Identity(), torch.nn.Identity())
    segmentator.scaled_shape, segmentator.target_shape = (80, 80), (320, 320, 3)
    figures["restored"] = np.round(255 * segmentator._restore_scaling_padding(some_chances(128, 128))[::EVERY, ::EVERY])
    with mock.patch.object(np, "bool", bool, create=True):
        nuclei, cells = utils.label_cell(*crowded_predictions())
    return figures | {"nuclei": nuclei.astype(np.uint8), "labels": cells.astype(np.uint8)}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", SHAPES)
def test_the_networks_see_what_they_see_upstream(golden, name):
    found = HPACellSegmenter(None, None).net_input(a_field(*SHAPES[name]))
    for net, planes in (("nuclei", found.nuclei), ("cells", found.cells)):
        assert planes.dtype == np.float32 and planes.shape == tuple(golden[f"{name}_{net}_shape"])
        assert all(side % 32 == 0 for side in planes.shape[1:])
        np.testing.assert_allclose(planes[:, ::EVERY, ::EVERY], golden[f"{name}_{net}"], atol=1e-3)


def test_predictions_are_brought_to_full_size_as_upstream(golden):
    item = HPACellSegmenter(None, None).net_input(a_field(320, 320))
    chances = np.round(255 * some_chances(128, 128).transpose(1, 2, 0)).astype(np.uint8)
    chances[..., 0] = 0
    np.testing.assert_array_equal(full_size(item.unpadded(chances), item.full)[::EVERY, ::EVERY], golden["restored"])


def test_crowded_cells_are_labelled_as_upstream(golden):
    nuclei, cells = label_cells(*crowded_predictions())
    for labels, upstream in ((cells, golden["labels"]), (nuclei, golden["nuclei"])):
        found = match_masks(labels, upstream)
        assert found.f1 == 1 and found.hits == 6
        assert found.mean_iou > 0.97


def test_the_golden_figures_are_upstreams(golden):
    for name, figures in upstream_figures().items():
        np.testing.assert_allclose(golden[name], figures, atol=1e-5, err_msg=name)


def random_networks():
    """Two DPN-UNets with random weights, and statistics that keep their values within reason."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    unet = pytest.importorskip("pytorch_zoo.unet", reason="pytorch_zoo is not installed")
    dpn92 = importlib.import_module("pytorch_zoo.abstract_model").encoder_params["dpn92"]
    torch.manual_seed(0)
    nets = []
    # no download of ImageNet weights
    untrained = mock.patch.dict(dpn92, url=None, init_op=functools.partial(dpn92["init_op"], pretrained=False))
    with untrained, torch.no_grad():
        for _ in range(2):
            net = unet.DPNUnet(3).train()
            for _ in range(3):
                logits = net(torch.randn(2, 3, 32, 32))
            net.final[0].weight /= logits.std()
            nets.append(net.eval())
    return nets


@pytest.fixture(scope="module")
def networks():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # ten times faster on images this small
    yield random_networks()
    torch.set_num_threads(threads)


def test_the_networks_say_what_they_say_upstream(networks):
    torch = pytest.importorskip("torch")
    field = a_field(128, 128)
    _, outputs, predictions = upstream_run(*networks, field)
    segmenter = HPACellSegmenter(*networks, device="cpu")
    item = segmenter.net_input(field)
    for net, planes, theirs in zip(networks, (item.nuclei, item.cells), outputs):
        with torch.inference_mode():
            ours = net(torch.from_numpy(planes)[None]).numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())
    for ours, theirs in zip(segmenter.predict(field), predictions):
        assert 30 < theirs[..., 2].mean() < 225 and theirs.std() > 5  # there is something to compare
        assert np.abs(ours.astype(int) - theirs).max() <= 1
        assert (ours != theirs).mean() < 0.01


def test_in_batches_the_networks_say_the_same(networks):
    fields = [a_field(64, 64), a_field(64, 64)[::-1]]
    segmenter = HPACellSegmenter(*networks, device="cpu", batch=2)
    inputs = [segmenter.net_input(field) for field in fields]
    for item, found in zip(inputs, segmenter._run(inputs)):
        for ours, alone in zip(found[:2], segmenter._run([item])[0][:2]):
            assert np.abs(ours.astype(int) - alone).max() <= 1


@pytest.mark.parametrize("zipped", [True, False])
def test_the_networks_come_back_from_their_file(networks, tmp_path, capsys, zipped):
    torch = pytest.importorskip("torch")
    torch.save(networks[0], tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    digest = None if zipped else hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    net = load_net(tmp_path / "net.pth", digest)
    assert type(net) is type(networks[0])
    # PyTorch before 1.6 wrote another format, in which no whole network loads as plain weights
    assert ("unpickled" in capsys.readouterr().out) == (not zipped)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    np.savez_compressed(GOLDEN, **upstream_figures())
