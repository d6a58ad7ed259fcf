"""Cell masks made elsewhere: read instead of segmenting, or compared with (hpacellseg's published ones, the truth)."""

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hpa_utils.segmentation.watershed import WatershedSegmenter

EXTENSIONS = (".png", ".npz")


@dataclass(frozen=True)
class ReferenceMasks:
    """A folder of ``{ID}.png`` or ``{ID}.npz`` (its first array): instance labels of any resolution.

    The nuclei inside the given cells are found by the watershed; `pixel_size` is that of the fields, in µm.
    """

    folder: Path
    pixel_size: float = 0.08

    def __post_init__(self):
        if not Path(self.folder).is_dir():
            raise FileNotFoundError(f"mask folder {self.folder} does not exist; name one with `-p masks=DIR`")

    def segment(self, field: np.ndarray, image_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Nuclei and cells, uint16 (H, W), of a field: the masks brought to its size, cells numbered 1…n."""
        cells = read_labels(self.folder, image_id, field.shape[:2])
        nuclei, _ = WatershedSegmenter(self.pixel_size).segment(field)
        return np.where(nuclei > 0, cells, 0).astype(np.uint16), cells


def has_mask(folder: str | Path, image_id: str) -> bool:
    """Whether the folder holds a mask of that ID."""
    return any((Path(folder) / f"{image_id}{extension}").is_file() for extension in EXTENSIONS)


def mask_sizes(folder: str | Path) -> dict[str, dict[str, int]]:
    """The masks of a folder: ID → file name → size in bytes, from one listing. Other masks have other sizes."""
    sizes = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        image_id, extension = os.path.splitext(entry.name)
        if extension in EXTENSIONS:
            sizes.setdefault(image_id, {})[entry.name] = entry.stat().st_size
    return sizes


def read_mask(folder: str | Path, image_id: str) -> np.ndarray:
    """The labels of one field as its file has them: of its own size, with its own numbers.

    FileNotFoundError: there is no mask of that ID; ValueError: it is no two-dimensional array of labels.
    """
    png, npz = (Path(folder) / f"{image_id}{extension}" for extension in EXTENSIONS)
    if png.is_file():
        labels = cv2.imread(str(png), cv2.IMREAD_UNCHANGED)
    elif npz.is_file():
        with np.load(npz, allow_pickle=False) as arrays:
            labels = arrays[arrays.files[0]]
    else:
        raise FileNotFoundError(f"no mask {image_id}.png or .npz in {folder}")
    if labels is None or labels.ndim != 2:
        raise ValueError(f"mask of {image_id} in {folder} is no two-dimensional image of labels")
    return labels


def resize_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels at another shape, by the nearest pixel: they cannot be averaged."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(shape, labels.shape, strict=True))
    return labels[rows[:, None], columns]


def read_labels(folder: str | Path, image_id: str, shape: tuple[int, int]) -> np.ndarray:
    """Instance labels of one field, uint16 of the given shape, numbered 1…n in the order of their old numbers."""
    values, numbers = np.unique(resize_labels(read_mask(folder, image_id), shape), return_inverse=True)
    return (numbers.reshape(shape) + (values[0] != 0)).astype(np.uint16)


def iou_table(cells: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """IoU of every cell with every reference, float64 (n cells, n references); numbers 1…n, gaps give zeros."""
    if cells.shape != reference.shape:
        raise ValueError(f"masks differ in size: {cells.shape} and {reference.shape}")
    n, m = int(cells.max(initial=0)) + 1, int(reference.max(initial=0)) + 1
    pairs = cells.ravel().astype(np.int64) * m + reference.ravel()
    both = np.bincount(pairs, minlength=n * m).reshape(n, m)
    union = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    return both[1:, 1:] / np.maximum(union[1:, 1:], 1)


def hit_ious(cells: np.ndarray, reference: np.ndarray, threshold: float = 0.6) -> np.ndarray:
    """IoU of each cell that is a hit, float64 (n hits,): it overlaps a reference cell by at least `threshold`.

    Above an IoU of 0.5 a cell hits one reference cell at most, and the other way round.
    """
    table = iou_table(cells, reference)
    return table[table >= threshold]
