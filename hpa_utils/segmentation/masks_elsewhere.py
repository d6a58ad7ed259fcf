"""Cell masks made elsewhere: read instead of segmenting, or compared with (hpacellseg's published ones, the truth)."""

import functools
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage.measure import label as number_pieces
from skimage.segmentation import relabel_sequential

from hpa_utils.checks import check_labels, size_text
from hpa_utils.segmentation.watershed import WatershedSegmenter

EXTENSIONS = (".png", ".npz")
VOID = 255  # index of the outlines in PNGs with a palette, after Pascal VOC
LOOKED_AT = 512  # px of a mask's longer side at which its pieces are counted; HPA's cells are some 80 px wide there
NUMBER_EACH = "give each cell a number of its own (skimage.measure.label parts only cells that do not touch)"


@dataclass(frozen=True)
class ReferenceMasks:
    """A folder of ``{ID}.png`` or ``{ID}.npz`` (its first array): instance labels of any resolution.

    The nuclei inside the given cells are found by the watershed; `pixel_size` is that of the fields, in µm.
    """

    folder: Path
    pixel_size: float = 0.08

    def __post_init__(self):
        if not Path(self.folder).is_dir():
            raise FileNotFoundError(f"mask folder {self.folder} does not exist; set `masks` to the folder of the masks")
        dead = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_symlink() and not entry.is_file())
        if dead:
            what = f"{len(dead):,} links in {self.folder} are dead, such as {dead[0]}; point them at their files"
            warnings.warn(f"{what}, or remove them", stacklevel=2)

    def segment(self, field: np.ndarray, image_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Nuclei and cells, uint16 (H, W), of a field: the masks brought to its size, cells numbered 1…n."""
        cells = read_labels(self.folder, image_id, field.shape[:2])
        nuclei, _ = WatershedSegmenter(self.pixel_size).segment(field)
        _check_nuclei(cells, nuclei, image_id)
        return np.where(nuclei > 0, cells, 0).astype(np.uint16), cells


def has_mask(folder: str | Path, image_id: str) -> bool:
    """Whether the folder holds a mask of that ID."""
    return any((Path(folder) / f"{image_id}{extension}").is_file() for extension in EXTENSIONS)


def mask_sizes(folder: str | Path) -> dict[str, dict[str, int]]:
    """The masks of a folder: ID → file name → size in bytes, from one listing. Other masks have other sizes."""
    sizes = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        image_id, extension = os.path.splitext(entry.name)
        if extension in EXTENSIONS and entry.is_file():
            sizes.setdefault(image_id, {})[entry.name] = entry.stat().st_size
    return sizes


def read_mask(folder: str | Path, image_id: str) -> np.ndarray:
    """The labels of one field as its file has them: whole numbers, of its own size; 0, −1 or NaN where no cell is.

    FileNotFoundError: there is no mask of that ID; ValueError: it is damaged, or does not number single cells.
    """
    png, npz = (Path(folder) / f"{image_id}{extension}" for extension in EXTENSIONS)
    path = png if png.is_file() else npz
    if not path.is_file():
        dead = "; its link is dead: point it at its file" if png.is_symlink() or npz.is_symlink() else ""
        raise FileNotFoundError(f"no mask {image_id}.png or .npz in {folder}{dead}")
    try:
        if path == png:
            # not by OpenCV, which takes torn files, and a palette's colours instead of its indices
            with Image.open(png) as image:
                labels, has_palette = np.array(image), image.mode == "P"
            if has_palette and len(np.unique(labels)) > 2:
                labels[labels == VOID] = 0
        else:
            with np.load(npz, allow_pickle=False) as arrays:
                labels = arrays[arrays.files[0]]
        labels = _whole_numbers(labels)
        _check_pieces(labels)
    except Exception as error:  # every kind of damage has an exception of its own
        remedy = "" if type(error) is ValueError else "; it may be damaged: copy or make it anew"
        raise ValueError(f"mask {path.name} in {folder} cannot be used: {error}{remedy}") from error
    return labels


def _whole_numbers(labels: np.ndarray) -> np.ndarray:
    """Labels as integers, the background as 0."""
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "biuf":
        found = f"it holds {labels.dtype} of {size_text(labels.shape)}"
        raise ValueError(f"{found}; save labels as one plane (H, W) of whole numbers, not as colours")
    if labels.dtype.kind == "f":
        labels = np.where(np.isnan(labels), -1, labels)
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    if (whole != labels).any():
        raise ValueError("its labels are no whole numbers; save the numbers of the cells, not averaged, not scaled")
    if whole.min() < -1 or (whole.min() < 0 and not whole.all()):
        raise ValueError("it has several labels below 1; number the background 0 and the cells from 1")
    return np.maximum(whole, 0)


def _check_pieces(labels: np.ndarray) -> None:
    """Raise ValueError if labels do not lie as cells do: in a piece each, thicker than a line, off the border."""
    step = -(-max(labels.shape) // LOOKED_AT)
    small = relabel_sequential(labels[::step, ::step])[0].astype(np.int32)
    edges = small[0], small[-1], small[:, 0], small[:, -1]
    if small.max() > 1 and functools.reduce(np.intersect1d, edges).any():
        raise ValueError(f"a label besides 0 touches all four sides; number the background 0, and {NUMBER_EACH}")
    pieces, plane, around = number_pieces(small, connectivity=1), small.astype(np.float32), np.ones((3, 3), np.uint8)
    inner = (small > 0) & (cv2.dilate(plane, around) == cv2.erode(plane, around))
    n_whole, n_labels = len(np.unique(pieces[inner])), len(np.unique(small[inner]))
    n_thin = pieces.max() - n_whole
    if n_thin > (2 * n_whole + 2 if n_whole else 0):
        what = f"{n_thin:,} of the {pieces.max():,} pieces of its labels are specks or lines, as averaging leaves them"
        raise ValueError(f"{what}; resize masks by the nearest pixel, and save cells filled and without loss")
    if n_whole - n_labels >= max(2, n_labels / 8):
        raise ValueError(f"its labels ({n_labels:,}) lie in {n_whole:,} pieces; {NUMBER_EACH}")


def _check_nuclei(cells: np.ndarray, nuclei: np.ndarray, image_id: str) -> None:
    """Raise ValueError if the cells of a mask hold several nuclei each, or none of those of the field."""
    sizes = np.bincount(nuclei.ravel())[1:]
    within = np.bincount(nuclei[cells > 0], minlength=len(sizes) + 1)[1:]
    n_cells, n_nuclei = int(cells.max()), np.count_nonzero(within > sizes / 2)
    if n_cells and n_nuclei >= 3 * n_cells - (n_cells == 1):
        raise ValueError(
            f"mask {image_id}: {n_nuclei:,} nuclei share its labels ({n_cells:,}), as if binary; {NUMBER_EACH}"
        )
    if n_cells and len(sizes) > 2 and not n_nuclei:
        raise ValueError(f"mask {image_id}: its cells hold no nucleus of the field; take the mask of this very field")


def resize_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels at another shape, by the nearest pixel: they cannot be averaged. ValueError: it is of another form."""
    (height, width), (new_height, new_width) = labels.shape, shape
    if abs(height * new_width - width * new_height) > max(new_height, new_width, height * new_width / 100):
        what = f"mask of {size_text(labels.shape)} px does not fit a field of {size_text(shape)} px"
        raise ValueError(f"{what}; take the mask of this very field")
    rows, columns = (np.arange(new) * old // new for new, old in zip(shape, labels.shape, strict=True))
    return labels[rows[:, None], columns]


def read_labels(folder: str | Path, image_id: str, shape: tuple[int, int]) -> np.ndarray:
    """Instance labels of one field, uint16 of the given shape, numbered 1…n in the order of their old numbers.

    Raises what `read_mask` does, and ValueError if they do not fit the shape.
    """
    cells = relabel_sequential(resize_labels(read_mask(folder, image_id), shape))[0]
    if cells.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"mask {image_id} has {cells.max():,} labels, more than a field has cells; {NUMBER_EACH}")
    return cells.astype(np.uint16)


def iou_table(cells: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """IoU of every cell with every reference, float64 (n cells, n references); numbers 1…n, gaps give zeros."""
    check_labels(cells, "cells")
    check_labels(reference, "reference", cells.shape)
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
