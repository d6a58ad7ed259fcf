"""Crop sets: crops by the number of their cell, of one or several folders; what does not fit together is refused."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from made_crops import plain_crops, write_crop_part

from hpa_utils import manifest, tables
from hpa_utils.crop_sets import CropSet, open_crops


@pytest.fixture
def crops(tmp_path):
    """Three fields of 2, 1 and 3 cells in two parts; the red of their crops is 0, 1; 10; 20, 21, 22."""
    write_crop_part(tmp_path / "one", {"a": plain_crops(2, 0), "b": plain_crops(1, 10)})
    return write_crop_part(tmp_path / "one", {"c": plain_crops(3, 20)}, "part-train-0001.parquet")


def red(crops, cells):
    return crops.read(np.asarray(cells))[:, 0, 0, 0].tolist()


def cell_table(counts: dict):
    """Cell table of fields with so many cells each."""
    rows = [(image_id, cell, b"%d" % cell) for image_id, count in counts.items() for cell in range(1, count + 1)]
    return pd.DataFrame(rows, columns=["image_id", "cell_id", "rle"])


def test_crops_are_read_by_number_in_any_order_across_parts(crops):
    assert len(crops) == 6 and crops.size == 16 and crops.image_ids.tolist() == ["a", "b", "c"]
    assert crops.field.tolist() == [0, 0, 1, 2, 2, 2] and crops.cell_id.tolist() == [1, 2, 1, 1, 2, 3]
    assert crops.read([4]).shape == (1, 16, 16, 4) and crops.read([4]).dtype == np.uint8
    assert red(crops, range(6)) == [0, 1, 10, 20, 21, 22] and red(crops, [5, 2, 5, 0]) == [22, 10, 22, 0]
    assert crops.read([]).shape == (0, 16, 16, 4)


def test_threads_may_read_at_the_same_time(crops):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda cell: red(crops, [cell, 5 - cell]), [0, 1, 2] * 50))
    assert found == [[0, 22], [1, 21], [10, 20]] * 50


def test_cells_are_found_by_field_and_number(crops):
    keys = crops.keys()
    assert keys.iloc[3].tolist() == ["c", 1] and crops.find(keys).tolist() == list(range(6))
    wanted = pd.DataFrame({"image_id": ["c", "a", "z", "a"], "cell_id": np.array([3, 2, 1, 9], np.int32), "score": 0.5})
    assert crops.find(wanted).tolist() == [5, 1, -1, -1] and crops.find(wanted[:0]).tolist() == []


def test_folders_are_read_together_and_a_part_found_twice_once(crops, tmp_path):
    write_crop_part(tmp_path / "two", {"d": plain_crops(1, 30)}, key="other data")  # of the same name as one of a, b
    for ending in (".parquet", ".crops"):
        shutil.copy(tmp_path / "one" / f"part-train-0001{ending}", tmp_path / "two")
    both = CropSet([tmp_path / "one", tmp_path / "two"], "train")
    assert sorted(both.image_ids) == ["a", "b", "c", "d"] and len(both) == 7
    cell = both.find(pd.DataFrame({"image_id": ["d", "b"], "cell_id": 1}))
    assert red(both, cell) == [30, 10]


def test_one_part_can_be_opened_alone(crops, tmp_path):
    part = CropSet([tmp_path / "one"], "train", "part-train-0001.parquet")
    assert part.image_ids.tolist() == ["c"] and red(part, [0]) == [20]


def test_a_field_in_two_parts_is_refused(crops, tmp_path):
    write_crop_part(tmp_path / "two", {"c": plain_crops(1)}, "part-train-0002.parquet")
    with pytest.raises(ValueError, match="field c stands in .*one.* and in .*two"):
        CropSet([tmp_path / "one", tmp_path / "two"], "train")


def test_crops_of_two_sizes_are_refused(crops, tmp_path):
    write_crop_part(tmp_path / "two", {"d": plain_crops(1, size=32)}, "part-train-0002.parquet")
    with pytest.raises(ValueError, match="crops of 16 and 32 px in .*one, .*two: name crop sets of one size"):
        CropSet([tmp_path / "one", tmp_path / "two"], "train")


def test_a_split_without_crops_and_a_part_without_its_crops_are_named(crops, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no crops of the test split in {tmp_path}"):
        CropSet([tmp_path / "one"], "test")
    (tmp_path / "one" / "part-train-0001.crops").unlink()
    with pytest.raises(FileNotFoundError, match="part-train-0001.crops"):
        CropSet([tmp_path / "one"], "train")


def test_fields_without_cells_make_an_empty_set(tmp_path):
    crops = write_crop_part(tmp_path, {})
    assert len(crops) == 0 and len(crops.image_ids) == 0 and crops.keys().empty


@pytest.mark.parametrize("harm", ["zeros", "cut short"])
def test_damaged_bytes_are_named_by_field_and_cell(crops, tmp_path, harm):
    path = tmp_path / "one" / "part-train-0001.crops"
    data, start = path.read_bytes(), int(crops.offset[4])
    path.write_bytes(data[:start] + (bytes(len(data) - start) if harm == "zeros" else data[start : start + 5]))
    assert red(crops, [0, 3]) == [0, 20]
    with pytest.raises(ValueError, match="the crop of cell 2 of field c is damaged"):
        crops.read(np.array([3, 4]))


def test_crops_of_other_cells_are_refused(tmp_path):
    first, second = cell_table({"a": 2, "b": 1}), cell_table({"c": 3})
    fingerprints = [tables.cells_fingerprint(cells) for cells in (first, second)]
    write_crop_part(tmp_path, {"a": plain_crops(2), "b": plain_crops(1)}, fingerprint=fingerprints[0])
    crops = write_crop_part(tmp_path, {"c": plain_crops(3)}, "part-train-0001.parquet", fingerprint=fingerprints[1])
    cells = pd.concat([first, second, cell_table({"z": 4})], ignore_index=True)
    crops.check_cells(cells)  # fields without crops do not matter
    for other in (cells.drop(index=4), cells.assign(rle=b"7")):
        with pytest.raises(ValueError, match="part-train-.* belongs to another cell table"):
            crops.check_cells(other)


def test_a_crop_set_without_cells_is_nothing_to_learn_from(tmp_path):
    for stage in ("02_segmentation", "03_cell_crops/16"):
        manifest.finish(tmp_path / stage, {}, {})
    write_crop_part(tmp_path / "03_cell_crops" / "16", {})
    with pytest.raises(ValueError, match="crop set 16 has no cell of the train split: there is nothing to learn from"):
        open_crops(tmp_path, "16", "train")


def test_a_crop_set_is_opened_with_the_tables_of_its_fields(tmp_path):
    cells = cell_table({"a": 2, "b": 1, "c": 3}).assign(split="train")
    segmented = tmp_path / "out" / "02_segmentation"
    fields = pd.DataFrame({"image_id": ["c", "b", "a"], "split": "train", "n_cells": [3, 1, 2]})
    tables.write_table(segmented / "fields" / "part-train-0000.parquet", fields, {"key": "key"})
    tables.write_table(segmented / "cells" / "part-train-0000.parquet", cells, {"key": "key"})
    cut = cells[cells["image_id"] != "b"]  # b was set aside by 03
    folder = tmp_path / "out" / "03_cell_crops" / "16"
    given = {"a": plain_crops(2), "c": plain_crops(3, 20)}
    write_crop_part(folder, given, fingerprint=tables.cells_fingerprint(cut))
    with pytest.raises(FileNotFoundError, match="no finished 02_segmentation"):
        open_crops(tmp_path / "out", "16", "train")
    for stage in (segmented, folder):
        manifest.finish(stage, {}, {})
    crops, own_fields, own_cells = open_crops(tmp_path / "out", "16", "train")
    assert own_fields["image_id"].tolist() == crops.image_ids.tolist() == ["a", "c"]
    assert crops.find(own_cells).tolist() == [0, 1, 2, 3, 4]
