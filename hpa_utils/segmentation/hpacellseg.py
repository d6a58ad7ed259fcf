"""hpacellseg's two networks on today's PyTorch, which is imported only when one of them is used."""

import hashlib
import importlib.util
import io
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hpa_utils.segmentation.label_cells import label_cells
from hpa_utils.segmentation.watershed import WORK_PIXEL

MEAN = np.array([124, 117, 104], np.float32) / 255  # of the networks' training, in the order of their inputs
STD = np.float32(1 / (0.0167 * 255))
PAD = 32  # px; the networks halve the side five times

WEIGHTS_FROM = (
    "get it from https://zenodo.org/record/4665863 or rdizzl3/hpacellsegmentatormodelweights on Kaggle"
)
PACKAGES_FROM = (
    "HPACellSegmenter needs: pip install torch; for the published weights also (or as Kaggle data sets) "
    "git+https://github.com/haoxusci/pytorch_zoo git+https://github.com/CellProfiling/HPA-Cell-Segmentation"
)


@dataclass(frozen=True)
class HPACellSegmenter:
    """Segment cells with the DPN-UNets of CellProfiling/HPA-Cell-Segmentation, the ones behind the truth.

    Parameters
    ----------
    nuclei_net, cell_net : torch.nn.Module
        (1, 3, h, w) to logits of background, border, body. They see nucleus × 3; microtubules, ER, nucleus.
    device : str
        "auto" takes a GPU where there is one.
    pixel_size : float
        µm per px of the fields; the networks always see 0.32.
    """

    nuclei_net: Any
    cell_net: Any
    device: str = "auto"
    pixel_size: float = 0.08

    @classmethod
    def from_files(cls, nuclei, cells, sha256=None, device="auto", pixel_size=0.08):
        """Load the two ``.pth`` files.

        Parameters
        ----------
        nuclei, cells : path
            Whole modules, as published.
        sha256 : {file name: hex} or (hex of nuclei, hex of cells), optional
            Unpickling can run any code: a file that PyTorch will not load as plain weights is loaded only if
            its SHA-256 is the one given here.
        """
        paths = [Path(nuclei), Path(cells)]
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise FileNotFoundError(f"no such file: {', '.join(missing)}; {WEIGHTS_FROM}")
        if not isinstance(sha256, Mapping):
            sha256 = dict(zip((path.name for path in paths), sha256 or (), strict=False))
        return cls(*(load_net(path, sha256.get(path.name)) for path in paths), device, pixel_size)

    def __call__(self, field: np.ndarray) -> np.ndarray:
        """Cells, uint16 (H, W), of a field, uint8 (H, W, 4) in the order red, green, blue, yellow."""
        return self.segment(field)[1]

    def segment(self, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nuclei and cells, uint16 (H, W) each, with the same numbers 1…n in both."""
        return label_cells(*self.predict(field), self.pixel_size)

    def map(self, fields: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Cells of each field, one by one."""
        yield from map(self, fields)

    def predict(self, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the two networks predict, uint8 (H, W, 3) each: nothing, border, body."""
        small = _rescale(field[..., [0, 3, 2]], self.pixel_size / WORK_PIXEL)
        nuclei, cells = self._run(self.nuclei_net, small[..., [2, 2, 2]]), self._run(self.cell_net, small)
        size = field.shape[1::-1]  # OpenCV's order: columns, rows
        return cv2.resize(nuclei, size), cv2.resize(cells, size)

    def _run(self, net, image):
        """Probabilities times 255, uint8 (h, w, 3), for one image in [0, 1], float32 (h, w, 3)."""
        torch = _torch()
        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        net = net.module if isinstance(net, torch.nn.DataParallel) else net
        height, width = image.shape[:2]
        padding = (PAD, PAD + -height % PAD, PAD, PAD + -width % PAD)  # as with hpacellseg's padding=True
        padded = cv2.copyMakeBorder((image - MEAN) / STD, *padding, cv2.BORDER_REFLECT)
        batch = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1))[None]).to(device)
        with torch.inference_mode(), torch.autocast("cuda", enabled=device.startswith("cuda")):
            logits = net.to(device).eval()(batch)
        chance = logits.float().softmax(1)[0, :, PAD : PAD + height, PAD : PAD + width].cpu().numpy()
        return np.round(chance.transpose(1, 2, 0) * (0, 255, 255)).astype(np.uint8)


def _rescale(planes, factor):
    """Planes, uint8, as float32 in [0, 1] at another scale, blurred as scikit-image's rescale does."""
    planes = planes.astype(np.float32) / 255
    if factor < 1:
        planes = cv2.GaussianBlur(planes, (0, 0), (1 / factor - 1) / 2)
    height, width = (max(1, round(side * factor)) for side in planes.shape[:2])
    return cv2.resize(planes, (width, height))


def load_net(path: Path, sha256: str | None):
    """The module in a ``.pth`` file; one that has to be unpickled only if its hash is `sha256`."""
    torch = _torch()
    data = path.read_bytes()  # once, so that what is hashed is what is loaded
    try:
        with torch.serialization.safe_globals(_layers(torch)):
            net = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, AttributeError, TypeError, ImportError) as reason:
        digest = hashlib.sha256(data).hexdigest()
        why = str(reason).split("WeightsUnpickler error:")[-1].strip().partition("\n")[0]
        if digest != (sha256 or "").lower():
            raise ValueError(
                f"{path} does not load as plain weights ({why}), and unpickling it may run any code. Its "
                f"SHA-256 is {digest}, {sha256 or 'none'} was given: if that is the file you trust, pass "
                f'sha256={{"{path.name}": "{digest}"}}'
            ) from reason
        print(f"{path.name}: unpickled, since its SHA-256 is the one given ({why})")
        try:
            net = torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
        except ModuleNotFoundError as error:
            raise ImportError(f"{path.name} was made with {error.name}. {PACKAGES_FROM}") from error
    if not isinstance(net, torch.nn.Module):
        raise TypeError(f"{path} holds {type(net).__name__}, no network; {WEIGHTS_FROM}")
    return net


def _layers(torch):
    """The classes of which the networks are built: PyTorch's layers and, where installed, pytorch_zoo's."""
    zoo = ["unet", "dpn", "abstract_model"] if importlib.util.find_spec("pytorch_zoo") else []
    modules = [torch.nn, *(importlib.import_module(f"pytorch_zoo.{name}") for name in zoo)]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return [value for value in classes if issubclass(value, torch.nn.Module)]


def _torch():
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(PACKAGES_FROM) from error
