"""Cells with two nuclei: kept whole where nothing shows that a membrane runs between the nuclei.

Two cells that touch have a dip between them, since cytoplasm is thin at its rim, and a notch in their common
outline. Sister nuclei of one cell have neither. Only pairs that meet every test are joined: of two errors, cutting
a rare multinucleate cell costs less than joining common neighbours.
"""

import cv2
import numpy as np
from scipy.ndimage import find_objects

CLOSE = 2.0  # µm at most between sister nuclei
ALIKE = 0.5  # smaller to larger sister nucleus, in area
BESIDE = 3.0  # µm on both sides of the contact with which it is compared
NO_DIP = 0.77  # brightness of the contact, against its dimmer side, from which there is no dip but that of the fibres
NO_NOTCH = 0.89  # area to convex area of both cells together, from which there is no notch
NO_NECK = 0.7  # contact to diameter of the smaller cell, from which there is no neck


def join_sisters(cells: np.ndarray, nuclei: np.ndarray, signal: np.ndarray, pixel: float) -> np.ndarray:
    """The cells, int32 (H, W), with those joined between which no membrane runs.

    Parameters
    ----------
    cells, nuclei : numpy.ndarray
        Labels (H, W) with the same numbers.
    signal : numpy.ndarray
        Brightness of the cytoplasm, float32 (H, W).
    pixel : float
        µm per px.
    """
    parent = np.arange(int(cells.max()) + 1, dtype=np.int32)
    boxes = find_objects(cells)
    for one, other in close_pairs(nuclei, pixel):
        if boxes[one - 1] and boxes[other - 1]:
            at = around(boxes[one - 1], boxes[other - 1])
            if one_cell(cells[at], nuclei[at], signal[at], one, other, pixel):
                parent[parent == parent[other]] = parent[one]
    return parent[cells]


def around(box, other):
    """The smallest box that holds both, and two pixels more where the image has them."""
    pairs = zip(box, other, strict=True)
    return tuple(slice(max(0, min(a.start, b.start) - 2), max(a.stop, b.stop) + 2) for a, b in pairs)


def close_pairs(nuclei, pixel):
    """Pairs of nuclei that lie close together and are of like size."""
    area = np.bincount(nuclei.ravel())
    grown = cv2.dilate(nuclei.astype(np.uint16), disk(CLOSE / 2, pixel))
    pairs = set()
    for a, b in ((grown[:, :-1], grown[:, 1:]), (grown[:-1], grown[1:])):
        at = (a != b) & (a > 0) & (b > 0)
        pairs |= set(zip(np.minimum(a, b)[at].tolist(), np.maximum(a, b)[at].tolist(), strict=True))
    return sorted((a, b) for a, b in pairs if min(area[a], area[b]) > ALIKE * max(area[a], area[b]))


def one_cell(cells, nuclei, signal, one, other, pixel):
    """Whether there is neither a dip nor a neck where the two cells meet, nor a notch in their common outline."""
    both = [(cells == label).astype(np.uint8) for label in (one, other)]
    union = cv2.morphologyEx(both[0] | both[1], cv2.MORPH_CLOSE, disk(0.7, pixel))
    outline = max(cv2.findContours(union, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=cv2.contourArea)
    if cv2.contourArea(outline) < NO_NOTCH * cv2.contourArea(cv2.convexHull(outline)):
        return False
    cytoplasm = cv2.dilate((nuclei > 0).astype(np.uint8), disk(0.5, pixel)) == 0
    grown = [cv2.dilate(mask, np.ones((3, 3), np.uint8)) for mask in both]
    contact = (grown[0] & grown[1] & union > 0) & cytoplasm
    diameter = 2 * np.sqrt(min(mask.sum() for mask in both) / np.pi)
    if contact.sum() / 2 < NO_NECK * diameter:  # it is two pixels wide
        return False
    near = (cv2.dilate(contact.astype(np.uint8), disk(BESIDE, pixel)) > 0) & cytoplasm & ~contact
    sides = [signal[near & (mask > 0)] for mask in both]
    return all(side.size for side in sides) and signal[contact].mean() > NO_DIP * min(side.mean() for side in sides)


def disk(radius_um, pixel):
    """Structuring element of a radius in µm, at least one pixel."""
    size = 2 * max(1, round(radius_um / pixel)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
