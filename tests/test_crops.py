"""Crops: how a cell is cut and stored; what a part holds, when it is made again, what a kill or a full disk leaves."""

import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import field_with_cells, write_field

from hpa_utils import limits, masks, paths, tables
from hpa_utils.crop_sets import CropSet
from hpa_utils.crops import CropConfig, cut_cell, decode_crop, encode_crop, estimate_bytes, plan_crops, write_crops
from hpa_utils.dataset import open_dataset
from hpa_utils.images import read_field
from hpa_utils.segmentation import WatershedSegmenter, plan_segmentation, segment_part


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
    kept = crop[..., 0] > 0
    assert kept[6:26, 6:26].all() and not kept[:6].any()  # the box lies in the middle; nothing is above it
    assert kept.sum() == 400 + 2 * 60 + 2 * 4  # the rim below and at the left, and its two rounded corners
    assert (crop[kept] == [10, 20, 30, 40]).all()


def test_a_fixed_scale_shrinks_enlarges_and_cuts_off():
    field, cells = touching_cells()

    def cut(um_per_px):
        config = CropConfig(size=20, margin_um=0, um_per_px=um_per_px)
        crop, scale = cut_cell(field, cells, 1, (10, 10, 30, 30), 1.0, config)
        assert crop.shape == (20, 20, 4) and scale == pytest.approx(um_per_px)
        return crop[..., 0]

    assert (cut(2.0) > 0).sum() == 10 * 10 and (cut(2.0)[5:15, 5:15] == 10).all()
    assert (cut(0.5) == 10).all()  # twice as large, the rim cut off
    assert (cut(1.0) == 10).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", 8), ("size", 2000), ("size", 64.5), ("margin_um", -1), ("um_per_px", 9), ("um_per_px", float("nan"))],
)
def test_senseless_crops_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; expected"):
        CropConfig(**{name: value})


def test_a_stored_crop_comes_back_pixel_by_pixel_and_smaller_than_it_was():
    crop = np.zeros((32, 32, 4), np.uint8)
    crop[8:24, 8:24] = np.random.default_rng(0).integers(0, 256, (16, 16, 4))
    data = encode_crop(crop)
    assert (decode_crop(data, 32) == crop).all() and len(data) < crop.nbytes / 2
    batch = np.ones((2, 32, 32, 4), np.uint8)
    decode_crop(data, 32, batch[1])  # where it is wanted, without a copy
    assert (batch[1] == crop).all() and (batch[0] == 1).all()


@pytest.fixture
def segmented(tiny_dataset, tmp_path):
    """The tiny data set, opened, with its field and cell table."""
    dataset = open_dataset(tiny_dataset)
    for part in plan_segmentation(dataset, ["train", "test"], WatershedSegmenter(0.32), tmp_path / "02"):
        segment_part(part)
    return dataset, tmp_path / "02"


def plan_all(segmented, folder, size=32, **config):
    dataset, tables_folder = segmented
    return plan_crops(dataset, ["train", "test"], [tables_folder], CropConfig(size=size, **config), folder)


def write_all(segmented, folder, shard="", **config):
    plan = limits.select_shard(plan_all(segmented, folder, **config), shard)
    return plan, [write_crops(part) for part in plan]


def cells_of(segmented, split="*"):
    return tables.read_parts(segmented[1] / "cells", split=split)


def test_a_crop_set_holds_a_crop_of_every_cell_and_an_index_of_where_it_is(segmented, tmp_path):
    dataset, _ = segmented
    plan, done = write_all(segmented, tmp_path / "03")
    assert [part.name[5:-8] for part in plan] == ["train-0000", "train-0001", "test-0000"]
    crops, cells = CropSet([tmp_path / "03"], "train"), cells_of(segmented, "train")
    assert sum(part["cells"] for part in done) == len(cells_of(segmented)) == 30 and len(crops) == 24
    assert (crops.keys().to_numpy() == cells[["image_id", "cell_id"]].to_numpy()).all()
    assert crops.um_per_px[:2].tolist() == pytest.approx([0.32 * 41 / 32] * 2)  # 35 px and 3 px of rim on each side
    row, scale = cells.iloc[7], float(np.float32(0.32))  # as the field table has it
    field = read_field(dataset.folders["train"], row["image_id"])
    own = cells[cells["image_id"] == row["image_id"]]
    labels = masks.paint_labels(list(own["rle"]), list(own["cell_id"]), *field.shape[:2])
    box = tuple(row[["y0", "x0", "y1", "x1"]])
    expected, _ = cut_cell(field, labels, row["cell_id"], box, scale, CropConfig(size=32))
    (found,) = crops.read([7])
    assert (found == expected).all()
    files = [(tmp_path / "03" / part.name).with_suffix(".crops").stat().st_size for part in plan]
    assert files == [part["bytes"] for part in done]


