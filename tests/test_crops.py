import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest

from hpa_utils import tables
from hpa_utils.crops import Bags, CropConfig, cut_cell, decode_crop, encode_crop, plan_bags, write_bags
from hpa_utils.dataset import open_dataset
from hpa_utils.segmentation import ReferenceMasks, WatershedSegmenter, plan_segmentation, segment_part


def touching_cells():
    """A 40 × 60 field of 1 µm pixels: cell 1 left, cell 2 touching it on the right; every pixel 10, 20, 30, 40."""
    cells = np.zeros((40, 60), np.uint16)
    cells[10:30, 10:30] = 1
    cells[10:30, 30:50] = 2
    field = np.tile(np.array([10, 20, 30, 40], np.uint8), (40, 60, 1))
    return field, cells


def test_the_cell_and_its_margin_are_kept_and_its_neighbour_is_not():
    field, cells = touching_cells()
    crop, scale = cut_cell(field, cells, 1, (10, 10, 30, 30), 1.0, CropConfig(size=64, margin_um=3))
    kept = crop[..., 0] > 0
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept[32])
    assert scale == 1.0  # smaller than the crop: pixels are kept as they are
    assert rows[-1] - rows[0] + 1 == 20 + 2 * 3
    assert columns[-1] - columns[0] + 1 == 20 + 3  # no margin where the neighbour is
    assert (crop[kept] == [10, 20, 30, 40]).all() and (crop[~kept] == 0).all()


def test_large_cells_are_shrunk_by_averaging_and_keep_their_aspect():
    field = np.zeros((200, 200, 4), np.uint8)
    field[::2] = 100
    cells = np.zeros((200, 200), np.uint16)
    cells[40:140, 80:120] = 1
    crop, scale = cut_cell(field, cells, 1, (40, 80, 140, 120), 0.08, CropConfig(size=50, margin_um=0))
    assert crop.shape == (50, 50, 4) and crop.dtype == np.uint8 and scale == pytest.approx(0.16)
    assert (crop[:, 15:35] == 50).all() and (crop[:, :15] == 0).all() and (crop[:, 35:] == 0).all()


def test_a_cell_at_the_border_is_padded_with_nothing():
    field, cells = touching_cells()
    crop, _ = cut_cell(field[10:], cells[10:], 1, (0, 10, 20, 30), 1.0, CropConfig(size=32, margin_um=3))
    assert crop.shape == (32, 32, 4)
    assert (crop[..., 0] > 0).sum() == np.count_nonzero(crop[..., 3])


def test_a_crop_is_an_rgba_png_in_the_order_of_the_channels():
    crop = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    png = encode_crop(crop)
    assert (decode_crop(png) == crop).all()
    assert (cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]] == crop).all()


def test_tensorflow_decodes_the_same_planes():
    from hpa_utils.crops.batches import decode_tensor

    crop = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    assert (decode_tensor(encode_crop(crop), 16).numpy() == crop).all()


@pytest.mark.parametrize("values", [{"size": 8}, {"size": 2000}, {"margin_um": -1}])
def test_senseless_crops_are_refused(values):
    with pytest.raises(ValueError, match=f"crops.{next(iter(values))}"):
        CropConfig(**values)


@pytest.fixture
def segmented(tiny_dataset, tmp_path):
    """The tiny data set, opened, with its field and cell table."""
    dataset = open_dataset(tiny_dataset)
    for part in plan_segmentation(dataset, ["train", "test"], WatershedSegmenter(0.32), tmp_path / "02"):
        segment_part(part)
    return dataset, tables.read_parts(tmp_path / "02" / "fields"), tables.read_parts(tmp_path / "02" / "cells")


def write_all(segmented, folder, **config):
    plan = plan_bags(*segmented, CropConfig(**{"size": 32, **config}), folder)
    return plan, [write_bags(part) for part in plan]


def test_a_bag_holds_the_crops_of_its_field_in_the_order_of_its_cells(segmented, tmp_path):
    dataset, fields, cells = segmented
    plan, done = write_all(segmented, tmp_path / "03")
    bags = Bags(tmp_path / "03" / "bags", "train")
    assert len(bags) == 12 and sum(part["cells"] for part in done) == len(cells) == 30
    assert [part.name[5:-8] for part in plan] == ["train-0000", "train-0001", "test-0000"]
    assert bags.table["cell_ids"][3].tolist() == [1, 2] and len(bags.crops(3)) == 2
    assert decode_crop(bags.crops(3)[1]).shape == (32, 32, 4)
    expected = dataset.label_vectors("train", bags.table["image_id"].tolist())
    assert (bags.labels == expected).all()
    assert (Bags(tmp_path / "03" / "bags", "test").labels == -1).all()


def test_each_row_group_is_one_bag(segmented, tmp_path):
    import pyarrow.parquet as pq

    plan, _ = write_all(segmented, tmp_path / "03")
    assert pq.ParquetFile(tmp_path / "03" / "bags" / plan[0].name).num_row_groups == 8


