"""Cells without a network: nuclei from the blue channel, cells by a watershed that grows from them.

Every size is a length or an area in µm, so that a field taken at another scale is cut the same way. The work is done
at 0.32 µm/px (a field has 0.08), where a cell is still some 80 px wide; only outlines come at full size.

A cell with two nuclei is kept whole where nothing shows that a membrane runs between them. Two cells that touch have a
dip of brightness between them, since cytoplasm is thin at its rim, and a notch in their common outline. Only nuclei
that meet every test are joined: cutting a rare multinucleate cell costs less than joining common neighbours.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import find_objects
from skimage.segmentation import watershed

from hpa_utils.checks import check_pixels

RED, GREEN, BLUE, YELLOW = range(4)

WORK_PIXEL = 0.32  # µm per px at which outlines are found
BLUR = 0.5  # µm; against noise, small beside everything looked for
FAINTEST = 3.0  # grey levels above the background that count as signal at all
SMALLEST_NUCLEUS = 16.0  # µm², as in hpacellseg; a mitotic plate seen from its side is about 30
SMALLEST_CELL = 35.0  # µm², as in hpacellseg

NUCLEUS_EDGE = 0.45  # share of its own brightness at which a nucleus ends
FADED, RIM = 0.6, 1.5  # a nucleus is brighter than a rim of so many µm by more than this factor
NECK = 0.7  # neck to width ratio up to which two lobes are two nuclei
LOBE = 0.4  # share of the field's usual nucleus below which a piece is a lobe of its neighbour

LOOSE = 0.08  # share of the brightness round the nuclei at which the search for cells ends
CELL_EDGE = 0.13  # share of its own brightness at which a cell ends
GAP = 1.0  # µm; gaps between fibres up to twice this wide are closed
STEP = 0.06  # a µm from the nucleus weighs as much as this difference in log brightness

CLOSE = 2.0  # µm at most between sister nuclei
ALIKE = 0.5  # smaller to larger sister nucleus, in area
BESIDE = 3.0  # µm on both sides of the contact with which it is compared
NO_DIP = 0.77  # brightness of the contact, against its dimmer side, from which there is no dip but that of the fibres
NO_NOTCH = 0.89  # area to convex area of both cells together, from which there is no notch
NO_NECK = 0.7  # contact to diameter of the smaller cell, from which there is no neck


class Segmenter:
    """What the segmenters of fields, uint8 (H, W, 4) in the order red, green, blue, yellow, have in common."""

    def __call__(self, field: np.ndarray) -> np.ndarray:
        """Cells, uint16 (H, W), of a field."""
        return self.segment(field)[1]

    def map(self, fields: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Cells of each field, one by one."""
        yield from map(self, fields)


@dataclass(frozen=True)
class WatershedSegmenter(Segmenter):
    """Cells by thresholds relative to each cell's own brightness and two watersheds; no network, no weights."""

    pixel_size: float = 0.08  # µm per px of the fields

    def segment(self, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nuclei and cells, uint16 (H, W) each, with the same numbers 1…n in both."""
        check_pixels(field, "field")
        small = shrink(field, self.pixel_size)
        pixel = self.pixel_size if small is field else WORK_PIXEL
        nuclei = find_nuclei(small[..., BLUE], pixel)
        return enlarge(nuclei, find_cells(small, nuclei, pixel), field.shape[:2], pixel)


def shrink(image, pixel_size, interpolation=cv2.INTER_AREA):
    """The image at 0.32 µm/px, or the very image where its pixels are about that large already."""
    factor = pixel_size / WORK_PIXEL
    if factor > 0.9:
        return image
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=interpolation)


def blur(image, sigma_um, pixel):
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma_um / pixel)


def disk(radius_um, pixel):
    """Structuring element of a radius in µm, at least one pixel."""
    size = 2 * max(1, round(radius_um / pixel)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def fill(mask, largest=False):
    """The mask, uint8, without holes; with `largest` only its largest piece."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if largest and len(outlines) > 1:
        outlines = [max(outlines, key=cv2.contourArea)]
    return cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, cv2.FILLED)


def brightness(image, labels, count):
    """Mean of each label weighted by the image itself: hardly moved by how much dim rim is included."""
    flat, image = labels.ravel(), image.ravel()
    total = np.bincount(flat, image, count)
    return np.bincount(flat, image * image, count) / np.maximum(total, 1e-6)


