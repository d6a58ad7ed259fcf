"""hpacellseg's two networks on today's PyTorch, which is imported only when they are used, and its labelling.

Nothing of hpacellseg (CellProfiling/HPA-Cell-Segmentation 0.1.8) is imported. Its ``.pth`` files are whole pickled
networks, loaded without running whatever code a file may hold. What it does before them (with its `padding=True`) and
after them (``label_cell``, which made the competition's truth) is written anew, step for step: for any shape of field,
with areas in µm², labels that do not wrap at 255, and at 0.32 µm/px, where the networks predict.
"""

import contextlib
import functools
import hashlib
import importlib
import io
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage.measure import label as number_pieces
from skimage.segmentation import watershed

from hpa_utils.checks import check_pixels
from hpa_utils.manifest import digest
from hpa_utils.segmentation.watershed import WORK_PIXEL, Segmenter, enlarge, keep_large, shrink

MEAN = np.array([124, 117, 104], np.float32)[:, None, None] / 255  # of the networks' training, per input channel
STD = np.float32(1 / (0.0167 * 255))
PAD = 32  # px; the networks halve the side five times

BORDER, BODY = 1, 2  # channels of a prediction: where objects touch, and the objects; the first is background

NUCLEUS_BODY = 0.4  # probability above which a pixel is nucleus
SEED_BODY = 0.15  # a seed may be fainter, since the touching borders bound it
SEED_BORDER = 242.25  # both borders together, below which a pixel may be seed
CELL_BODY = 0.22  # lowest probability above which a pixel is cell
CELL_BORDER = 0.05  # above it a pixel beside a cell is its outline
SMALLEST_SEED, SMALLEST_NUCLEUS, SMALLEST_CELL = 3.2, 16.0, 35.2  # µm²: 500, 2500 and 5500 px at 0.08 µm/px
LARGEST_HOLE = 6.4  # µm² of a hole that still belongs to the nucleus
CLOSING = 0.48  # µm
SMOOTHING, INSET = 0.24, 0.08  # µm; hpacellseg takes one or two full-size pixels off every outline

WEIGHTS_FROM = "get it from https://zenodo.org/record/4665863 or rdizzl3/hpacellsegmentatormodelweights on Kaggle"
PACKAGES_FROM = (
    "HPACellSegmenter needs: pip install torch torchvision, and for the published weights the package of "
    "git+https://github.com/haoxusci/pytorch_zoo (see requirements-hpacellseg.txt; on Kaggle attach a data set with "
    "its source)"
)

_networks_busy = threading.Lock()  # one field at a time: threads only read and label while the networks work


