"""Parts of bags: what they hold, when they are made again, and what survives a kill, a shard, a full disk."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from hpa_utils import paths, shards, tables
from hpa_utils.crops import Bags, CropConfig, decode_crop, estimate_bytes, plan_bags, write_bags
from hpa_utils.dataset import open_dataset
from hpa_utils.segmentation import WatershedSegmenter, plan_segmentation, segment_part


@pytest.fixture
def segmented(tiny_dataset, tmp_path):
    """The tiny data set, opened, with its field and cell table."""
    dataset = open_dataset(tiny_dataset)
    for part in plan_segmentation(dataset, ["train", "test"], WatershedSegmenter(0.32), tmp_path / "02"):
        segment_part(part)
    return dataset, tmp_path / "02"


def write_all(segmented, folder, shard="", **config):
    dataset, tables_folder = segmented
    plan = plan_bags(dataset, ["train", "test"], [tables_folder], CropConfig(**{"size": 32, **config}), folder)
    plan = shards.select_shard(plan, shard)
    return plan, [write_bags(part) for part in plan]


def cell_table(segmented):
    return tables.read_parts(segmented[1] / "cells")


def test_a_bag_holds_the_crops_of_its_field_in_the_order_of_its_cells(segmented, tmp_path):
    dataset, _ = segmented
    plan, done = write_all(segmented, tmp_path / "03")
    bags = Bags(tmp_path / "03" / "bags", "train")
    assert len(bags) == 12 and sum(part["cells"] for part in done) == len(cell_table(segmented)) == 30
    assert [part.name[5:-8] for part in plan] == ["train-0000", "train-0001", "test-0000"]
    assert bags.table["cell_ids"][3].tolist() == [1, 2] and len(bags.crops(3)) == 2
    assert decode_crop(bags.crops(3)[1]).shape == (32, 32, 4)
    expected = dataset.label_vectors("train", bags.table["image_id"].tolist())
    assert (bags.labels == expected).all()
    assert (Bags(tmp_path / "03" / "bags", "test").labels == -1).all()


def test_each_row_group_is_one_bag(segmented, tmp_path):
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
    dataset, _ = segmented
    cells = cell_table(segmented)
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
    cells = cell_table(segmented)
    write_all(segmented, tmp_path / "03")
    bags, train = Bags(tmp_path / "03" / "bags", "train"), cells[cells["split"] == "train"]
    bags.check_cells(train)
    with pytest.raises(ValueError, match="another cell table"):
        bags.check_cells(train.iloc[1:])


def test_empty_bags_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="no bags of the train split"):
        Bags(tmp_path, "train")


def test_fields_left_out_get_no_bag(segmented, tmp_path):
    dataset, folder = segmented
    left_out = frozenset(["train-03", "test-1"])
    plan = plan_bags(dataset, ["train", "test"], [folder], CropConfig(size=32), tmp_path / "03", left_out)
    assert sum(len(part) for part in plan) == 13 and sum(part.n_crops for part in plan) == 26


def test_a_cap_leaves_test_fields_whole(segmented, tmp_path):
    plan, done = write_all(segmented, tmp_path / "03", cells_per_field=1)
    assert [part.n_crops for part in plan] == [part["cells"] for part in done] == [8, 4, 6]


def test_the_estimate_is_near_what_is_written_and_nothing_where_all_is_there(segmented, tmp_path):
    dataset, folder = segmented
    plan = plan_bags(dataset, ["train", "test"], [folder], CropConfig(size=32), tmp_path / "03")
    expected = estimate_bytes(plan)
    written = sum(write_bags(part)["bytes"] for part in plan)
    assert written == pytest.approx(expected, rel=0.2) and estimate_bytes(plan) == 0


def test_shards_together_are_the_whole(segmented, tmp_path):
    write_all(segmented, tmp_path / "whole")
    for number in (1, 2):
        write_all(segmented, tmp_path / f"shard-{number}", shard=f"{number}/2")
    folders = [tmp_path / f"shard-{number}" / "bags" for number in (1, 2)]
    assert [len(list(folder.iterdir())) for folder in folders] == [2, 1]
    whole, together = Bags(tmp_path / "whole" / "bags", "train"), Bags(folders, "train")
    assert together.table["image_id"].tolist() == whole.table["image_id"].tolist()
    assert together.crops(9) == whole.crops(9)
    together.check_cells(cell_table(segmented))


def test_the_same_fields_in_two_folders_are_refused(segmented, tmp_path):
    write_all(segmented, tmp_path / "one")
    write_all(segmented, tmp_path / "two", margin_um=2)
    with pytest.raises(ValueError, match=r"train-\d+ stands in .*two.* and in .*one"):
        Bags([tmp_path / "one" / "bags", tmp_path / "two" / "bags"], "train")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/"])
def test_a_senseless_shard_is_refused(shard):
    with pytest.raises(ValueError, match="expected i/n"):
        shards.select_shard([1, 2], shard)


def test_what_will_not_fit_is_refused_with_the_number_of_shards_that_do(tmp_path):
    free = paths.free_bytes(tmp_path / "not" / "yet")
    assert "MB to write" in shards.check_disk_space(free // 2, tmp_path)
    with pytest.raises(OSError, match=r"will not fit.*shard=1/3 to 3/3"):
        shards.check_disk_space(int(2.5 * free), tmp_path)
    with pytest.raises(OSError, match=r"shard=1/8 to 8/8"):
        shards.check_disk_space(int(1.7 * free), tmp_path, "2/4")


def test_leftovers_are_parts_of_another_plan_or_configuration(segmented, tmp_path):
    plan, _ = write_all(segmented, tmp_path / "03")
    folder = tmp_path / "03" / "bags"
    shutil.copy(folder / plan[0].name, folder / "part-train-0007.parquet")
    tables.remove_stale_parts(folder, plan)
    assert sorted(path.name for path in folder.iterdir()) == sorted(part.name for part in plan)
    other, _ = write_all(segmented, tmp_path / "other", margin_um=2)
    tables.remove_stale_parts(folder, other)
    assert not list(folder.iterdir())


MAKE_ALL = """
import sys, time
from pathlib import Path
from hpa_utils.crops import CropConfig, plan_bags, write_bags
from hpa_utils.dataset import open_dataset
from hpa_utils.segmentation import WatershedSegmenter, plan_segmentation, segment_part
root, out = map(Path, sys.argv[1:])
dataset = open_dataset(root)
for part in plan_segmentation(dataset, ["train", "test"], WatershedSegmenter(0.32), out):
    segment_part(part)