def keep_large(labels, smallest_um2, pixel):
    """Labels of at least this area, numbered anew without gaps."""
    return renumber(labels, np.bincount(labels.ravel()) * pixel**2 >= smallest_um2)


def renumber(labels, keep):
    """The labels to keep, int32, numbered without gaps."""
    keep = keep & (np.arange(len(keep)) > 0)
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def find_nuclei(blue, pixel):
    """Nuclei, int32 (H, W), of the blue channel."""
    smooth = blur(blue, BLUR, pixel)
    smooth = np.maximum(smooth - np.percentile(smooth, 5), 0)
    # the square root evens out the noise and lets dim nuclei beside bright ones count
    root = np.clip(np.sqrt(smooth) * 15, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(root, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    noise = np.median(np.abs(np.diff(blue.astype(np.float32), axis=1))) / 0.95  # standard deviation, if it is white
    blurred = noise * pixel / (2 * np.sqrt(np.pi) * BLUR)
    # fewer grey levels above the background are signal where it has no noise
    faintest = np.clip(4 * blurred, FAINTEST / 3, FAINTEST)
    loose = smooth > max((level / 15) ** 2 * 0.7, faintest)
    count, labels = cv2.connectedComponents(loose.astype(np.uint8), connectivity=4)
    own = brightness(smooth, labels, count)
    mask = (loose & (smooth > NUCLEUS_EDGE * own[labels])).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disk(0.7, pixel))
    nuclei = keep_large(split(fill(mask), pixel), SMALLEST_NUCLEUS, pixel)
    return drop_faded(nuclei, smooth, pixel)


def drop_faded(nuclei, blue, pixel):
    """Only the nuclei that stand out from their rim; blue cytoplasm and nuclei out of focus do not."""
    count, means = int(nuclei.max()) + 1, []
    rim = cv2.dilate(nuclei.astype(np.uint16), disk(RIM, pixel)) * (nuclei == 0)
    for labels in (rim.ravel(), nuclei.ravel()):
        means.append(np.bincount(labels, blue.ravel(), count) / np.maximum(np.bincount(labels, minlength=count), 1))
    return renumber(nuclei, means[0] < FADED * means[1])


def split(mask, pixel):
    """Number the nuclei of a mask, parting those that meet at a narrow neck."""
    depth = blur(cv2.distanceTransform(mask, cv2.DIST_L2, 5) * pixel, BLUR, pixel) * mask
    # more seeds than nuclei do no harm: the lobes are joined again
    peaks = (depth == cv2.dilate(depth, disk(1.0, pixel))) & (mask > 0)
    count, seeds = cv2.connectedComponents(peaks.astype(np.uint8))
    lobes = watershed(-depth, seeds, mask=mask > 0)
    return join_lobes(lobes, depth, count, pixel)[lobes]


def join_lobes(lobes, depth, count, pixel):
    """Number of the nucleus to which each lobe belongs: the wide necks and the small lobes are joined."""
    inside = lobes > 0
    width = np.zeros(count)
    np.maximum.at(width, lobes[inside], depth[inside])
    area = np.bincount(lobes[inside], minlength=count) * pixel**2
    whole = area[area > SMALLEST_NUCLEUS]
    usual = np.median(whole) if len(whole) else 0
    parent = np.arange(count)
    for (a, b), neck in sorted(contacts(lobes, depth).items(), key=lambda contact: -contact[1]):  # the widest first
        a, b = parent[a], parent[b]
        if a != b and (neck > NECK * min(width[a], width[b]) or min(area[a], area[b]) < LOBE * usual):
            parent[parent == b] = a
            width[a] = max(width[a], width[b])
            area[a] += area[b]
    return parent


def cell_signal(small, nuclei, pixel):
    """Brightness of the cytoplasm, float32 (H, W), 1 being usual round the nuclei.

    Microtubules and ER show the cell; the protein takes part only as far as both of them are faint.
    """
    near = cv2.dilate((nuclei > 0).astype(np.uint8), disk(3, pixel)) > 0
    smooth = blur(small, BLUR, pixel)
    planes, trust = [], []
    for channel in (RED, YELLOW, GREEN):
        plane = smooth[..., channel] - np.percentile(smooth[..., channel], 2)
        usual = max(float(plane[near].mean()), 0.1)
        planes.append(plane / usual)
        trust.append(usual**2 / (usual**2 + FAINTEST**2))
    trust[2] *= (1 - trust[0]) * (1 - trust[1])
    signal = sum(weight * plane for weight, plane in zip(trust, planes, strict=True))
    return np.maximum(signal / sum(trust), 0)


def find_cells(small, nuclei, pixel):
    """Cells, int32 (H, W), that grow from the nuclei and carry their numbers."""
    count = int(nuclei.max()) + 1
    if count == 1:
        return nuclei
    signal = cell_signal(small, nuclei, pixel)
    distance = cv2.distanceTransform((nuclei == 0).astype(np.uint8), cv2.DIST_L2, 5) * pixel
    loose = (signal > LOOSE) | (nuclei > 0)
    # cells part where the signal is lowest, and half way between the nuclei where it is even
    relief = STEP * distance - np.log(signal + 0.05)
    cells = watershed(relief, nuclei, mask=loose).astype(np.int32)
    own = brightness(signal, cells, count)
    # dim cells beside bright ones keep their outline, bright ones lose their halo
    mask = ((signal > CELL_EDGE * own[cells]) & (cells > 0)) | (nuclei > 0)
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disk(GAP, pixel))
    # again, so that bits cut off from their nucleus are left out
    cells = join_sisters(watershed(relief, nuclei, mask=mask > 0).astype(np.int32), nuclei, signal, pixel)
    return keep_large(cells, SMALLEST_CELL, pixel)


