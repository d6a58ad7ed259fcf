"""A crop: one cell, its neighbours masked out, padded to a square, shrunk to a fixed size."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class CropConfig:
    """How cells are cut out.

    Attributes
    ----------
    size : int
        Side of a crop, px (S).
    margin_um : float
        Width of the rim kept round a cell's own outline, µm; it never reaches into a neighbour.
    """

    size: int = 128
    margin_um: float = 0.8

    def __post_init__(self):
        if not 16 <= self.size <= 1024:
            raise ValueError(f"crops.size is {self.size}; expected 16…1024 px")
        if not 0 <= self.margin_um <= 20:
            raise ValueError(f"crops.margin_um is {self.margin_um}; expected 0…20 µm")


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
        uint8 (S, S, 4); 0 outside the cell and its margin. Cells larger than S are shrunk by area averaging,
        smaller ones keep their pixels; both are centred.
    scale : float
        µm per crop px.
    """
    margin = int(round(config.margin_um / pixel_size))
    y0, x0, y1, x1 = box
    window = np.s_[max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin]
    labels = cells[window]
    own = labels == cell_id
    near = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_L2, 5) <= margin
    crop = field[window] * (own | (near & (labels == 0)))[..., None]
    height, width = own.shape
    side = max(height, width, config.size)
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = crop
    if side > config.size:
        square = cv2.resize(square, (config.size, config.size), interpolation=cv2.INTER_AREA)
    return square, pixel_size * side / config.size


def encode_crop(crop: np.ndarray) -> bytes:
    """A crop, uint8 (S, S, 4), as an RGBA PNG whose planes are red, green, blue, yellow."""
    return cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGBA2BGRA))[1].tobytes()


def decode_crop(png: bytes) -> np.ndarray:
    """The crop, uint8 (S, S, 4), channel order red, green, blue, yellow, of its PNG."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
