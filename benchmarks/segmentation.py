"""Segmentation in figures: `python benchmarks/segmentation.py [folder of real fields]`.

Prints F1, IoU and time of the watershed and of label_cells on real and simulated fields; times are ratios to what
OpenCV takes, in the same run and on one core, to decode a field's four PNGs. Where PyTorch, pytorch_zoo and
hpacellseg can be imported (requirements-hpacellseg.txt), also the agreement with upstream; on a CUDA machine the
speed of the two networks. What is skipped is printed, with the reason.

What was tried for label_cells, one 2048² field with 18 cells, decoding 0.12 s:
- hpacellseg's own steps at full size (scikit-image): 3 to 4.5 s, half of it in three watersheds.
- the same steps at the networks' scale, outlines brought up by a blur and a threshold (chosen): 0.05 to 0.15 s.
  Where the outlines are put matters most: at the threshold of one half they enclose 1 to 2 full-size pixels more
  than hpacellseg leaves, and the mean IoU is 0.98 to 0.985; drawn in by 0.08 µm it is 0.988.
- closing by a 5 × 5 disk (hpacellseg's 6 px, rounded up): 0.988; by a cross 0.991 but 0.94 in the worst cell; by a
  3 × 3 square (chosen) 0.991 and 0.96 in the worst.
"""

import contextlib
import functools
import importlib
import importlib.util
import io
import itertools
import os
import platform
import sys
import tempfile
import time
import warnings
from multiprocessing.pool import ThreadPool
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import scipy
import skimage

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from hpa_simulator import write_dataset  # noqa: E402
from hpa_utils.dataset import open_dataset  # noqa: E402
from hpa_utils.images import channel_files, read_field  # noqa: E402
from hpa_utils.segmentation import HPACellSegmenter, WatershedSegmenter, label_cells  # noqa: E402
from hpa_utils.segmentation.hpacellseg import net_inputs, run_network  # noqa: E402
from hpa_utils.segmentation.masks_elsewhere import hit_ious, read_labels  # noqa: E402
from hpa_utils.segmentation.parts import GPU_THREADS  # noqa: E402

REAL = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data" / "hpa_fields"


def has(*packages):
    return all(importlib.util.find_spec(package) for package in packages)