def test_a_part_is_made_again_only_for_another_configuration(segmented, tmp_path):
    plan, _ = write_all(segmented, tmp_path / "03")
    path = tmp_path / "03" / "bags" / plan[0].name
    before = path.stat().st_mtime_ns
    write_all(segmented, tmp_path / "03")
    assert path.stat().st_mtime_ns == before
    write_all(segmented, tmp_path / "03", margin_um=2.0)
    assert path.stat().st_mtime_ns > before


def test_a_field_that_has_gone_is_set_aside_and_tried_again(segmented, tmp_path):
    dataset, _, cells = segmented
    path = dataset.folders["train"] / "train-02_green.png"
    content = path.read_bytes()
    path.unlink()
    _, done = write_all(segmented, tmp_path / "03")
    assert [row["image_id"] for row in done[0]["set_aside"]] == ["train-02"]
    bags = Bags(tmp_path / "03" / "bags", "train")
    assert len(bags) == 11 and "train-02" not in set(bags.table["image_id"])
    bags.check_cells(cells[cells["split"] == "train"])  # the others are still the same cells
    path.write_bytes(content)
    _, done = write_all(segmented, tmp_path / "03")
    assert done[0]["set_aside"] == [] and len(Bags(tmp_path / "03" / "bags", "train")) == 12


def test_bags_of_other_cells_are_refused(segmented, tmp_path):
    _, _, cells = segmented
    write_all(segmented, tmp_path / "03")
    bags, train = Bags(tmp_path / "03" / "bags", "train"), cells[cells["split"] == "train"]
    bags.check_cells(train)
    with pytest.raises(ValueError, match="another cell table"):
        bags.check_cells(train.iloc[1:])


def test_batches_pad_with_blanks_and_repeat_under_a_seed(segmented, tmp_path):
    from hpa_utils.crops.batches import training_dataset

    write_all(segmented, tmp_path / "03")
    bags = Bags(tmp_path / "03" / "bags", "train")

    def first(seed):
        return next(iter(training_dataset(bags, np.arange(12), 32, 3, 4, seed)))

    inputs, targets, weights = first(seed=0)
    assert inputs["cells"].shape == (4, 3, 32, 32, 4) and targets["cells"].shape == (4, 3, 19)
    assert (inputs["valid"].numpy() == [1, 1, 0]).all() and not inputs["cells"].numpy()[:, 2].any()
    assert (weights["cells"].numpy() == inputs["valid"].numpy()).all()
    assert (targets["cells"].numpy()[:, 0] == targets["field"].numpy()).all()
    assert (first(seed=0)[1]["field"].numpy() == targets["field"].numpy()).all()


def test_masks_made_elsewhere_are_brought_to_the_size_of_the_field(tmp_path):
    from conftest import field_with_cells

    small = np.zeros((24, 32), np.uint8)
    small[8:16, 4:12], small[8:16, 20:28] = 7, 3
    cv2.imwrite(str(tmp_path / "a.png"), small)
    np.savez(tmp_path / "b.npz", labels=small)
    for image_id in "ab":
        nuclei, cells = ReferenceMasks(tmp_path, 0.32).segment(field_with_cells(), image_id)
        assert cells.shape == (96, 128) and cells.dtype == np.uint16
        assert (cells[32:64, 80:112] == 1).all() and (cells[32:64, 16:48] == 2).all()  # 3 and 7, numbered anew
        assert set(np.unique(nuclei)) <= {0, 1, 2} and (nuclei[nuclei > 0] == cells[nuclei > 0]).all()


def test_masks_of_another_folder_are_other_cells(tiny_dataset, tmp_path):
    dataset = open_dataset(tiny_dataset)
    found = []
    for name, cells in (("one", 1), ("many", 12)):
        folder = tmp_path / name
        folder.mkdir()
        mask = np.zeros((96, 128), np.uint8)
        for cell in range(cells):
            mask[40:56, 8 * cell : 8 * cell + 6] = cell + 1
        for image_id in dataset.image_ids("train"):
            cv2.imwrite(str(folder / f"{image_id}.png"), mask)
        plan = plan_segmentation(dataset, ["train"], ReferenceMasks(folder, 0.32), tmp_path / "02")
        found.append(sum(segment_part(part)["reused"] for part in plan))
    assert found == [0, 0]  # the same names, but not the same masks


def test_configuration_is_plain_json():
    assert dataclasses.asdict(CropConfig()) == {"size": 128, "margin_um": 0.8}


def test_empty_bags_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="no bags of the train split"):
        Bags(tmp_path, "train")


def test_split_without_fields_has_no_parts(segmented, tmp_path):
    dataset, fields, cells = segmented
    assert plan_bags(dataset, fields[fields["split"] == "none"], cells, CropConfig(), tmp_path) == []
    assert isinstance(cells, pd.DataFrame)
