"""What all figures share: colours, scale bars, masks in colours, galleries, words for those who cannot see them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from hpa_utils.plots import pictures

GREY = (0.25, 0.25, 0.25)


def pixel(**channels):
    """A field of one pixel of which the given channels are bright."""
    order = ("red", "green", "blue", "yellow")
    return np.array([[[channels.get(channel, 0) for channel in order]]], np.uint8)


def test_microtubules_are_magenta_the_protein_green_and_the_nucleus_blue():
    red, green, blue = (pictures.composite(pixel(**{name: 200}), stretch=False) for name in ("red", "green", "blue"))
    assert red[0, 0, 0] == red[0, 0, 2] > 150 and red[0, 0, 1] == 0
    assert green[0, 0].tolist() == [0, 200, 0]
    assert blue[0, 0].argmax() == 2 and blue[0, 0, 2] == 200
    assert pictures.composite(pixel(yellow=200), stretch=False).max() == 0


def test_the_competitions_colours_can_be_chosen():
    assert pictures.composite(pixel(red=200), stretch=False, colours="rgb")[0, 0].tolist() == [160, 0, 0]
    assert pictures.composite(pixel(yellow=200), stretch=False, colours="rgb")[0, 0].tolist() == [70, 60, 0]


@pytest.mark.parametrize(
    ("width_um", "label", "share"), [(160, "20 µm", 1 / 8), (50, "10 µm", 1 / 5), (3, "0.5 µm", 1 / 6)]
)
def test_a_scale_bar_has_a_round_length_of_at_most_a_quarter_of_the_picture(width_um, label, share):
    _, axes = pictures.image_grid(1, 1)
    pictures.show(axes[0, 0], np.zeros((8, 8), np.uint8), width_um)
    (bar,), (text,) = axes[0, 0].lines, axes[0, 0].texts
    left, right = bar.get_xdata()
    assert text.get_text() == label and right - left == pytest.approx(share)
    plt.close("all")


def test_a_picture_of_unknown_size_or_narrower_than_the_bar_has_no_bar():
    _, axes = pictures.image_grid(1, 2)
    pictures.show(axes[0, 0], np.zeros((8, 8), np.uint8), 0)
    pictures.show(axes[0, 1], np.zeros((8, 8), np.uint8), 9, bar_um=10)
    assert not axes[0, 0].lines and not axes[0, 1].lines
    plt.close("all")


def test_a_cell_of_two_classes_is_striped_and_one_of_none_is_grey():
    cells = np.zeros((64, 192), np.uint16)
    cells[:, :64], cells[:, 64:128], cells[:, 128:160] = 1, 2, 3
    picture = pictures.coloured_cells(cells, [[(1, 0, 0)], [(0, 1, 0), (0, 0, 1)], []])
    inside = [picture[2:-2, start + 2 : start + 30].reshape(-1, 3) for start in (0, 64, 128, 160)]
    found = [sorted(map(tuple, np.unique(part, axis=0).tolist())) for part in inside]
    assert found == [[(255, 0, 0)], [(0, 0, 255), (0, 255, 0)], [(63, 63, 63)], [(0, 0, 0)]]


def test_every_class_has_a_colour_of_its_own():
    assert len({tuple(np.round(colour, 3)) for colour in pictures.CLASS_COLOURS}) == 19


def test_a_gallery_frames_what_is_known_and_says_which_class_has_no_picture():
    tile = np.zeros((8, 8), np.uint8)
    tiles = [[(tile, 30, "✓ 0.98", pictures.GREEN), (tile, 30, "0.50", "")]] + [[]] * 18
    figure = pictures.class_gallery(tiles, "Numbers: confidence.", "a gallery")
    framed, plain, *_ = figure.axes
    assert framed.axison and all(spine.get_visible() for spine in framed.spines.values()) and not plain.axison
    assert [axis.texts[-1].get_text() for axis in (framed, plain)] == ["✓ 0.98", "0.50"]
    names = [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]
    assert len(names) == 19 and names[0] == "0 nucleoplasm" and "18 negative: none" in names


def test_the_words_for_a_picture_stay_with_it_in_a_notebook():
    figure = pictures.finished(plt.figure(), "a figure of nothing")
    _, metadata = DisplayFormatter().format(figure)
    assert metadata == {"image/png": {"alt": "a figure of nothing"}}