def seconds(function, *arguments, repeats=3):
    """Result and the shortest of some times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function(*arguments)
        times.append(time.perf_counter() - start)
    return result, min(times)


def machine():
    parts = [f"Python {platform.python_version()}", f"numpy {np.__version__}", f"OpenCV {cv2.__version__}"]
    parts += [f"SciPy {scipy.__version__}", f"scikit-image {skimage.__version__}"]
    if has("torch"):
        import torch

        parts += [f"torch {torch.__version__}"]
        parts += [torch.cuda.get_device_name()] if torch.cuda.is_available() else ["no CUDA"]
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}; {', '.join(parts)}")


def decode(folder, image_id):
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in channel_files(folder, image_id).values()]


def watershed(folder, masks, pixel_size, title, each=True):
    """F1, IoU and time of the watershed on the fields that have masks; returns (id, field, reference) of each."""
    ious, n_cells, ratios, kept = [], 0, [], []
    for path in sorted(Path(masks).glob("*.png")):
        where = [f for f in folder if channel_files(f, path.stem)]
        if not where:
            continue
        _, decoding = seconds(decode, where[0], path.stem)
        field = read_field(where[0], path.stem)
        reference = read_labels(Path(masks), path.stem, field.shape[:2])
        cells, taken = seconds(WatershedSegmenter(pixel_size), field)
        found, both = hit_ious(cells, reference), int(cells.max()) + int(reference.max())
        ious, n_cells, ratios = [*ious, *found], n_cells + both, [*ratios, taken / decoding]
        kept.append((path.stem, field, reference, decoding))
        if each:
            figures = f"F1 {2 * len(found) / both:.3f}, IoU {found.mean():.3f}, {taken / decoding:.2f} × decoding"
            print(f"  {path.stem[:8]} {field.shape[0]}²: {figures} ({decoding:.3f} s)")
    print(f"  {title}: F1 {2 * len(ious) / n_cells:.3f}, mean IoU of the hits {np.mean(ious):.3f}")
    if pixel_size == 0.08:  # at another scale a PNG of the same cells is another amount of work
        print(f"  {title}: time {np.mean(ratios):.2f} (at most {max(ratios):.2f}) × decoding")
    return kept


def sizes():
    """Fields of the extremes, 2048²: none, 40 and 400 cells."""
    cells, taken = seconds(WatershedSegmenter(), np.zeros((2048, 2048, 4), np.uint8))
    print(f"  black: {cells.max()} cells in {taken:.2f} s")
    for rows, columns in ((5, 8), (20, 20)):
        planes = [np.zeros((2048, 2048), np.uint8) for _ in range(4)]
        apart = 2048 / max(rows, columns)
        for row, column in itertools.product(range(rows), range(columns)):
            centre = round((column + 0.5) * apart), round((row + 0.5) * apart)
            for channel, share in ((0, 0.47), (2, 0.32), (3, 0.47)):
                cv2.circle(planes[channel], centre, int(share * apart), 150, -1)
        cells, taken = seconds(WatershedSegmenter(), cv2.merge(planes))
        print(f"  {rows * columns} cells drawn: {cells.max()} found in {taken:.2f} s")


def network_like(labels, noise, seed):
    """What a network might predict of these labels: blurred bodies, borders where cells touch, uneven within."""
    near = np.ones((5, 5), np.uint8)
    lowest = cv2.erode(np.where(labels > 0, labels, 65535).astype(np.uint16), near)
    highest = cv2.dilate(labels, near)
    border = ((highest != lowest) & (highest > 0) & (lowest < 65535)).astype(np.float32)
    body = cv2.GaussianBlur((labels > 0) * (1 - border), (0, 0), 1.5)
    border = cv2.GaussianBlur(border, (0, 0), 1)
    waves = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=labels.shape), (0, 0), 8)
    body = body * (1 - np.clip(8 * noise * np.abs(waves), 0, 0.9))
    chances = np.stack([0 * body, border, np.minimum(body, 1 - border)], axis=-1)
    return np.clip(np.round(chances * 255), 0, 255).astype(np.uint8)


def predictions_of(field, reference, noise, pixel_size):
    """Two predictions at full size, 2048² or as large as the field, of the reference masks."""
    small = [round(side * pixel_size / 0.32) for side in reference.shape]
    cells = cv2.resize(reference, small[::-1], interpolation=cv2.INTER_NEAREST)
    nuclei = cv2.resize(WatershedSegmenter(pixel_size).segment(field)[0], small[::-1], interpolation=cv2.INTER_NEAREST)
    nuclei = np.where(cells > 0, nuclei, 0).astype(np.uint16)
    pair = network_like(nuclei, noise, 1), network_like(cells, noise, 2)
    return [chances.repeat(4, axis=0).repeat(4, axis=1) for chances in pair]  # as upstream brings them up


def labelling(kept, pixel_size, title):
    upstream = importlib.import_module("hpacellseg.utils").label_cell if has("hpacellseg") else None
    ious, counts, ratios, times = [], [], [], []
    for _, field, reference, decoding in kept:
        for noise in (0, 0.5):
            pair = predictions_of(field, reference, noise, pixel_size)
            (_, cells), taken = seconds(label_cells, *pair)
            ratios.append(taken / decoding)
            if upstream:
                (_, theirs), their_time = seconds(upstream, *(p.copy() for p in pair), repeats=1)
                ious.append(hit_ious(cells, theirs.astype(np.uint16), 0.5).mean())
                counts.append((cells.max(), theirs.max()))
                times.append(their_time / taken)
    if pixel_size == 0.08:  # the PNGs of a simulated field are smaller than its predictions
        print(f"  {title}: label_cells takes {np.mean(ratios):.2f} (at most {max(ratios):.2f}) × decoding")
    if upstream:
        equal = sum(ours == theirs for ours, theirs in counts)
        print(f"  {title}: mean IoU with upstream {np.mean(ious):.4f} (worst prediction {min(ious):.4f}), equal counts "
              f"in {equal} of {len(counts)} predictions, {np.mean(times):.0f} times faster")  # fmt: skip


def random_networks():
    """Two DPN-UNets with random weights, and statistics that keep their values within reason."""
    import torch
    from pytorch_zoo import unet

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


def networks():
    """Differences from upstream with random weights, and the speed on a GPU."""
    import torch
    from test_segmentation_upstream import a_field, upstream_run

    torch.set_num_threads(1)
    nets = random_networks()
    field = a_field(256, 256)
    seen, said, theirs = upstream_run(*nets, field)
    segmenter = HPACellSegmenter(*nets, device="cpu")
    ours, _ = net_inputs(field, 0.08)
    inputs = max(np.abs(planes - other[0]).max() for planes, other in zip(ours, seen))
    outputs = []
    with torch.inference_mode():
        for net, planes, logits in zip(nets, ours, said):
            pair = [torch.softmax(x, 1) for x in (net(torch.from_numpy(planes)[None]), torch.from_numpy(logits))]
            outputs.append(float((pair[0] - pair[1]).abs().max()))
    levels = max(
        # as upstream brings them to full size: going up by a whole factor, INTER_AREA repeats the pixels
        np.abs(cv2.resize(small, field.shape[1::-1], interpolation=cv2.INTER_AREA).astype(int) - other).max()
        for small, other in zip(segmenter.predict(field), theirs)
    )
    print(f"  largest difference from upstream: inputs {inputs:.1e}, probabilities {max(outputs):.1e}, "
          f"predictions {levels} of 255")  # fmt: skip
    if torch.cuda.is_available():
        speed(nets, a_field(2048, 2048), 32)
    else:
        print("  skipped: fields a second on a GPU; PyTorch sees no CUDA device here")


def speed(nets, field, count):
    """Fields a second on a GPU: the two networks alone, with scaling and labelling, and upstream's."""
    import torch
    from test_segmentation_upstream import upstream_segmentator

    segmenter = HPACellSegmenter(*nets, device="cuda")
    segmenter(field)  # the networks move to the GPU
    (planes, _), _ = net_inputs(field, 0.08)
    _, taken = seconds(lambda: [run_network(net, planes, "cuda") for _ in range(count) for net in nets], repeats=1)
    print(f"  networks, 16 bit: {count / taken:.1f} fields/s")
    _, taken = seconds(lambda: list(segmenter.map([field] * count)), repeats=1)
    print(f"  with scaling and labelling, one by one: {count / taken:.1f} fields/s")
    with ThreadPool(GPU_THREADS) as pool:
        _, taken = seconds(pool.map, segmenter, [field] * count, repeats=1)
    print(f"  with scaling and labelling, {GPU_THREADS} threads as in 02_segmentation: {count / taken:.1f} fields/s")
    theirs, patch = upstream_segmentator(*nets)
    theirs.device, planes = "cuda", [field[..., [0, 3, 2]]]
    few = max(1, count // 8)
    with patch, torch.no_grad():
        run = [lambda: theirs.pred_nuclei(planes), lambda: theirs.pred_cells(planes, precombined=True)]
        _, taken = seconds(lambda: [call() for _ in range(few) for call in run], repeats=1)
    print(f"  upstream, one by one, with its scaling, without labelling: {few / taken:.1f} fields/s")


def main():
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    machine()
    print("watershed")
    real = []
    if REAL.is_dir():
        real = watershed([REAL / "images"], REAL / "masks", 0.08, "real fields")
    else:
        print(f"  skipped: real fields; {REAL} does not exist")
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            root = write_dataset(Path(folder) / "data", 12, 4, 512, seed=3)
        dataset = open_dataset(root)
        simulated = watershed(dataset.folders.values(), root / "masks", dataset.pixel_size_um, "simulated", each=False)
    sizes()
    print("label_cells, on network-like predictions of the reference masks")
    labelling(real, 0.08, "real fields") if real else print("  skipped: real fields")
    labelling(simulated[:6], dataset.pixel_size_um, "simulated")
    print("hpacellseg")
    needed = ("torch", "torchvision", "pytorch_zoo", "hpacellseg")
    missing = [name for name in needed if not has(name)]
    if not missing:
        networks()
    else:
        print(f"  skipped: comparison with upstream; {', '.join(missing)} not installed (requirements-hpacellseg.txt)")


if __name__ == "__main__":
    main()
