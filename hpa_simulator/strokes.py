"""Strokes to draw a cell with: noise, dots and filaments on its window, all from the cell's own generator."""

import cv2
import numpy as np


def draw_noise(cell, scale: float) -> np.ndarray:
    """Smooth noise of mean 0 and deviation near 1 that changes over `scale` µm; float32 (h, w)."""
    height, width = cell.body.shape
    per_pixel = min(cell.um / scale, 1)
    coarse = (2 + int(height * per_pixel), 2 + int(width * per_pixel))
    grain = 1.2 * cell.rng.standard_normal(coarse, np.float32)
    return cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)


def draw_points(cell, where: np.ndarray, number: int) -> np.ndarray:
    """Pixels drawn with the weights `where`, complex (number,); none where all weights are 0."""
    sums = np.cumsum(where.ravel(), dtype=np.float64)
    if sums[-1] <= 0:
        return np.zeros(0, complex)
    drawn = cell.rng.uniform(0, sums[-1], number)
    row, column = np.divmod(np.searchsorted(sums, drawn, side="right").clip(0, sums.size - 1), where.shape[1])
    return column + 1j * row


def draw_dots(cell, where: np.ndarray, least: int, most: int, radius: float, spread: float = 0.2) -> np.ndarray:
    """Round bodies of about `radius` µm, `least` to `most` of them, whose middles lie in `where`; 0…1.

    `spread` is how much their brightness differs.
    """
    points = draw_points(cell, where, cell.rng.integers(least, most, endpoint=True))
    sigma = max(0.75 * radius / cell.um, 0.55)
    weights = cell.rng.uniform(1 - spread, 1 + spread, points.size) * 2 * np.pi * sigma**2
    # Cut at less than the peak, so that a body has a flat middle and a rim.
    return np.clip(1.5 * _splat(cell, points, weights, sigma) - 0.15, 0, 1)


def draw_filaments(
    cell,
    where: np.ndarray,
    number: int,
    shortest: float,
    longest: float,
    wander: float,
    thick: float = 0.1,
    bundle: int = 1,
    stray: float | None = None,
) -> np.ndarray:
    """Filaments that start in `where` and turn away from the outline and the nucleus; 0…1.

    Parameters
    ----------
    number : int
        Of filaments, or of bundles.
    shortest, longest : float
        Their lengths, µm.
    wander : float
        How much their direction changes, radians per square root of a µm.
    thick : float
        Standard deviation across, µm.
    bundle : int
        Filaments side by side in a bundle.
    stray : float, optional
        Filaments start along the cell's axis, either way, give or take this, radians; else in any direction.
    """
    start = draw_points(cell, where, number)
    if start.size == 0:
        return np.zeros(cell.body.shape, np.float32)
    length = cell.rng.uniform(shortest, longest, start.size)
    angle = _draw_angles(cell, start.size, stray)
    track = _walk(cell, start, angle, longest, wander)
    if bundle > 1:
        shift = cell.rng.normal(0, 0.35 / cell.um, (1, start.size, bundle))
        turn = 1j * np.gradient(track, axis=0) * cell.um / STEP_UM
        track = (track[:, :, None] + turn[:, :, None] * shift).reshape(len(track), -1)
        length = np.repeat(length, bundle)
    points = _dense(track, length, cell.um)
    weights = cell.rng.uniform(0.6, 1.4, points.size)
    return unit(_splat(cell, points, weights, max(thick / cell.um, 0.4)) * cell.body)


def unit(image: np.ndarray) -> np.ndarray:
    """Scale an image so that its bright end is 1."""
    bright = image[image > 0]
    return np.clip(image / np.percentile(bright, 98), 0, 1).astype(np.float32) if bright.size else image


STEP_UM = 0.8  # of a filament's walk


def _walk(cell, point, angle, longest, wander):
    """Points of the filaments, complex (steps, filaments): a persistent walk that walls deflect."""
    wall = cv2.GaussianBlur(np.minimum(cell.edge, cell.far), (0, 0), 0.6 / cell.um)
    down, right = np.gradient(wall / cell.um)
    bend = np.zeros(point.size)
    track = [point]
    for _ in range(int(np.ceil(longest / STEP_UM))):
        row, column = _pixels(cell, point)
        bend = 0.5 * bend + cell.rng.normal(0, wander * STEP_UM**0.5, point.size)
        inward = np.cos(angle) * down[row, column] - np.sin(angle) * right[row, column]
        closeness = np.minimum(np.maximum(1.6 - wall[row, column], 0), 1.2)
        angle = angle + bend + 0.8 * inward * closeness
        point = point + STEP_UM / cell.um * np.exp(1j * angle)
        track.append(point)
    return np.array(track)


def _draw_angles(cell, number, stray):
    if stray is None:
        return cell.rng.uniform(-np.pi, np.pi, number)
    axis = -np.angle(cell.place[0, 1] - cell.place[0, 0])
    return axis + np.pi * cell.rng.integers(2, size=number) + cell.rng.normal(0, stray, number)


def _dense(track, length, um):
    """Points a pixel apart along the filaments, each as long as `length` says."""
    between = np.arange(0, 1, um / STEP_UM)[:, None, None]
    lasts = np.arange(1, len(track))[:, None] * STEP_UM < length
    return (track[:-1] * (1 - between) + track[1:] * between)[:, lasts].ravel()


def _splat(cell, points, weights, sigma):
    """Light of points, blurred; each is rounded to a pixel at random, which keeps lines smooth on average."""
    height, width = cell.body.shape
    column = np.floor(points.real + cell.rng.random(points.size)).astype(int)
    row = np.floor(points.imag + cell.rng.random(points.size)).astype(int)
    seen = (np.minimum(row, column) >= 0) & (row < height) & (column < width)
    light = np.bincount((row * width + column)[seen], weights[seen], height * width)
    return cv2.GaussianBlur(light.reshape(height, width).astype(np.float32), (0, 0), sigma)


def _pixels(cell, points):
    height, width = cell.body.shape
    row = np.minimum(np.maximum(points.imag.astype(np.int64), 0), height - 1)  # np.clip is slow on few points
    return row, np.minimum(np.maximum(points.real.astype(np.int64), 0), width - 1)
