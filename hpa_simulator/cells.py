"""A cell: what of a window it covers, and how deep in it every point lies."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from hpa_simulator.outlines import Outline
from hpa_simulator.strokes import draw_dots, draw_noise

FAR_UM = 99.0
RIM_UM = 0.16  # over which the nucleus fades


@dataclass
class Cell:
    """One cell on a window of the canvas; images are (h, w), lengths µm, points column + i·row of the window.

    Attributes
    ----------
    rng : numpy.random.Generator
        What is random in this cell is drawn from it.
    um : float
        Size of a pixel.
    metaphase, n_nuclei : bool, int
        Whether it divides; how many nuclei it has.
    window : tuple of slice
        Rows and columns of the canvas (the field and a margin round it).
    place : numpy.ndarray
        Complex: along the cell + i·across, from its middle.
    body, nucleus : numpy.ndarray
        bool. The body reaches a little below or above its neighbours; in metaphase the nucleus is the plate.
    owned : numpy.ndarray
        bool, the part of the body that counts as this cell's: disjoint from its neighbours'.
    edge : numpy.ndarray
        Depth below the outline.
    far : numpy.ndarray
        Distance from the nucleus, negative inside.
    hub : numpy.ndarray
        Distance from the centrosome.
    core : numpy.ndarray
        1 in the nucleus, 0 outside, soft over the rim: the nucleus slopes, and light spreads.
    contact : numpy.ndarray
        1 where a neighbour touches, 0 away from neighbours.
    nucleoli : numpy.ndarray
        0…1.
    number : int
        Its number in the truth masks; 0 if its nucleus is out of view.
    """

    rng: np.random.Generator = field(repr=False)
    um: float
    metaphase: bool
    n_nuclei: int
    window: tuple
    place: np.ndarray = field(repr=False)
    body: np.ndarray = field(repr=False)
    owned: np.ndarray = field(repr=False)
    nucleus: np.ndarray = field(repr=False)
    edge: np.ndarray = field(repr=False)
    far: np.ndarray = field(repr=False)
    hub: np.ndarray = field(repr=False)
    core: np.ndarray = field(repr=False)
    contact: np.ndarray = field(repr=False)
    nucleoli: np.ndarray = field(default=None, repr=False)
    number: int = 0


@dataclass
class Form:
    """A cell before its neighbours have their say.

    Attributes
    ----------
    centre : complex
        Its middle, px of the canvas.
    turn : complex
        Rotates from the canvas to the cell's own axes.
    outline, nuclei : Outline, list of Outline
        In metaphase the only nucleus is the plate.
    window, place : tuple of slice, numpy.ndarray
        As in `Cell`.
    reach : numpy.ndarray
        `outline.reach` of the window's pixels, less near the nucleus: the cell would like all below 1.
    """

    centre: complex
    turn: complex
    metaphase: bool
    outline: Outline
    nuclei: list[Outline]
    window: tuple = ()
    place: np.ndarray = None
    reach: np.ndarray = None


def make_cell(rng: np.random.Generator, um: float, form: Form, mine: np.ndarray, rival: np.ndarray) -> Cell | None:
    """Turn a form into a cell with all its distances; None if its neighbours have left nothing of it.

    Parameters
    ----------
    mine : numpy.ndarray
        bool, the pixels of the window where no other form has a smaller reach.
    rival : numpy.ndarray
        The smallest reach of the other forms.
    """
    core = np.min([nucleus.reach(form.place) for nucleus in form.nuclei], axis=0)
    overlap = rng.normal(0.03, 0.06)  # neighbours overlap a little, here more and there less, or leave a gap
    body = piece_with(form.reach < np.minimum(1, rival + overlap), core)
    if not body.any():
        return None
    edge = _depth(body, um)
    nucleus = (core < 1) & (edge > 0.5)
    if nucleus.any():
        far = _depth(~nucleus, um) - _depth(nucleus, um)
    else:  # all of it lies beyond the canvas
        far = np.maximum(core - 1, 0.01) * np.float32(form.nuclei[0].half_width)
    cell = Cell(
        rng=rng,
        um=um,
        metaphase=form.metaphase,
        n_nuclei=len(form.nuclei),
        window=form.window,
        place=form.place,
        body=body,
        owned=body & mine,
        nucleus=nucleus,
        edge=edge,
        far=far,
        hub=_distance_from(_choose_hub(rng, far, edge), body.shape, um),
        core=1 / (1 + np.exp(np.clip(far / RIM_UM, -9, 9))),
        contact=np.exp(-100 * np.maximum(rival - 1, 0) ** 2),
    )
    cell.nucleoli = _draw_nucleoli(cell)
    return cell


def piece_with(body: np.ndarray, core: np.ndarray) -> np.ndarray:
    """The connected piece of a body that holds the point nearest to the middle of a nucleus."""
    if not body.any():
        return body
    _, pieces = cv2.connectedComponents(body.astype(np.uint8), connectivity=4)
    middle = np.argmin(np.where(body, core, np.inf))
    return pieces == pieces.ravel()[middle]


def _depth(inside, um):
    """Distance of the pixels inside from what is outside, µm; the window's border is no outside."""
    if inside.all():
        return np.full(inside.shape, FAR_UM, np.float32)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) - np.float32(0.5) * inside
    return np.minimum(depth * np.float32(um), np.float32(FAR_UM))


def _choose_hub(rng, far, edge):
    """Where the centrosome lies: just outside the nucleus, or as near to that as the cell allows."""
    good = np.flatnonzero((far > 0.8) & (far < 2.5) & (edge > 1))
    if good.size == 0:
        good = np.flatnonzero(edge >= edge.max())
    row, column = np.divmod(rng.choice(good), far.shape[1])
    return complex(column, row)


def _distance_from(point, shape, um):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.float32(um) * np.hypot(columns - np.float32(point.real), rows - np.float32(point.imag))


def _draw_nucleoli(cell):
    """Two to seven bodies of differing size in the nucleus, 0…1; none in metaphase."""
    if cell.metaphase:
        return np.zeros(cell.body.shape, np.float32)
    deep = cell.far < -1.6
    few = max(1, cell.n_nuclei)
    size = cell.rng.uniform(0.65, 1.05)
    large = draw_dots(cell, deep, few, few + 2, 1.5 * size)
    small = draw_dots(cell, deep, 1, 4, 1.0 * size)
    ragged = np.maximum(large, small) * (1 + 0.2 * draw_noise(cell, 1))
    return np.clip(ragged, 0, 1) * cell.nucleus