def join_sisters(cells, nuclei, signal, pixel):
    """The cells with those joined between which no membrane runs: only where nuclei are close and of like size."""
    parent = np.arange(int(cells.max()) + 1, dtype=np.int32)
    boxes, area = find_objects(cells), np.bincount(nuclei.ravel())
    for one, other in sorted(contacts(cv2.dilate(nuclei.astype(np.uint16), disk(CLOSE / 2, pixel)), nuclei)):
        alike = min(area[one], area[other]) > ALIKE * max(area[one], area[other])
        if alike and boxes[one - 1] and boxes[other - 1]:
            # the smallest box that holds both, and two pixels more where the image has them
            spans = zip(boxes[one - 1], boxes[other - 1], strict=True)
            at = tuple(slice(max(0, min(a.start, b.start) - 2), max(a.stop, b.stop) + 2) for a, b in spans)
            if one_cell(cells[at], nuclei[at], signal[at], one, other, pixel):
                parent[parent == parent[other]] = parent[one]
    return parent[cells]


def contacts(labels, image):
    """Pairs of labels that touch, smaller first, and the image at their contact: the highest of the lower pixels."""
    highest = {}
    for one, two in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        at = (labels[one] != labels[two]) & (labels[one] > 0) & (labels[two] > 0)
        low = np.minimum(image[one][at], image[two][at])
        for a, b, value in zip(labels[one][at].tolist(), labels[two][at].tolist(), low.tolist(), strict=True):
            pair = min(a, b), max(a, b)
            highest[pair] = max(highest.get(pair, 0), value)
    return highest


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


def enlarge(nuclei, cells, shape, pixel, smoothing=BLUR, inset=0.0):
    """Nuclei and cells at full size, uint16, numbered 1…n in both, each cell one smooth piece without holes.

    Nuclei and cells come as int32 labels at `pixel` µm/px; the outlines are smoothed with a blur of so many µm
    and drawn in by `inset` µm. A cell that has no nucleus is dropped.
    """
    nucleus = cv2.resize((nuclei > 0).astype(np.uint8) * 255, shape[::-1]) > 127
    level = 255 * (1 + math.erf(inset / smoothing / math.sqrt(2))) / 2
    margin = int(np.ceil(3 * smoothing / pixel))
    big = np.zeros(shape, np.uint16)
    number = 0
    for label, extent in enumerate(find_objects(cells), start=1):
        if extent is None:
            continue
        (rows, top), (columns, left) = map(window, extent, cells.shape, shape, (margin, margin))
        soft = cv2.GaussianBlur((cells[rows, columns] == label).astype(np.uint8) * 255, (0, 0), smoothing / pixel)
        soft = cv2.resize(soft, (left.stop - left.start, top.stop - top.start)) > level
        whole = fill(soft.astype(np.uint8), largest=True) > 0
        if (whole & nucleus[top, left]).any():
            number += 1
            at = big[top, left]
            at[whole & (soft | (at == 0))] = number  # a hole may hold another cell
    return np.where(nucleus, big, 0).astype(np.uint16), big


def window(extent, small, full, margin):
    """An extent of the small side with a margin, and the same extent on the full side."""
    start, stop = max(0, extent.start - margin), min(small, extent.stop + margin)
    return slice(start, stop), slice(round(start * full / small), round(stop * full / small))