for part in plan_bags(dataset, ["train", "test"], [out], CropConfig(size=32), out):
    write_bags(part)
"""


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("part-*.parquet"))}


def test_killed_at_any_moment_and_started_again_it_writes_the_same_bytes(tiny_dataset, tmp_path):
    command = [sys.executable, "-c", MAKE_ALL, str(tiny_dataset)]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    wanted = contents(tmp_path / "whole")
    out = tmp_path / "killed"
    for n_files in (1, 3, 7):  # in the field table's second part, the cell table's, the bags'
        process = subprocess.Popen([*command, str(out)])
        while process.poll() is None and len(list(out.rglob("part-*.parquet"))) < n_files:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert set(contents(out).items()) <= set(wanted.items())  # only whole parts under final names
    paths.drop_temporaries(out)
    subprocess.run([*command, str(out)], check=True)
    assert contents(out) == wanted and len(wanted) == 9
    assert not list(out.rglob(".tmp-*"))


def test_a_full_disk_is_said_and_leaves_nothing_half_written(segmented, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    if (
        os.name != "posix"
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(mount)], capture_output=True).returncode
    ):
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        with pytest.raises(OSError, match="the disk is full, part-train-0000.parquet was not written") as caught:
            write_all(segmented, mount, size=128)
        assert caught.value.errno == errno.ENOSPC and not [path for path in mount.rglob("*") if path.is_file()]
        subprocess.run(["mount", "-o", "remount,size=4m", str(mount)], check=True)
        _, done = write_all(segmented, mount, size=128)
        assert sum(part["cells"] for part in done) == 30
    finally:
        subprocess.run(["umount", str(mount)], check=True)
