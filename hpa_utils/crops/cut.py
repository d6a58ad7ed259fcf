"""A crop: one cell, its neighbours masked out, padded to a square, brought to a fixed size."""

from dataclasses import dataclass

import cv2
import numpy as np

NEIGHBOURS = ("masked", "kept")
SCALES = ("fit", "fixed")


@dataclass(frozen=True)
class CropConfig:
    """How cells are cut out.

    Attributes
    ----------
    size : int
        Side of a crop, px (S).
    neighbours : {"masked", "kept"}
        Black everything but the cell and its margin, or keep all that lies in the square.
    margin_um : float
        Width of the rim kept round a cell's own outline, µm; it never reaches into a neighbour.
    padding_um : float
        Room kept round the cell's box, µm, where it is more than the margin.
    scale : {"fit", "fixed"}
        ``fit``: cells larger than a crop are shrunk to it, smaller ones keep their pixels. ``fixed``: all are brought
        to `um_per_px`, and what reaches beyond the crop is cut off.
    um_per_px : float
        µm a crop px where the scale is fixed.
    cells_per_field : int
        Most cells kept of a train field, chosen at random once for all; 0 keeps all. Test fields keep all.
    """

    size: int = 128
    neighbours: str = "masked"
    margin_um: float = 0.8
    padding_um: float = 0.0
    scale: str = "fit"
    um_per_px: float = 0.4
    cells_per_field: int = 0

    def __post_init__(self):
        if not 16 <= self.size <= 1024:
            raise ValueError(f"crops.size is {self.size}; expected 16…1024 px")
        for name, choices in (("neighbours", NEIGHBOURS), ("scale", SCALES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"crops.{name} is {getattr(self, name)!r}; expected {' or '.join(choices)}")
        for name in ("margin_um", "padding_um"):
            if not 0 <= getattr(self, name) <= 20:
                raise ValueError(f"crops.{name} is {getattr(self, name)}; expected 0…20 µm")
        if not 0.02 <= self.um_per_px <= 5:
            raise ValueError(f"crops.um_per_px is {self.um_per_px}; expected 0.02…5 µm")
        if self.cells_per_field < 0:
            raise ValueError(f"crops.cells_per_field is {self.cells_per_field}; expected 0 (all) or more")


def cut_cell(
    field: np.ndarray, cells: np.ndarray, cell_id: int, box: tuple, pixel_size: float, config: CropConfig
) -> tuple[np.ndarray, float]:
    """Cut one cell out of its field.

    Parameters
    ----------
    field : numpy.ndarray
        uint8 (H, W, 4), channel order red, green, blue, yellow.
    cells : numpy.ndarray
        uint16 (H, W), cell labels.
    box : (y0, x0, y1, x1)
        The cell's box, half-open, px.
    pixel_size : float
        µm per px of the field.

    Returns
    -------
    crop : numpy.ndarray
        uint8 (S, S, 4), the box in its centre; 0 beyond the image and, with masked neighbours, beyond the cell's
        margin. Shrunk by area averaging, enlarged (only at a fixed scale) linearly.
    scale : float
        µm per crop px.
    """
    margin = round(config.margin_um / pixel_size)
    side = _side(box, margin, pixel_size, config)
    top, left = (box[0] + box[2] - side) // 2, (box[1] + box[3] - side) // 2
    rim = margin if config.neighbours == "masked" else side
    y0, y1 = (min(max(y, 0, top), len(cells), top + side) for y in (box[0] - rim, box[2] + rim))
    x0, x1 = (min(max(x, 0, left), cells.shape[1], left + side) for x in (box[1] - rim, box[3] + rim))
    piece = field[y0:y1, x0:x1]
    if config.neighbours == "masked":
        piece = cv2.copyTo(piece, _own(cells[y0:y1, x0:x1], cell_id, margin))
    square = np.zeros((side, side, 4), np.uint8)
    square[y0 - top : y1 - top, x0 - left : x1 - left] = piece
    if side != config.size:
        interpolation = cv2.INTER_AREA if side > config.size else cv2.INTER_LINEAR
        square = cv2.resize(square, (config.size, config.size), interpolation=interpolation)
    return square, pixel_size * side / config.size


def choose_cells(cell_ids: np.ndarray, image_id: str, limit: int) -> np.ndarray:
    """At most `limit` of a field's cells, in order; the same ones every time, since the ID is the seed."""
    if not limit or len(cell_ids) <= limit:
        return cell_ids
    rng = np.random.default_rng(list(image_id.encode()))
    return np.sort(rng.permutation(cell_ids)[:limit])


def encode_crop(crop: np.ndarray) -> bytes:
    """A crop, uint8 (S, S, 4), as an RGBA PNG whose planes are red, green, blue, yellow."""
    return cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGBA2BGRA))[1].tobytes()


def decode_crop(png: bytes) -> np.ndarray:
    """The crop, uint8 (S, S, 4), channel order red, green, blue, yellow, of its PNG."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)


def _side(box: tuple, margin: int, pixel_size: float, config: CropConfig) -> int:
    """Side, in field px, of the square that becomes the crop."""
    if config.scale == "fixed":
        return max(1, round(config.size * config.um_per_px / pixel_size))
    room = max(margin, round(config.padding_um / pixel_size))
    return max(box[2] - box[0] + 2 * room, box[3] - box[1] + 2 * room, config.size)


def _own(labels: np.ndarray, cell_id: int, margin: int) -> np.ndarray:
    """255 where the cell is and, off other cells, within the margin of it; uint8."""
    own = labels == cell_id
    near = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_L2, 5) <= margin
    return (own | (near & (labels == 0))).astype(np.uint8) * 255
