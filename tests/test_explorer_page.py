"""The page of fields and cells: what is written into it."""

import base64
import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest

from hpa_explorer import page
from hpa_explorer.page import describe_field, describe_fields, outline_paths, within, write_page
from hpa_utils.dataset import open_dataset
from hpa_utils.masks import encode_counts

SQUARE = (slice(20, 60), slice(10, 40))  # rows, columns


def labels_with_square(shape=(100, 80)):
    labels = np.zeros(shape, np.uint16)
    labels[SQUARE] = 1
    return labels


def described(image_id="field", labels=None, cell_ids=(1,), confidences=None, **more):
    labels = labels_with_square() if labels is None else labels
    confidences = np.full((len(cell_ids), 19), 0.25) if confidences is None else confidences
    field = np.random.default_rng(0).integers(0, 200, (*labels.shape, 4), dtype=np.uint8)
    return describe_field(field, labels, image_id, cell_ids, confidences, **more)


def painted(path, height, width):
    """The mask, bool (height, width), that a browser fills inside the path data, at whole pixels."""
    polygons = []
    for part in re.findall(r"M(-?\d+) (-?\d+)l([^z]*)z", path):
        steps = np.array(part[2].split(), float).reshape(-1, 2)
        points = np.cumsum(np.vstack([[float(part[0]), float(part[1])], steps]), axis=0) / page.UNITS
        polygons.append(np.rint((points - 0.5) * 16).astype(np.int32))  # from a pixel's corner to its centre; 4 bits
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, polygons, 1, shift=4)
    return mask.astype(bool)


