"""Outlines: closed curves round a centre, as cells and nuclei have them."""

from dataclasses import dataclass

import numpy as np

from hpa_simulator.lines import CellLine


@dataclass(frozen=True)
class Outline:
    """A bent, wavy ellipse with bumps; in its own coordinates, µm, along + i·across.

    Attributes
    ----------
    half_length, half_width : float
        Half axes of the ellipse.
    bend : float
        How much the long axis curves, 1/µm.
    waves : numpy.ndarray
        Complex amplitudes of 2, 3, … waves round the ellipse, as shares of its radius.
    bumps : numpy.ndarray
        Complex directions, times 1 + height, of bumps: a narrow one is a protrusion.
    bump_width : float
        Width of the bumps, radians.
    centre : complex
        Where the middle lies.
    """

    half_length: float
    half_width: float
    bend: float
    waves: np.ndarray
    bumps: np.ndarray
    bump_width: float
    centre: complex = 0

    def reach(self, place: np.ndarray) -> np.ndarray:
        """How far out points lie: 0 in the middle, 1 on the outline, more outside."""
        place = place - np.complex64(self.centre)
        across = place.imag - np.float32(self.bend) * place.real**2
        ellipse = place.real / np.float32(self.half_length) + 1j * across / np.float32(self.half_width)
        distance = np.abs(ellipse) + np.float32(1e-3)
        return distance / self._radius(ellipse / distance)

    def contour(self, number: int = 180) -> np.ndarray:
        """Points on the outline, complex."""
        direction = np.exp(2j * np.pi * np.arange(number) / number)
        ellipse = direction * self._radius(direction)
        along = self.half_length * ellipse.real
        return self.centre + along + 1j * (self.half_width * ellipse.imag + self.bend * along**2)

    def _radius(self, direction):
        radius = np.ones(direction.shape, np.float32)
        power = direction
        for wave in self.waves.astype(np.complex64):
            power = power * direction
            radius += (wave * power).real
        for bump in self.bumps:
            away = np.abs(direction - np.complex64(bump / abs(bump)))
            radius += np.float32(abs(bump) - 1) * np.exp(-((away / np.float32(self.bump_width)) ** 2))
        return np.maximum(radius, 0.3)


def draw_cell_outline(rng: np.random.Generator, line: CellLine, grown: float = 1.0) -> Outline:
    """The outline of one cell of a line; `grown` scales both axes (a cell with more nuclei is larger)."""
    size, stretch = np.exp(rng.normal(0, [0.2, 0.22]))
    length, width = line.half_length * size * stretch * grown, line.half_width * size / stretch * grown
    waves = line.rough * _complex_normal(rng, 5) / np.sqrt(np.arange(1, 6))
    tips = np.array([1, -1]) * (1 + (line.tips + 0.1) * rng.uniform(0.2, 1.8, 2))
    number = rng.poisson(line.protrusions + 0.8)
    thin = np.exp(1j * rng.uniform(-np.pi, np.pi, number)) * (1 + rng.uniform(0.25, 0.9, number))
    bend = rng.normal(0, 0.25) / length if length > 1.3 * width else 0
    return Outline(length, width, bend, waves, np.append(tips, thin), rng.uniform(0.13, 0.3))


def draw_round_outline(rng: np.random.Generator, half_axes: tuple[float, float]) -> Outline:
    """A nearly smooth ellipse: a metaphase cell, or its plate."""
    length, width = np.array(half_axes) * rng.uniform(0.92, 1.08, 2)
    return Outline(length, width, 0, 0.02 * _complex_normal(rng, 4), np.array([]), 1)


def draw_nuclei(rng: np.random.Generator, line: CellLine, number: int) -> list[Outline]:
    """The outlines of a cell's nuclei, side by side if there are several, off the middle if there is one."""
    apart = 0 if number == 1 else 1.0 * line.nucleus_width
    direction = np.exp(1j * rng.uniform(0, 2 * np.pi))
    middle = rng.normal(0, 0.08) * line.half_length + 1j * rng.normal(0, 0.08) * line.half_width
    nuclei = []
    for turn in np.arange(number) / number:
        centre = middle + apart * direction * np.exp(2j * np.pi * turn)
        nuclei.append(_draw_nucleus(rng, line, centre, 1 if number == 1 else 0.82))
    return nuclei


def _draw_nucleus(rng, line, centre, scale):
    length, width = np.array([line.nucleus_length, line.nucleus_width]) * rng.uniform(0.85, 1.15, 2) * scale
    waves = 0.022 * _complex_normal(rng, 4) / np.arange(1, 5)
    if rng.random() < line.lobed:  # a bean (two waves) or lobes (three)
        waves[rng.integers(2)] += rng.uniform(0.14, 0.28) * np.exp(1j * rng.uniform(0, 2 * np.pi))
    bend = rng.normal(0, 0.15) / length
    return Outline(length, width, bend, waves, np.array([]), 1, complex(centre))


def _complex_normal(rng, number):
    return rng.normal(size=number) + 1j * rng.normal(size=number)
