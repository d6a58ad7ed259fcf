"""One image file as one channel: what is read, and what is refused because it would not be what it seems."""

import io

import cv2
import numpy as np
import pytest
import tifffile
from conftest import REAL_FIELDS
from PIL import Image

from hpa_utils.planes import check_jpeg, fitting_depth, read_plane, to_eight_bit

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
COLOUR = np.stack([GREY, GREY // 2, GREY * 0], axis=-1)  # red, green, blue


def tiff(path, pixels, **options):
    tifffile.imwrite(path, pixels, **options)
    return path


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_grey_tiff_is_read_as_stored(tmp_path, compression):
    for pixels in (GREY, GREY.astype(np.uint16) * 85):
        read = read_plane(tiff(tmp_path / "a.tif", pixels, compression=compression), "red")
        assert read.dtype == pixels.dtype and (read == pixels).all()


def test_a_palette_or_colour_tiff_gives_the_channel_it_is_named_for(tmp_path):
    reds = np.zeros((3, 256), np.uint16)
    reds[0] = np.arange(256) * 257
    path = tiff(tmp_path / "a.tif", GREY, photometric="palette", colormap=reds)
    assert (read_plane(path, "red") == GREY).all() and not read_plane(path, "green").any()
    for pixels in (COLOUR, COLOUR.astype(np.uint16) * 257):
        path = tiff(tmp_path / "a.tif", pixels, photometric="rgb")
        assert (read_plane(path, "green") == pixels[..., 1]).all()


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (GREY.astype(np.uint16), {"photometric": "miniswhite"}, "its tags say that white is zero; save the channel"),
        (np.stack([GREY, GREY]), {"photometric": "minisblack"}, "it has 2 pages; expected one"),
        (GREY.astype(np.float32), {}, "floating-point or signed values; save the channel as grey of 8 or 16 bit"),
        (GREY.astype(np.int16), {}, "floating-point or signed values"),
        (GREY.astype(np.uint32), {}, "it holds 32 bit I pixels; save the channel as grey"),
        (np.stack([GREY] * 4, -1), {"photometric": "minisblack", "planarconfig": "contig"}, "a kind of TIFF"),
        (np.concatenate([COLOUR, COLOUR[..., :1]], -1), {"photometric": "rgb", "extrasamples": [2]}, "transparent"),
    ],
)  # fmt: skip
def test_a_tiff_whose_values_mean_something_else_is_refused(tmp_path, pixels, options, message):
    with pytest.raises(ValueError, match=f"a_red.tif cannot be decoded: .*{message}"):
        read_plane(tiff(tmp_path / "a_red.tif", pixels, **options), "red")


@pytest.mark.parametrize("options", [{}, {"compression": "deflate"}])
def test_a_tiff_cut_short_is_refused(tmp_path, options):
    path = tiff(tmp_path / "a.tif", GREY, **options)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match="a.tif cannot be decoded: damaged"):
        read_plane(path, "red")


def test_the_depth_is_the_least_of_a_camera_that_gives_such_a_value():
    assert [fitting_depth(value) for value in (0, 255, 256, 1023, 1203, 4095, 9000, 16384, 65535)] == [
        8, 8, 10, 10, 12, 12, 14, 16, 16,
    ]  # fmt: skip


def test_the_range_is_brought_to_eight_bit_and_nothing_beyond_it_is_cut_off():
    plane = np.array([[0, 2048, 4095]], np.uint16)
    assert to_eight_bit(plane, 12, "a.tif").tolist() == [[0, 128, 255]]
    assert to_eight_bit(GREY.astype(np.uint16), 8, "a.tif").tolist() == GREY.tolist()
    with pytest.raises(ValueError, match=r'a.tif holds values up to 4,095, beyond the 10 bit .* "bit_depth": 12'):
        to_eight_bit(plane, 10, "a.tif")


def jpegs():
    """A dark picture, mostly empty as microscopes give them, in the ways that JPEGs are written."""
    rng = np.random.default_rng(0)
    grey = np.zeros((133, 150), np.uint8)
    for y, x in rng.integers(10, 120, (9, 2)).tolist():
        cv2.circle(grey, (x, y), 9, int(rng.integers(40, 200)), -1)
    colour = np.zeros((*grey.shape, 3), np.uint8)
    colour[..., 1] = grey
    ways = [(grey, {}), (grey, {"optimize": True}), (grey, {"restart_marker_rows": 1}), (np.zeros_like(grey), {})]
    ways += [
        (colour, {"subsampling": 0}),
        (colour, {"subsampling": 2, "quality": 95}),
        (grey[:5, :3], {"optimize": True}),
    ]
    for pixels, options in ways:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", **options)
        yield file.getvalue()


def test_a_whole_jpeg_passes():
    for data in jpegs():
        check_jpeg(data)


def test_a_jpeg_damaged_in_its_middle_is_refused(tmp_path):
    for data in list(jpegs())[:3]:
        middle, path = len(data) * 3 // 4, tmp_path / "a_red.jpg"
        for damaged in (
            data[:middle],
            data[:-2],
            data[:middle] + bytes(40) + data[middle + 40 :],
            data[:middle] + data[middle + 40 :],
        ):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="a_red.jpg cannot be decoded: (damaged inside|not a whole)"):
                read_plane(path, "red")


@pytest.mark.parametrize("name", ["a_green.jpg", "b_green.jpg"])
def test_jpegs_that_a_user_might_have_are_refused(name):
    folder = REAL_FIELDS.parent / "cases" / "04_jpeg_damaged_inside" / "data" / "images"
    if not folder.is_dir():
        pytest.skip(f"no {folder.parents[1].name} in shared/data/cases")
    assert read_plane(folder / "a_red.jpg", "red").any()
    with pytest.raises(ValueError, match=f"{name} cannot be decoded: damaged inside"):
        read_plane(folder / name, "green")