def test_a_whole_field_is_one_crop_shrunk_by_averaging_and_never_masked(segmented, tmp_path):
    dataset, stage = segmented
    plan, done = write_all(segmented, tmp_path / "03", whole=True)
    assert sum(part["cells"] for part in done) == 15 == sum(part.n_cells for part in plan)  # of 15 fields of two cells
    crops = CropSet([tmp_path / "03"], "train")
    assert crops.whole and (crops.cell_id == 1).all() and len(crops) == len(crops.image_ids) == 12
    assert crops.um_per_px[0] == pytest.approx(0.32 * 128 / 32)
    field = read_field(dataset.folders["train"], crops.image_ids[3])
    expected = field.reshape(24, 4, 32, 4, 4).mean(axis=(1, 3))
    assert (np.abs(crops.read([3])[0][4:28] - expected) <= 0.5).all() and not crops.read([3])[0][:4].any()
    fields = tables.read_parts(stage / "fields", split="train")
    crops.check_cells(tables.whole_fields(fields))
    with pytest.raises(ValueError, match="belongs to another cell table"):
        crops.check_cells(cells_of(segmented, "train"))


def test_a_part_is_made_again_only_for_another_configuration_or_scale(segmented, tmp_path):
    plan, _ = write_all(segmented, tmp_path / "03")
    before = plan[0].path.stat().st_mtime_ns
    write_all(segmented, tmp_path / "03")
    assert plan[0].path.stat().st_mtime_ns == before
    write_crops(plan[0], reuse=False)
    forced = plan[0].path.stat().st_mtime_ns
    assert forced > before
    write_all(segmented, tmp_path / "03", margin_um=2.0)
    assert plan[0].path.stat().st_mtime_ns > forced
    fields = segmented[1] / "fields" / plan[0].name
    rows = tables.read_part(fields).assign(pixel_size_um=np.float32(0.16))
    tables.write_table(fields, rows, {"key": tables.part_key(fields)})
    assert plan_all(segmented, tmp_path / "03")[0].key != plan[0].key


def test_new_images_with_the_same_cells_are_cut_anew(segmented, tmp_path):
    dataset, stage = segmented
    before, _ = write_all(segmented, tmp_path / "03")
    green = field_with_cells() // np.array([1, 2, 1, 1], np.uint8)  # the cells come from the other channels
    write_field(dataset.folders["train"], "train-02", green)
    changed = open_dataset(dataset.root), stage
    after, _ = write_all(changed, tmp_path / "03")
    assert [one.key == other.key for one, other in zip(before, after, strict=True)] == [False, True, True]
    crops = CropSet([tmp_path / "03"], "train").read([4, 6])  # of train-02 and train-03
    assert crops[0, ..., 1].max() == 30 and crops[1, ..., 1].max() == 60


def test_a_field_that_has_gone_is_set_aside_and_tried_again(segmented, tmp_path):
    dataset, _ = segmented
    path = dataset.folders["train"] / "train-02_green.png"
    content = path.read_bytes()
    path.unlink()
    _, done = write_all(segmented, tmp_path / "03")
    (row,) = done[0]["set_aside"]
    assert row["image_id"] == "train-02" and row["split"] == "train" and str(dataset.root) not in row["error"]
    crops, cells = CropSet([tmp_path / "03"], "train"), cells_of(segmented, "train")
    assert len(crops) == 22 and "train-02" not in set(crops.image_ids)
    crops.check_cells(cells)  # the others are still the same cells
    path.write_bytes(content)
    _, done = write_all(segmented, tmp_path / "03")
    assert done[0]["set_aside"] == [] and len(CropSet([tmp_path / "03"], "train")) == 24


def test_a_field_of_another_size_than_its_masks_is_set_aside(segmented, tmp_path):
    dataset, _ = segmented
    write_field(dataset.folders["train"], "train-02", field_with_cells(64, 64))
    _, done = write_all(segmented, tmp_path / "03")
    assert "train-02 is (64, 64) px, was (96, 128) when it was segmented" in done[0]["set_aside"][0]["error"]


def test_fields_that_the_deadline_does_not_reach_are_set_aside_and_done_later(segmented, tmp_path):
    part = plan_all(segmented, tmp_path / "03")[0]
    late = write_crops(dataclasses.replace(part, until=time.time() - 1))
    assert late["cells"] == 0 and [row["error"][:9] for row in late["set_aside"]] == ["OutOfTime"] * 8
    assert len(CropSet([tmp_path / "03"], "train")) == 0
    assert write_crops(part)["cells"] == 16


def test_fields_left_out_get_no_crops(segmented, tmp_path):
    dataset, folder = segmented
    left_out = frozenset(["train-03", "test-1"])
    plan = plan_crops(dataset, ["train", "test"], [folder], CropConfig(size=32), tmp_path / "03", left_out)
    assert sum(map(len, plan)) == 13 and sum(part.n_cells for part in plan) == 26


def test_the_estimate_is_near_what_is_written_and_nothing_where_all_is_there(segmented, tmp_path):
    plan = plan_all(segmented, tmp_path / "03")
    expected = estimate_bytes(plan)
    written = sum(write_crops(part)["bytes"] for part in plan)
    assert written == pytest.approx(expected, rel=0.2) and estimate_bytes(plan) == 0


