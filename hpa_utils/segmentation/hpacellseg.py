"""hpacellseg's two networks on today's PyTorch, which is imported only when one of them is used.

Nothing of hpacellseg is imported: its networks are plain PyTorch modules, and what it does before and after them
(CellProfiling/HPA-Cell-Segmentation 0.1.8, with its `padding=True`) is written anew for any shape of field.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from hpa_utils.manifest import digest
from hpa_utils.segmentation.label_cells import label_small
from hpa_utils.segmentation.stream import attempt, in_batches, prefetch
from hpa_utils.segmentation.watershed import WORK_PIXEL
from hpa_utils.segmentation.weights import WEIGHTS_FROM, import_torch, load_net, modernised

MEAN = np.array([124, 117, 104], np.float32) / 255  # of the networks' training, in the order of their inputs
STD = np.float32(1 / (0.0167 * 255))
PAD = 32  # px; the networks halve the side five times


class NetInput(NamedTuple):
    """A field as the networks get it.

    `nuclei` and `cells` are float32 (3, h, w), normalised, with sides divisible by 32: nucleus × 3, and
    microtubules, ER, nucleus. `small` is the size (rows, columns) without the padding, `full` that of the field.
    """

    nuclei: np.ndarray
    cells: np.ndarray
    small: tuple[int, int]
    full: tuple[int, int]

    def unpadded(self, chances: np.ndarray) -> np.ndarray:
        """What a network says of this input, (h, w, 3), without the padding."""
        return chances[PAD : PAD + self.small[0], PAD : PAD + self.small[1]]


@dataclass(frozen=True)
class HPACellSegmenter:
    """Segment cells with the DPN-UNets of CellProfiling/HPA-Cell-Segmentation, the ones behind the truth.

    Parameters
    ----------
    nuclei_net, cell_net : torch.nn.Module
        (n, 3, h, w) to logits of background, border, body. They see nucleus × 3; microtubules, ER, nucleus.
    device : str
        "auto" takes a GPU where there is one.
    pixel_size : float
        µm per px of the fields; the networks always see 0.32, so a competition field is scaled by 0.25.
    batch : int
        Fields of one size that go through the networks together.
    half : bool
        Whether the networks work in 16 bit on a GPU (autocast).
    weights : tuple of str
        SHA-256 of the files that the networks come from: cells of other weights are other cells.
    """

    nuclei_net: Any
    cell_net: Any
    device: str = "auto"
    pixel_size: float = 0.08
    batch: int = 4
    half: bool = True
    weights: tuple = ()

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

        Raises
        ------
        FileNotFoundError, ImportError, ValueError, TypeError
            Saying what is missing or wrong (`hpa_utils.segmentation.weights.load_net`).
        """
        paths = [Path(nuclei), Path(cells)]
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise FileNotFoundError(f"no such file: {', '.join(missing)}; {WEIGHTS_FROM}")
        if not isinstance(sha256, Mapping):
            sha256 = dict(zip((path.name for path in paths), sha256 or (), strict=False))
        nets = [load_net(path, sha256.get(path.name)) for path in paths]
        return cls(*nets, device, pixel_size, weights=tuple(digest(path) for path in paths))

    def __call__(self, field: np.ndarray) -> np.ndarray:
        """Cells, uint16 (H, W), of a field, uint8 (H, W, 4) in the order red, green, blue, yellow."""
        return self.segment(field)[1]

    def segment(self, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nuclei and cells, uint16 (H, W) each, with the same numbers 1…n in both."""
        return _or_raise(next(self.stream([field])))

    def map(self, fields: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Cells of each field, in order; fields are read ahead and go through the networks in batches."""
        for result in self.stream(fields):
            yield _or_raise(result)[1]

    def stream(self, fields: Iterable) -> Iterator:
        """(nuclei, cells) of each field, in order; in place of a field that fails stands its exception.

        Three things go on at once: a background thread takes the next fields from the iterable and scales them,
        a second one runs the networks, and the caller's thread labels.

        Parameters
        ----------
        fields : iterable of uint8 (H, W, 4) or Exception
            An exception, for a field that could not be read, is passed on in its place.
        """
        self._nets  # noqa: B018 - what is missing must stop the run here, not set aside every field
        inputs = prefetch(attempt(self.net_input, field) for field in fields)
        predictions = in_batches(inputs, self._run, lambda item: item.cells.shape, self.batch)
        for prediction in prefetch(predictions):
            yield attempt(lambda found: label_small(*found), prediction)

    def predict(self, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the two networks predict, uint8 (H, W, 3) each: nothing, border, body; times 255."""
        nucleus, cell, shape = _or_raise(self._run([self.net_input(field)])[0])
        return full_size(nucleus, shape), full_size(cell, shape)

    def net_input(self, field: np.ndarray) -> NetInput:
        """The field at the networks' scale, mirrored out to sides divisible by 32."""
        image = _rescale(field[..., [0, 3, 2]], self.pixel_size / WORK_PIXEL)
        height, width = image.shape[:2]
        padding = (PAD, PAD - height % PAD, PAD, PAD - width % PAD)
        padded = cv2.copyMakeBorder(image, *padding, cv2.BORDER_REFLECT).transpose(2, 0, 1)
        mean = MEAN[:, None, None]
        return NetInput((padded[[2, 2, 2]] - mean) / STD, (padded - mean) / STD, (height, width), field.shape[:2])

    @functools.cached_property
    def _nets(self):
        """Both networks on their device, moved there once."""
        return [modernised(net).to(self._device) for net in (self.nuclei_net, self.cell_net)]

    @functools.cached_property
    def _device(self):
        torch = import_torch()
        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device

    @functools.cached_property
    def _limits(self):
        """Largest batch that fits the GPU, by padded shape, where less than `batch` does."""
        return {}

    def _run(self, inputs: list[NetInput]) -> list:
        """(nucleus, cell, full shape) of each input of one padded shape, or the exception of what fails."""
        shape, results = inputs[0].cells.shape, []
        memory_error = import_torch().cuda.OutOfMemoryError
        while len(results) < len(inputs):
            limit = self._limits.get(shape, self.batch)
            part = inputs[len(results) : len(results) + limit]
            found = attempt(self._forward, part)
            if not isinstance(found, Exception):
                results += found
            elif isinstance(found, memory_error) and len(part) > 1:
                self._limits[shape] = len(part) // 2
                print(f"CUDA out of memory with {len(part)} fields: going on with {len(part) // 2} at a time")
            else:
                results += [_explained(found, memory_error, shape)] * len(part)
            if isinstance(found, memory_error):
                found.__traceback__ = None  # it holds the tensors
                import_torch().cuda.empty_cache()
        return results

    def _forward(self, inputs):
        found = []
        for net, name in zip(self._nets, ("nuclei", "cells"), strict=True):
            chances = self._chances(net, np.stack([getattr(item, name) for item in inputs]))
            found.append([item.unpadded(chance) for item, chance in zip(inputs, chances, strict=True)])
        return [(nucleus, cell, item.full) for nucleus, cell, item in zip(*found, inputs, strict=True)]

    def _chances(self, net, batch):
        """Probabilities times 255, uint8 (n, h, w, 3), of normalised inputs, float32 (n, 3, h, w)."""
        torch = import_torch()
        half = torch.autocast("cuda", torch.float16, enabled=self.half and self._device.startswith("cuda"))
        with torch.inference_mode(), half:
            chances = net(torch.from_numpy(batch).to(self._device)).float().softmax(1)
            chances[:, 0] = 0  # the background is not used, as with hpacellseg
            return (chances * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def full_size(chances: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A prediction, uint8 (h, w, 3), at the size of its field, as hpacellseg brings it there."""
    # going up by a whole factor, INTER_AREA repeats the pixels
    return cv2.resize(chances, shape[::-1], interpolation=cv2.INTER_AREA)


def _explained(error, memory_error, shape):
    if not isinstance(error, memory_error):
        return error
    return RuntimeError(f"CUDA out of memory with a single field of {shape[1]} × {shape[2]} px at the networks' scale")


def _or_raise(result):
    if isinstance(result, Exception):
        raise result
    return result


def _rescale(planes, factor):
    """Planes, uint8, as float32 in [0, 1] at another scale, blurred as scikit-image's rescale does."""
    planes = planes.astype(np.float32) / 255
    if factor < 1:
        planes = cv2.GaussianBlur(planes, (0, 0), (1 / factor - 1) / 2)
    height, width = (max(1, round(side * factor)) for side in planes.shape[:2])
    return cv2.resize(planes, (width, height))
