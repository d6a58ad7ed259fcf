"""Cells of a field: where their organelles lie, and what the red, blue and yellow channels show of them."""

import cv2
import numpy as np
from skimage.measure import label as connected_parts

# Half axes (µm) of a cell and of its nucleus, cells on 164 × 164 µm: like U-2 OS, A-431, HEK 293, BJ, RPE-1.
LINES = (21, 15, 9, 7, 13), (16, 14, 8.5, 7, 17), (14, 12, 8, 6, 19), (28, 13, 9, 7, 9), (24, 16, 10, 8, 10)


class Cells:
    """The cells of a square field, the first `n_metaphase` in metaphase (`metaphase` by label).

    Points are column + i·row. Images: `labels` (uint16, from 1), `nucleus` (bool; in metaphase the plate);
    in µm `edge` (depth in the cell), `far` (from the nucleus, negative inside), `hub` (to the centrosome),
    `place` (from middle: along + i·across); 0…1 `nucleoli`, `cytosol`, `spindle`, `red`, `blue`, `yellow`.
    """

    def __init__(self, rng, size, um, n_metaphase):
        self.rng, self.um, self.size = rng, um, size
        *axes, crowd = LINES[rng.integers(len(LINES))]
        wanted = max(2, crowd * (size * um / 164) ** 2 * rng.uniform(0.8, 1.2))
        centres = np.array([-1e9])  # the first is the background's, so that labels are indices
        for point in rng.uniform(0, size, (round(60 * wanted), 2)) @ (1, 1j):
            if len(centres) <= wanted and np.abs(centres - point).min() * um > 2 * axes[2]:
                centres = np.append(centres, point)
        n = len(centres)
        self.metaphase = np.isin(np.arange(n), np.arange(min(n_metaphase, max(1, n - 2))) + 1)
        turn = np.exp(-1j * (rng.uniform(0, np.pi) + rng.normal(0, 0.5, n)))
        sizes = np.array(axes)[:, None] * rng.uniform(0.82, 1.2, (4, n))
        sizes[:, self.metaphase] = [[10.7], [10.3], [1.7], [5.8]]  # rounded up, the chromosomes in a plate
        self.labels, nearest = np.zeros((size, size), np.uint16), np.ones((size, size))
        grid, waves = np.arange(size) + 1j * np.arange(size)[:, None], 1 + 0.07 * self.noise(7)
        for number, (x, y) in enumerate(zip(np.int32(centres.real)[1:], np.int32(centres.imag)[1:]), 1):
            span = int(1.4 * sizes[:2, number].max() / um)
            window = np.s_[max(0, y - span) : y + span, max(0, x - span) : x + span]
            place = um * (grid[window] - centres[number]) * turn[number]
            reach = np.hypot(place.real / sizes[0, number], place.imag / sizes[1, number]) * waves[window]
            nearer = reach < nearest[window]  # neighbours meet where both are as far from their middles
            self.labels[window][nearer], nearest[window][nearer] = number, reach[nearer]
        parts = connected_parts(self.labels, connectivity=1)
        self.labels[parts != parts[self._pixels(centres)][self.labels]] = 0  # pieces that a neighbour cut off
        self.place = um * (grid - centres[self.labels]) * turn[self.labels]
        core = np.hypot(self.place.real / sizes[2][self.labels], self.place.imag / sizes[3][self.labels])
        self.nucleus = (core * waves**0.5 < 1) & (self.labels > 0)
        outline = cv2.morphologyEx(self.labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        masks = np.uint8([~outline, ~self.nucleus, self.nucleus])
        self.edge, away, deep = (np.minimum(um * cv2.distanceTransform(i, cv2.DIST_L2, 5), 99) for i in masks)
        self.far = away - deep
        points = self.points((self.far > 0.8) & (self.far < 2.5) & (self.edge > 1), 1, 1)
        centres[self.labels[self._pixels(points)]] = points
        self.hub = um * np.abs(grid - centres[self.labels])
        self._stain(self.metaphase[self.labels], np.exp(-away / 6))

    def _stain(self, metaphase, near):
        self.nucleoli = self.dots((self.far < -1.8) & ~metaphase, 1, 5, 1.5) * self.nucleus
        blue = (0.72 + 0.1 * self.noise(0.5) + 0.05 * self.noise(2)) * (1 - 0.5 * self.nucleoli)
        self.blue = blue * self.nucleus * np.where(metaphase, 1.4, 1)
        body = np.clip(self.edge / 3, 0, 1) * (self.labels > 0)
        self.cytosol = body * np.where(self.nucleus, 0.15, 0.75 + 0.06 * self.noise(1.2))
        mesh = (0.07 + near) * (0.35 + np.exp(-2 * np.abs(self.noise(0.7))))
        self.yellow = unit(body * mesh * np.where(self.nucleus, 0.18, 1))
        along, across = np.abs(self.place.real), self.place.imag
        spread = across / (4.5 * np.clip(1 - along / 6.5, 0.03, 1))  # the fibres narrow towards both poles
        fibres = np.exp(-(spread**4)) * (along < 6.5) * (0.6 + 0.3 * np.cos(11 * spread))
        self.spindle = fibres * np.where(self.nucleus, 0.4, 1) + np.exp(-((along - 5.8) ** 2) - across**2)
        tubes = sum(self.filaments(i, n, 9, 32, 0.05) for i, n in ((self.hub < 1, 40), (self.far > 0.5, 80)))
        red = unit(0.06 * body + tubes * (0.4 + 0.6 * near)) * np.where(self.nucleus, 0.3, 1)
        self.red = np.where(metaphase, self.spindle + 0.15 * body, red)

    def filaments(self, where, number, shortest, longest, wander, thick=0.15):
        """Draw filaments, `number` a cell, that start in `where` and turn off the outline and the nucleus."""
        rng, step, point = self.rng, 0.4, self.points(where, number, number)
        wall = cv2.GaussianBlur(np.minimum(self.edge, self.far), (0, 0), 0.6 / self.um)
        down, right = np.gradient(wall / self.um)
        angle, length = rng.uniform(-np.pi, np.pi, len(point)), rng.uniform(shortest, longest, len(point))
        track, bend = [point], 0
        for _ in range(int(longest / step)):
            at = self._pixels(point)
            bend = 0.7 * bend + rng.normal(0, wander, len(point))
            turn = np.cos(angle) * down[at] - np.sin(angle) * right[at]
            angle = angle + bend + 0.5 * turn * np.clip(1.6 - wall[at], 0, 1)
            point = point + step / self.um * np.exp(1j * angle)
            track.append(point)
        track, fine = np.array(track), np.arange(0, 1, self.um / step)[:, None, None]
        home = self.labels[self._pixels(track)]
        lasts = (home[1:] == home[0]) & (np.arange(1, len(track))[:, None] * step < length)
        return unit(self._light((track[:-1] * (1 - fine) + track[1:] * fine)[:, lasts].ravel(), thick))

    def dots(self, where, least, most, radius):
        """Draw round bodies of about `radius` µm in `where`, from `least` to `most` a cell."""
        sigma = max(0.7 * radius, 0.6 * self.um)
        light = self._light(self.points(where, least, most), sigma)
        return np.clip(13 * (sigma / self.um) ** 2 * light - 0.3, 0, 1)

    def points(self, where, least, most):
        """Draw from `least` to `most` pixels of each cell with the weights `where`; none where all are 0."""
        order = np.argsort(self.labels, axis=None, kind="stable")
        sums = np.append(0, np.cumsum(where.ravel()[order], dtype=float))
        ends = sums[np.cumsum(np.bincount(self.labels.ravel()))]  # of the background, of cell 1, …
        number = self.rng.integers(least, most, len(ends) - 1, endpoint=True) * (np.diff(ends) > 0)
        drawn = self.rng.uniform(np.repeat(ends[:-1], number), np.repeat(ends[1:], number))
        at = order[np.searchsorted(sums, drawn, side="right") - 1]
        return at % self.size + 1j * (at // self.size)

    def noise(self, scale):
        """Noise of mean 0 and deviation near 1 that changes over `scale` µm."""
        coarse = self.rng.standard_normal([2 + int(self.size * min(self.um / scale, 1))] * 2, np.float32)
        return cv2.resize(1.2 * coarse, (self.size, self.size), interpolation=cv2.INTER_CUBIC)

    def _light(self, points, sigma):
        """Blurred light of points, each of its own brightness and rounded to a pixel at random."""
        x, y = (np.floor(way + self.rng.random(len(way))).astype(int) for way in (points.real, points.imag))
        seen = (np.minimum(x, y) >= 0) & (np.maximum(x, y) < self.size)
        light = np.bincount((y * self.size + x)[seen], self.rng.uniform(0.6, 1.4, seen.sum()), self.size**2)
        return cv2.GaussianBlur(np.float32(light.reshape(self.size, -1)), (0, 0), max(sigma / self.um, 0.45))

    def _pixels(self, points):
        return tuple(np.clip(np.int32(way), 0, self.size - 1) for way in (points.imag, points.real))


def unit(image):
    """Scale an image so that its bright end is 1."""
    return np.clip(image / np.percentile(image[image > 0], 98), 0, 1) if np.any(image > 0) else image
