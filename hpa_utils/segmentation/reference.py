"""Cell masks made elsewhere, read instead of segmenting: hpacellseg's published ones, say, or the truth."""

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

    Parameters
    ----------
    folder : Path
    pixel_size : float
        µm per px of the fields; the nuclei inside the given cells are found at this scale.
    """

    folder: Path
    pixel_size: float = 0.08

    def __post_init__(self):
        if not Path(self.folder).is_dir():
            raise FileNotFoundError(f"mask folder {self.folder} does not exist; name one with `-p masks=DIR`")

    def segment(self, field: np.ndarray, image_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Nuclei and cells of a field, uint16 (H, W): the masks brought to the field's size, cells numbered 1…n.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no mask of that ID, or it is no two-dimensional array of labels.
        """
        cells = read_labels(Path(self.folder), image_id, field.shape[:2])
        nuclei, _ = WatershedSegmenter(self.pixel_size).segment(field)
        return np.where(nuclei > 0, cells, 0).astype(np.uint16), cells


def has_mask(folder: Path, image_id: str) -> bool:
    """Whether the folder holds a mask of that ID."""
    return any((folder / f"{image_id}{extension}").is_file() for extension in EXTENSIONS)


def mask_sizes(folder: str | Path) -> dict[str, dict[str, int]]:
    """The masks of a folder: ID → file name → size in bytes, from one listing. Other masks have other sizes."""
    sizes = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        image_id, extension = os.path.splitext(entry.name)
        if extension in EXTENSIONS:
            sizes.setdefault(image_id, {})[entry.name] = entry.stat().st_size
    return sizes


def read_labels(folder: Path, image_id: str, shape: tuple[int, int]) -> np.ndarray:
    """Instance labels of one field, uint16 of the given shape, numbered 1…n in the order of their old numbers."""
    labels = resize_labels(read_mask(folder, image_id), shape)
    values, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(shape) + (values[0] != 0)
    return numbers.astype(np.uint16)


def resize_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels of another shape, by the nearest pixel: they cannot be averaged."""
    rows = (np.arange(shape[0]) * labels.shape[0]) // shape[0]
    columns = (np.arange(shape[1]) * labels.shape[1]) // shape[1]
    return labels[rows[:, None], columns]


def read_mask(folder: Path, image_id: str) -> np.ndarray:
    """The labels of one field as its file has them: of its own size, with its own numbers.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    png, npz = folder / f"{image_id}.png", folder / f"{image_id}.npz"
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
