"""A second data set root, of other file types, mixed into the training; its copies of test fields stay out."""

import time

import cv2
import numpy as np
import pandas as pd
import pytest

from hpa_simulator import write_dataset
from hpa_utils import manifest, tables
from hpa_utils.crop_sets import CropSet, open_crops
from hpa_utils.dataset import CHANNELS
from hpa_utils.images import channel_files, read_field
from hpa_utils.running.notebooks import run_notebooks

IN_BGR = {"red": (2,), "green": (1,), "blue": (0,), "yellow": (1, 2)}


def write_colour_jpg(folder, image_id, field):
    """As public HPA pictures come: a colour picture a channel, in the channel's own colour."""
    for index, channel in enumerate(CHANNELS):
        picture = np.zeros((*field.shape[:2], 3), np.uint8)
        for plane in IN_BGR[channel]:
            picture[..., plane] = field[..., index]
        cv2.imwrite(str(folder / f"{image_id}_{channel}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])


@pytest.fixture(scope="session")
def external(simulated, tmp_path_factory):
    """Four fields of their own as TIFF, and three test fields of the simulated competition as colour JPG."""
    root = tmp_path_factory.mktemp("external")
    own = write_dataset(root / "own", 4, 1, 256, seed=7)
    (root / "images").mkdir()
    table = pd.read_csv(own / "train.csv", dtype=str)
    for image_id in table["ID"]:
        for channel, path in channel_files(own / "train", image_id).items():
            cv2.imwrite(str(root / "images" / f"own-{image_id}_{channel}.tif"), cv2.imread(str(path), -1))
    planted = sorted({path.name.rsplit("_", 1)[0] for path in (simulated / "test").iterdir()})[:3]
    for image_id in planted:
        write_colour_jpg(root / "images", f"copy-{image_id}", read_field(simulated / "test", image_id))
    rows = [f"own-{image_id},{label}" for image_id, label in table[["ID", "Label"]].itertuples(index=False)]
    rows += [f"copy-{image_id},16" for image_id in planted]
    (root / "train.csv").write_text("\n".join(["ID,Label", *rows, ""]))
    (root / "dataset.json").write_text((simulated / "dataset.json").read_text())
    return root


def test_copies_of_test_fields_are_left_out_and_the_rest_is_learned_from(
    external, finished_run, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    options = {"data": str(external), "out": str(out), "preset": "quick"}
    run_notebooks(**options, notebooks="02,03", assignments=(f"exclude_seen_in={finished_run}",))
    left_out = manifest.read_manifest(out / "03_cell_crops" / "64")["configuration"]["left_out"]
    assert {f"copy-{row['recurs_as']}" for row in left_out} == {row["image_id"] for row in left_out}
    assert len(left_out) == 3
    mine, theirs = (len(CropSet([root / "03_cell_crops" / "64"], "train").image_ids) for root in (out, finished_run))
    together, fields, _ = open_crops(out, "64", "train", finished_run)
    assert len(together.image_ids) == mine + theirs and fields["image_id"].tolist() == together.image_ids.tolist()
    (tmp_path / "input").mkdir()  # on Kaggle both are attached, and nothing is named
    for name, root in (("hpa-public", out), ("hpa-03-cell-crops", finished_run)):
        (tmp_path / "input" / name).symlink_to(root)
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    assert set(open_crops(tmp_path / "empty", "64", "train")[0].image_ids) == set(together.image_ids)
    monkeypatch.delenv("HPA_KAGGLE")
    assert 1 <= fields["image_id"].str.startswith("own-").sum() <= 4
    given = (f"extra_outputs={finished_run}", f"deadline={time.time()}")  # it stops after its first epoch
    run_notebooks(**options, notebooks="04", assignments=given)
    assert f"{len(together):,} cells of {mine + theirs} fields" in capsys.readouterr().out


def test_without_another_root_nothing_is_left_out(external, tmp_path):
    run_notebooks(data=str(external), out=str(tmp_path), notebooks="02,03", preset="quick")
    fields = tables.read_parts(tmp_path / "02_segmentation" / "fields")
    stage = tmp_path / "03_cell_crops" / "64"
    assert manifest.read_manifest(stage)["configuration"]["left_out"] == [] and len(fields) == 7