def test_shards_together_are_the_whole(segmented, tmp_path):
    write_all(segmented, tmp_path / "whole")
    folders = [tmp_path / f"shard-{number}" for number in (1, 2)]
    for number, folder in enumerate(folders, start=1):
        write_all(segmented, folder, shard=f"{number}/2")
    assert [len(list(folder.iterdir())) for folder in folders] == [4, 2]
    whole, together = CropSet([tmp_path / "whole"], "train"), CropSet(folders, "train")
    assert together.keys().equals(whole.keys()) and (together.read(range(24)) == whole.read(range(24))).all()
    together.check_cells(cells_of(segmented))


def test_a_senseless_shard_is_refused():
    for shard in ("0/2", "3/2", "2", "a/b", "1/"):
        with pytest.raises(ValueError, match="expected i/n"):
            limits.select_shard([1, 2], shard)


def test_what_will_not_fit_is_refused_with_the_number_of_shards_that_do(tmp_path):
    free = paths.free_bytes(tmp_path / "not" / "yet")
    assert "MB to write" in limits.check_disk_space(free // 2, tmp_path)
    with pytest.raises(OSError, match=r"will not fit.*shard=1/3 to 3/3"):
        limits.check_disk_space(int(2.5 * free), tmp_path)
    with pytest.raises(OSError, match=r"shard=1/8 to 8/8"):
        limits.check_disk_space(int(1.7 * free), tmp_path, "2/4")


def test_stale_parts_are_removed_with_their_crops(segmented, tmp_path):
    plan, _ = write_all(segmented, tmp_path / "03")
    for ending in (".parquet", ".crops"):
        shutil.copy(plan[0].path.with_suffix(ending), tmp_path / "03" / f"part-train-0007{ending}")
    tables.remove_stale_parts(tmp_path / "03", plan)
    names = sorted(path.name for path in (tmp_path / "03").iterdir())
    assert names == sorted(part.path.with_suffix(end).name for part in plan for end in (".crops", ".parquet"))
    tables.remove_stale_parts(tmp_path / "03", plan_all(segmented, tmp_path / "03", margin_um=2))
    assert not list((tmp_path / "03").iterdir())


def test_the_index_is_withdrawn_before_the_crops_change_and_written_after_them(segmented, tmp_path, monkeypatch):
    part = plan_all(segmented, tmp_path / "03")[0]
    write_crops(part)
    moves, replace = [], os.replace

    def watched(source, target):
        moves.append((os.path.basename(target), part.path.exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write_crops(part, reuse=False)
    assert moves == [("part-train-0000.crops", False), ("part-train-0000.parquet", False)]


MAKE_ALL = """
import sys
from pathlib import Path
from hpa_utils.crops import CropConfig, plan_crops, write_crops
from hpa_utils.dataset import open_dataset
from hpa_utils.images import read_field
from hpa_utils.segmentation import WatershedSegmenter, plan_segmentation, segment_part
root, out = map(Path, sys.argv[1:])
dataset = open_dataset(root)
for part in plan_segmentation(dataset, ["train", "test"], WatershedSegmenter(0.32), out / "02"):
    segment_part(part)
for part in plan_crops(dataset, ["train", "test"], [out / "02"], CropConfig(size=32), out / "03"):
    write_crops(part)
"""


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("part-*"))}


def test_killed_at_any_moment_and_started_again_it_writes_the_same_bytes(tiny_dataset, tmp_path):
    command = [sys.executable, "-c", MAKE_ALL, str(tiny_dataset)]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    wanted = contents(tmp_path / "whole")
    out = tmp_path / "killed"
    for n_files in (7, 10):  # within the first part of the crops, and its second
        process = subprocess.Popen([*command, str(out)])
        while process.poll() is None and len(list(out.rglob("part-*"))) < n_files:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert set(contents(out).items()) <= set(wanted.items())  # only whole files under final names
    paths.drop_temporaries(out)
    subprocess.run([*command, str(out)], check=True)
    assert contents(out) == wanted and len(wanted) == 12
    assert not list(out.rglob(".tmp-*"))


def test_a_full_disk_is_said_and_leaves_no_part_half_written(segmented, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(mount)]
    if os.name != "posix" or subprocess.run(small, capture_output=True).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        with pytest.raises(OSError, match=r"the disk is full, part-train-0000\.\w+ was not written") as caught:
            write_all(segmented, mount, size=128)
        assert caught.value.errno == errno.ENOSPC and not [*mount.glob("*.parquet"), *mount.glob(".tmp-*")]
        subprocess.run(["mount", "-o", "remount,size=4m", str(mount)], check=True)
        _, done = write_all(segmented, mount, size=128)
        assert sum(part["cells"] for part in done) == 30
    finally:
        subprocess.run(["umount", str(mount)], check=True)