def written_blocks(path):
    """The data blocks of a page, as the browser's parser finds them."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(r'<script type="application/json" data-kind="(\w+)">(.*?)</script>', text, re.DOTALL)
    return [(kind, json.loads(content)) for kind, content in found]


def decoded(data):
    """The picture of JPEG bytes, or of their base64 text."""
    data = base64.b64decode(data) if isinstance(data, str) else data
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def points_of(path):
    """The points of path data of one part, int (k, 2) of x, y in units of the outlines."""
    return np.cumsum(np.reshape([int(number) for number in re.findall(r"-?\d+", path)], (-1, 2)), axis=0)


def test_the_outline_of_a_square_runs_along_the_edges_of_its_pixels():
    (path,) = outline_paths(labels_with_square(), [1], 1, 1)
    points = points_of(path)
    assert points.min(axis=0).tolist() == [100, 200]  # left and top edge in tenths of a pixel
    assert points.max(axis=0).tolist() == [400, 600]
    assert len(points) <= 8  # the corners alone, cut off by half a pixel


def test_the_outline_is_drawn_in_shown_pixels():
    (path,) = outline_paths(labels_with_square(), [1], 0.5, 0.25)
    points = points_of(path)
    near = page.TOLERANCE * page.UNITS
    assert points.min(axis=0) == pytest.approx([50, 50], abs=near)
    assert points.max(axis=0) == pytest.approx([200, 150], abs=near)


def test_outlines_of_round_cells_leave_their_masks_by_less_than_a_pixel():
    labels = np.zeros((120, 120), np.uint16)
    cv2.circle(labels, (60, 60), 40, 1, -1)
    filled = painted(outline_paths(labels, [1], 1, 1)[0], 120, 120)
    rim = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    assert (filled == (labels > 0))[~rim].all()


def test_pieces_and_holes_of_a_cell_are_parts_of_one_path():
    labels = labels_with_square()
    labels[30:40, 20:30] = 0
    labels[80:90, 60:70] = 1
    (path,) = outline_paths(labels, [1], 1, 1)
    assert path.count("M") == path.count("z") == 3
    filled = painted(path, 100, 80)
    assert not filled[35, 25] and filled[25, 15] and filled[85, 65]


def test_a_cell_that_fills_the_field_is_outlined_on_the_border():
    (path,) = outline_paths(np.ones((30, 40), np.uint16), [1], 1, 1)
    points = points_of(path)
    assert points.min() == 0 and points.max(axis=0).tolist() == [400, 300]


def test_a_cell_of_one_pixel_has_an_outline_and_one_of_none_has_not():
    labels = np.zeros((2048, 1024), np.uint16)
    labels[5, 7] = 3
    paths = outline_paths(labels, [3, 2, 9], 0.5, 0.5)
    assert paths[0].startswith("M") and paths[1:] == ["", ""]


def test_specks_are_left_out_beside_larger_pieces():
    labels = labels_with_square((1000, 800))
    labels[500, 500] = 1
    (path,) = outline_paths(labels, [1], 0.5, 0.5)
    assert path.count("M") == 1


def test_pictures_are_shrunk_to_the_side_of_the_page_and_outlines_with_them():
    labels = np.zeros((2048, 1024), np.uint16)
    labels[1024:, :] = 1
    found = described(labels=labels)
    assert found["size"] == [512 * page.UNITS, 1024 * page.UNITS]
    points = points_of(found["cells"][0]["path"])
    assert points[:, 1].min() == 512 * page.UNITS
    assert found["width_um"] == pytest.approx(1024 * 0.08)
    for plane in found["planes"].values():
        height, width = decoded(plane).shape  # grey; of noise it is smaller, to keep to its budget
        assert height == 2 * width <= 1024
    assert max(decoded(found["thumbnail"]).shape) == 96


def test_each_channel_is_a_grey_picture_of_its_own():
    field = np.zeros((64, 64, 4), np.uint8)
    field[:, :32, 0] = field[:, 32:, 3] = 200
    planes = describe_field(field, np.zeros((64, 64), np.uint16), "a", [], np.zeros((0, 19)))["planes"]
    left, right = ({name: decoded(plane)[32, at] > 150 for name, plane in planes.items()} for at in (10, 50))
    assert left == {"red": True, "green": False, "blue": False, "yellow": False}
    assert right == {"red": False, "green": False, "blue": False, "yellow": True}


def test_what_is_not_predicted_or_not_known_is_null():
    confidences = np.array([[np.nan] * 19, [0.123456] * 19])
    truth = np.array([[-1] * 19, [1] + [0] * 17 + [-1]])
    known = {"field_labels": np.full(19, -1), "truth": truth, "places": [[np.nan, np.nan], [-1.23456, 2]]}
    found = described(cell_ids=[1, 2], confidences=confidences, **known)
    first, second = found["cells"]
    assert first["p"] is first["t"] is first["m"] is found["labels"] is None
    assert second["p"] == [0.1235] * 19 and second["t"] == truth[1].tolist() and second["m"] == [-1.235, 2]


def test_labels_of_the_field_are_class_numbers():
    assert described(field_labels=np.eye(19, dtype=int)[3] + np.eye(19, dtype=int)[16])["labels"] == [3, 16]


def test_arrays_that_do_not_belong_together_are_refused_by_name():
    with pytest.raises(ValueError, match=r"field a: confidences has the shape \(1, 19\), expected \(2, 19\)"):
        described("a", cell_ids=[1, 2], confidences=np.zeros((1, 19)))
    with pytest.raises(ValueError, match="field a: truth"):
        described("a", truth=np.zeros((1, 18)))
    with pytest.raises(ValueError, match="field a: labels"):
        describe_field(np.zeros((8, 8, 4), np.uint8), np.zeros((8, 9), np.uint16), "a", [], np.zeros((0, 19)))


def test_fields_are_described_with_their_own_cells_and_those_that_cannot_be_read_are_left_out(tiny_dataset):
    (tiny_dataset / "test" / "test-0_red.png").write_bytes(b"torn")
    sizes = {"split": "test", "height": 96, "width": 128, "labels": [np.full(19, -1)] * 3, "pixel_size_um": 0.5}
    fields = pd.DataFrame({"image_id": ["test-0", "test-1", "test-2"], **sizes})
    cells = pd.DataFrame({"image_id": ["test-1", "test-1"], "cell_id": [1, 2]})
    masks = np.zeros((2, 96, 128), bool)
    masks[0, 10:20, 10:30] = masks[1, 40:60, 50:60] = True
    cells["rle"] = [encode_counts(mask) for mask in masks]
    confidences = np.stack([np.full(19, 0.25), np.full(19, 0.5)])
    with pytest.warns(UserWarning, match="not on the page: .*test-0_red.png"):
        found = list(describe_fields(open_dataset(tiny_dataset), fields, cells, confidences, None))
    assert [(field["id"], field["width_um"]) for field in found] == [("test-1", 64), ("test-2", 64)]
    assert [(cell["id"], cell["p"][0], cell["t"]) for cell in found[0]["cells"]] == [(1, 0.25, None), (2, 0.5, None)]
    assert points_of(found[0]["cells"][1]["path"]).min(axis=0).tolist() == [500, 400]
    assert found[1]["cells"] == []


def test_the_picture_gets_smaller_until_it_keeps_to_its_budget():
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    smooth = np.full((1024, 1024, 3), 90, np.uint8)
    budget = page.BYTES["green"]
    assert len(within(noise, budget)) <= budget
    assert max(decoded(within(noise, budget)).shape) < 1024
    assert max(decoded(within(smooth, budget)).shape) == 1024


def test_fifty_fields_of_nothing_but_noise_stay_under_20_mb(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 4), dtype=np.uint8)
    rows, columns = np.divmod(np.arange(36), 6)
    labels = np.zeros((1024, 1024), np.uint16)
    for number, (row, column) in enumerate(zip(rows, columns, strict=True), start=1):
        cv2.circle(labels, (85 + 170 * int(column), 85 + 170 * int(row)), 80, number, -1)
    one = describe_field(noise, labels, "noise", np.arange(1, 37), np.random.default_rng(1).random((36, 19)))
    size = write_page(tmp_path / "report.html", (one for _ in range(50)), "noise")
    assert size == (tmp_path / "report.html").stat().st_size
    assert 5e6 < size < 20e6


def test_odd_names_cannot_leave_their_block(tmp_path):
    name = "</script><script>alert(1)</script><!--'\"&\u2028"
    write_page(tmp_path / "report.html", [described(name)], "</title><script>alert(2)</script>")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "alert(2)" in text and "<script>alert" not in text
    assert [content["id"] for kind, content in written_blocks(tmp_path / "report.html") if kind == "field"] == [name]


def test_the_page_refers_to_nothing_outside_itself(tmp_path):
    write_page(tmp_path / "report.html", [described()], "title")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=|@import|url\(", re.sub(r"<script>.*</script>", "", text, flags=re.DOTALL))
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(r"/\*(STYLE|SCRIPT)\*/|<!--(TITLE|DATA)-->", text)


def test_a_page_of_no_fields_is_written(tmp_path):
    write_page(tmp_path / "report.html", [], "nothing")
    assert [kind for kind, _ in written_blocks(tmp_path / "report.html")] == ["page"]


def test_a_failure_midway_leaves_the_earlier_page(tmp_path):
    def failing():
        yield described()
        raise RuntimeError("lost")

    (tmp_path / "report.html").write_text("earlier")
    with pytest.raises(RuntimeError):
        write_page(tmp_path / "report.html", failing(), "title")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "earlier"