@dataclass(frozen=True)
class HPACellSegmenter(Segmenter):
    """Segment cells with the DPN-UNets of CellProfiling/HPA-Cell-Segmentation, the ones behind the truth.

    The networks, torch modules, turn (n, 3, h, w) into logits of background, border, body. They always see 0.32 µm/px.
    """

    nuclei_net: Any  # sees nucleus × 3
    cell_net: Any  # sees microtubules, ER, nucleus
    device: str = "auto"  # a GPU where there is one; there the networks work in 16 bit
    pixel_size: float = 0.08  # µm per px of the fields
    weights: tuple = ()  # SHA-256 of the networks' files: cells of other weights are other cells

    @classmethod
    def from_files(cls, nuclei, cells, sha256=None, device: str = "auto", pixel_size: float = 0.08):
        """Load the two ``.pth`` files, whole modules as published.

        `sha256` is {file name: hex} or (hex of nuclei, hex of cells). Unpickling can run any code: a file that PyTorch
        will not load as plain weights is loaded only if its SHA-256 is the one given. Errors are those of `load_net`.
        """
        paths = [Path(nuclei), Path(cells)]
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise FileNotFoundError(f"no such file: {', '.join(missing)}; {WEIGHTS_FROM}")
        if not isinstance(sha256, Mapping):
            sha256 = dict(zip((path.name for path in paths), sha256 or (), strict=False))
        nets = [load_net(path, sha256.get(path.name)) for path in paths]
        return cls(*nets, device, pixel_size, tuple(digest(path) for path in paths))

    def segment(self, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nuclei and cells, uint16 (H, W) each, with the same numbers 1…n in both."""
        return label_cells(*self.predict(field), WORK_PIXEL, field.shape[:2])

    def predict(self, field: np.ndarray) -> list[np.ndarray]:
        """What the two networks predict at 0.32 µm/px, uint8 (h, w, 3) each: nothing, border, body; times 255."""
        inputs, (height, width) = net_inputs(field, self.pixel_size)
        with _networks_busy:
            device, nets = self._ready
            chances = [run_network(net, planes, device) for net, planes in zip(nets, inputs, strict=True)]
        return [found[PAD : PAD + height, PAD : PAD + width] for found in chances]

    @functools.cached_property
    def _ready(self):
        """The device, and both networks on it: moved there once."""
        device = self.device
        if device == "auto":
            device = "cuda" if import_torch().cuda.is_available() else "cpu"
        return device, [modernised(net).to(device) for net in (self.nuclei_net, self.cell_net)]


def run_network(net, planes: np.ndarray, device: str) -> np.ndarray:
    """Probabilities times 255, uint8 (h, w, 3), that a network gives to a normalised input, float32 (3, h, w)."""
    torch = import_torch()
    half = torch.autocast("cuda", torch.float16, enabled=device.startswith("cuda"))
    with torch.inference_mode(), half:
        chances = net(torch.from_numpy(planes[None]).to(device)).float().softmax(1)
        chances[:, 0] = 0  # the background is not used, as with hpacellseg
        return (chances * 255).round().byte()[0].permute(1, 2, 0).cpu().numpy()


def net_inputs(field: np.ndarray, pixel_size: float) -> tuple[tuple[np.ndarray, np.ndarray], tuple[int, int]]:
    """What the nuclei and the cell network see of a field, float32 (3, h, w) each, and its size at 0.32 µm/px.

    The inputs are normalised, and mirrored out to sides divisible by 32; the size is (rows, columns) without that.
    """
    check_pixels(field, "field")
    planes, factor = field[..., [0, 3, 2]].astype(np.float32) / 255, pixel_size / WORK_PIXEL
    if factor < 1:  # blurred as scikit-image's rescale does
        planes = cv2.GaussianBlur(planes, (0, 0), (1 / factor - 1) / 2)
    height, width = (max(1, round(side * factor)) for side in field.shape[:2])
    planes = cv2.resize(planes, (width, height))
    padding = (PAD, PAD - height % PAD, PAD, PAD - width % PAD)
    planes = cv2.copyMakeBorder(planes, *padding, cv2.BORDER_REFLECT).transpose(2, 0, 1)
    return ((planes[[2, 2, 2]] - MEAN) / STD, (planes - MEAN) / STD), (height, width)


def label_cells(
    nuclei_prediction: np.ndarray, cell_prediction: np.ndarray, pixel_size: float = 0.08, shape: tuple | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei and cells, uint16 (H, W) with the same numbers 1…n, from what hpacellseg's networks predict of a field.

    Nuclei are parted at the predicted borders and seed a watershed on the predicted cells, which is then let
    into the predicted borders between the cells. A cell without a nucleus is dropped.

    The predictions are uint8 (h, w, 3), probabilities times 255 (unused, border, body) at `pixel_size` µm/px, as
    ``CellSegmentator.pred_nuclei`` and ``pred_cells`` give. `shape` is the field's size (H, W), if it is not theirs.
    """
    check_pixels(nuclei_prediction, "nuclei_prediction", channels=3)
    check_pixels(cell_prediction, "cell_prediction", channels=3)
    # nothing finer than 0.32 µm is in a prediction, and averaging would wash out the thin borders
    nucleus, cell = (shrink(p, pixel_size, cv2.INTER_LINEAR) for p in (nuclei_prediction, cell_prediction))
    pixel = pixel_size if cell is cell_prediction else WORK_PIXEL
    nuclei = _nuclei(nucleus, cell, pixel)
    return enlarge(nuclei, _cells(nuclei, cell, pixel), shape or cell_prediction.shape[:2], pixel, SMOOTHING, INSET)


def _nuclei(nucleus, cell, pixel):
    body = nucleus[..., BODY]
    # uint8: where both borders are certain the sum wraps, and no border is seen; so it was when the truth was made
    apart = nucleus[..., BORDER] + cell[..., BORDER] < SEED_BORDER
    _, seeds = cv2.connectedComponents((apart & (body > SEED_BODY * 255)).astype(np.uint8), connectivity=4)
    seeds = keep_large(seeds, SMALLEST_SEED, pixel)
    mask = body > NUCLEUS_BODY * 255
    _, holes = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    mask |= (np.bincount(holes.ravel()) < LARGEST_HOLE / pixel**2)[holes]
    # on a flat relief the seeds grow at equal speed
    nuclei = keep_large(watershed(np.zeros(mask.shape, np.uint8), seeds, mask=mask), SMALLEST_NUCLEUS, pixel)
    return number_pieces(nuclei).astype(np.int32)


def _cells(nuclei, cell, pixel):
    body, border = cell[..., BODY], cell[..., BORDER]
    otsu, _ = cv2.threshold(body, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    relief = 255 - body
    cells = watershed(relief, nuclei, mask=body > max(CELL_BODY * 255, otsu / 2))
    cells = keep_large(cells, SMALLEST_CELL, pixel)
    # gaps and notches up to twice this wide are closed; the image border closes nothing
    radius = max(1, int(CLOSING / pixel))
    padded = cv2.copyMakeBorder(cells.astype(np.uint16), *[2 * radius] * 4, cv2.BORDER_REFLECT)
    # a square: hpacellseg's disk of 6 px covers it, and a cross, the disk of OpenCV at this scale, is less like it
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((2 * radius + 1,) * 2, np.uint8))
    closed = closed[2 * radius : -2 * radius, 2 * radius : -2 * radius].astype(np.int32)
    return watershed(relief, closed, mask=(closed > 0) | (border > CELL_BORDER * 255))


def import_torch():
    """PyTorch; ImportError, saying what to install, where it is missing."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(PACKAGES_FROM) from error


def load_net(path: Path, sha256: str | None):
    """The network in a ``.pth`` file.

    PyTorch is asked to load it with ``weights_only=True`` and an allow-list of the networks' classes. Where it
    refuses, the file is unpickled only if its SHA-256 is `sha256`, and the reason is printed; with another hash or
    none, it is a ValueError. ImportError: a package of the classes is missing; TypeError: the file holds no network.
    """
    torch = import_torch()
    data = path.read_bytes()  # once, so that what is hashed is what is loaded
    try:
        with torch.serialization.safe_globals(_layers(torch)):
            net = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as reason:  # whatever PyTorch dislikes; the hash decides
        net = _unpickle(torch, path, data, sha256, reason)
    if not isinstance(net, torch.nn.Module):
        raise TypeError(f"{path} holds {type(net).__name__}, no network; {WEIGHTS_FROM}")
    return net


def _unpickle(torch, path, data, sha256, reason):
    why = str(reason).split("WeightsUnpickler error:")[-1].strip().partition("\n")[0]
    found = hashlib.sha256(data).hexdigest()
    if found != (sha256 or "").lower():
        raise ValueError(
            f"{path} does not load as plain weights ({why}), and unpickling it may run any code. Its SHA-256 is "
            f"{found}, {sha256 or 'none'} was given: if that is the file you trust, pass "
            f'sha256={{"{path.name}": "{found}"}} (in 02_segmentation: hpacellseg_sha256, nuclei first)'
        ) from reason
    print(f"{path.name}: unpickled, since its SHA-256 is the one given ({why})")
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise ImportError(f"{path.name} was made with {error.name}. {PACKAGES_FROM}") from error


def modernised(net):
    """The network, ready to predict; layers pickled by an old PyTorch get what today's expects of them."""
    torch = import_torch()
    net = net.module if isinstance(net, torch.nn.DataParallel) else net
    for layer in net.modules():
        if isinstance(layer, torch.nn.Upsample) and not hasattr(layer, "recompute_scale_factor"):
            layer.recompute_scale_factor = None  # since PyTorch 1.11
    return net.eval()


def _layers(torch):
    """The classes of which the networks are built: PyTorch's layers and, where installed, pytorch_zoo's."""
    modules = [torch.nn]
    with contextlib.suppress(ImportError):  # if the file is built of them, PyTorch will say what it misses
        modules += [importlib.import_module(f"pytorch_zoo.{name}") for name in ("unet", "dpn", "abstract_model")]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return [value for value in classes if issubclass(value, torch.nn.Module)]
