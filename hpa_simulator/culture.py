"""Cells growing side by side on a field: where they lie, where they meet, which of them count."""

import numpy as np

from hpa_simulator.cells import Cell, Form, make_cell, piece_with
from hpa_simulator.lines import PLATE, ROUND, CellLine
from hpa_simulator.outlines import draw_cell_outline, draw_nuclei, draw_round_outline

MARGIN_UM = 8.0  # drawn beyond the field on all sides, so that what is cut by the border is cut like on a slide
LEAST_NUCLEUS_UM2 = 8.0  # a cell with less of its nucleus in view is drawn but is no cell of the truth


def scatter_centres(rng: np.random.Generator, line: CellLine, size: int, um: float) -> np.ndarray:
    """Middles of the cells, complex px of the field: single ones and islands, some beyond the border.

    The first lies well inside, so that no field is without a cell. A 512² field at 0.32 µm gets 5 to 40.
    """
    side, beyond = size * um, 0.6 * line.half_width
    crowd = np.clip(line.crowd * np.exp(rng.normal(0, 0.3)), 6.5, 33)
    wanted = max(1, round(crowd * ((side + 2 * beyond) / 164) ** 2))
    centres = np.array([complex(*rng.uniform(0.3, 0.7, 2)) * side])
    for _ in range(40 * wanted):
        if len(centres) >= wanted:
            break
        if rng.random() < line.clustering:
            step = rng.uniform(1.5, 2.1) * line.half_width * np.exp(1j * rng.uniform(0, 2 * np.pi))
            point = rng.choice(centres) + step
        else:
            point = complex(*rng.uniform(-beyond, side + beyond, 2))
        inside = -beyond < min(point.real, point.imag) and max(point.real, point.imag) < side + beyond
        if inside and np.abs(centres - point).min() > 1.9 * line.nucleus_length:
            centres = np.append(centres, point)
    return centres / um


def grow_cells(
    rng: np.random.Generator, line: CellLine, centres: np.ndarray, metaphase: np.ndarray, size: int, um: float
) -> tuple[list[Cell], np.ndarray]:
    """Grow a cell round every centre until it meets its neighbours.

    Parameters
    ----------
    centres : numpy.ndarray
        Complex px of the field, from `scatter_centres`.
    metaphase : numpy.ndarray
        bool, which of them are in metaphase.
    size, um : int, float
        Side of the field, px, and of a pixel, µm.

    Returns
    -------
    cells : list of Cell
        Also those whose nucleus is out of view (`number` 0).
    labels : numpy.ndarray
        uint16 (size, size), disjoint masks 1…n: the truth.
    """
    margin = round(MARGIN_UM / um)
    canvas = size + 2 * margin
    direction = rng.uniform(0, np.pi)
    forms = []
    for centre, dividing in zip(centres + margin * (1 + 1j), metaphase):
        form = _draw_form(rng, line, centre, direction, dividing)
        if _place_form(form, canvas, um):
            forms.append(form)
    owner, nearest, second = _meet(forms, canvas)
    cells = []
    for index, form in enumerate(forms):
        mine = owner[form.window] == index
        rival = np.where(mine, second[form.window], nearest[form.window])
        cell = make_cell(rng, um, form, mine, rival)
        if cell is not None:
            cells.append(cell)
    return cells, _number_cells(cells, size, margin, um)


def _draw_form(rng, line, centre, direction, dividing):
    if dividing:
        turn = np.exp(-1j * rng.uniform(0, 2 * np.pi))
        return Form(centre, turn, True, draw_round_outline(rng, ROUND), [draw_round_outline(rng, PLATE)])
    number = 1
    if rng.random() < line.multinucleate:
        number = rng.choice([2, 3], p=[0.8, 0.2])
    turn = np.exp(-1j * (direction + rng.normal(0, line.disorder)))
    outline = draw_cell_outline(rng, line, (1, 1.15, 1.3)[number - 1])
    return Form(centre, turn, False, outline, draw_nuclei(rng, line, number))


def _place_form(form, canvas, um):
    """Fill in the window of the canvas that a form covers; False if it covers none."""
    points = form.centre + form.outline.contour() / form.turn / um
    low = np.floor([points.imag.min(), points.real.min()]).astype(int) - 2
    high = np.ceil([points.imag.max(), points.real.max()]).astype(int) + 3
    low, high = np.clip([low, high], 0, canvas)
    if (high - low).min() < 4:
        return False
    form.window = np.s_[low[0] : high[0], low[1] : high[1]]
    rows, columns = np.ogrid[form.window]
    grid = (columns - form.centre.real).astype(np.float32) + 1j * (rows - form.centre.imag).astype(np.float32)
    form.place = grid * np.complex64(form.turn * um)
    # What lies near its own nucleus belongs to a cell before its neighbours get it: they never cut the nucleus.
    core = np.min([nucleus.reach(form.place) for nucleus in form.nuclei], axis=0)
    form.reach = np.minimum(form.outline.reach(form.place), 0.8 * core)
    return True


def _meet(forms, canvas):
    """Whose reach is smallest at every pixel of the canvas, that reach, and the second smallest."""
    owner = np.full((canvas, canvas), -1, np.int32)
    nearest = np.full((canvas, canvas), np.inf, np.float32)
    second = nearest.copy()
    for index, form in enumerate(forms):
        first, other, whose = nearest[form.window], second[form.window], owner[form.window]
        closer = form.reach < first
        np.minimum(other, np.where(closer, first, form.reach), out=other)
        first[closer] = form.reach[closer]
        whose[closer] = index
    return owner, nearest, second


def _number_cells(cells, size, margin, um):
    """Number the cells whose nucleus is in view; their disjoint masks on the field, uint16 (size, size)."""
    canvas = np.zeros((size + 2 * margin,) * 2, np.uint16)
    view = np.s_[margin : margin + size, margin : margin + size]
    seen = np.zeros(canvas.shape, bool)
    seen[view] = True
    number = 0
    for cell in cells:
        in_view = seen[cell.window]
        mask = piece_with(cell.owned & in_view, cell.far)
        if (mask & cell.nucleus).sum() * um**2 >= LEAST_NUCLEUS_UM2:
            number += 1
            cell.number = number
            canvas[cell.window][mask] = number
    return np.ascontiguousarray(canvas[view])
