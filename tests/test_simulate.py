"""Simulated data sets: Kaggle's layout, honest truth, the same bytes for the same call."""

import csv
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from hpa_utils.masks import decode_mask
from hpa_utils.simulate import VERSION, write_dataset
from hpa_utils.simulate.cells import Cells
from hpa_utils.simulate.patterns import PATTERNS, draw_pattern

COLORS = ("red", "green", "blue", "yellow")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def mask_image(root, image_id):
    return cv2.imread(str(root / "masks" / f"{image_id}.png"), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Four training and five test fields of 192 px."""
    return write_dataset(tmp_path_factory.mktemp("simulated") / "small", 4, 5, 192, seed=3)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The label tables of enough fields for every class."""
    return write_dataset(tmp_path_factory.mktemp("simulated") / "many", 40, 20, 128, seed=5)


def test_files_lie_as_on_kaggle(small):
    for split, table in (("train", "train.csv"), ("test", "sample_submission.csv")):
        names = {f"{row['ID']}_{color}.png" for row in rows(small / table) for color in COLORS}
        assert {path.name for path in (small / split).iterdir()} == names
    assert list(rows(small / "train.csv")[0]) == ["ID", "Label"]
    field = ["ID", "ImageWidth", "ImageHeight"]
    assert list(rows(small / "sample_submission.csv")[0]) == [*field, "PredictionString"]
    assert list(rows(small / "truth.csv")[0]) == [*field, "Label", "Mask"]
    call = json.loads((small / "dataset.json").read_text())
    assert call == {
        "pixel_size_um": 0.32, "simulate_version": VERSION, "n_train": 4, "n_test": 5, "size": 192, "seed": 3,
        "weakness": 1.0, "rare": "floor",
    }  # fmt: skip
    assert not (small / "simulating.json").exists()


def test_images_are_8_bit_and_one_test_field_in_ten_is_smaller(small):
    sides = [int(row["ImageWidth"]) for row in rows(small / "sample_submission.csv")]
    assert sorted(sides) == [160, 192, 192, 192, 192]
    for row in rows(small / "sample_submission.csv"):
        for color in COLORS:
            image = cv2.imread(str(small / "test" / f"{row['ID']}_{color}.png"), cv2.IMREAD_UNCHANGED)
            assert image.dtype == np.uint8
            assert image.shape == (int(row["ImageHeight"]), int(row["ImageWidth"]))


def test_placeholder_covers_the_field(small):
    row = rows(small / "sample_submission.csv")[0]
    label, confidence, text = row["PredictionString"].split(" ")
    assert (label, confidence) == ("0", "1")
    assert decode_mask(text, int(row["ImageHeight"]), int(row["ImageWidth"])).all()


@pytest.mark.parametrize("table", ["truth.csv", "truth_train.csv"])
def test_truth_masks_are_the_cells_and_do_not_overlap(small, table):
    by_field = {}
    for row in rows(small / table):
        by_field.setdefault(row["ID"], []).append(row)
    assert len(by_field) == (5 if table == "truth.csv" else 4)
    for image_id, truth in by_field.items():
        labels = mask_image(small, image_id)
        assert labels.dtype == np.uint16
        assert set(np.unique(labels)) == set(range(labels.max() + 1))
        covered = np.zeros(labels.shape, int)
        for text in {row["Mask"] for row in truth}:
            mask = decode_mask(text, *labels.shape)
            (number,) = np.unique(labels[mask])
            assert number > 0 and (mask == (labels == number)).all()
            covered += mask
        assert (covered == (labels > 0)).all()


def test_cells_show_no_more_than_the_field_says_or_are_negative(many):
    labels = {row["ID"]: set(row["Label"].split("|")) for row in rows(many / "train.csv")}
    shown = {}
    for row in rows(many / "truth_train.csv"):
        shown.setdefault((row["ID"], row["Mask"]), set()).add(row["Label"])
    assert all(seen == {"18"} or seen <= labels[image_id] for (image_id, _), seen in shown.items())
    assert any(seen == {"18"} and "18" not in labels[image_id] for (image_id, _), seen in shown.items())


def test_floor_gives_every_class_fields_and_truth(many):
    labels = [row["Label"].split("|") for row in rows(many / "train.csv")]
    counts = [sum(str(label) in field for field in labels) for label in range(19)]
    assert min(counts) >= 2
    assert {row["Label"] for row in rows(many / "truth.csv")} == {str(label) for label in range(19)}
    assert all(field == ["18"] for field in labels if "18" in field)


def test_without_weakness_every_cell_shows_every_label(tmp_path):
    root = write_dataset(tmp_path / "strong", 20, 1, 128, seed=2, weakness=0)
    labels = {row["ID"]: set(row["Label"].split("|")) for row in rows(root / "train.csv")}
    shown = {}
    for row in rows(root / "truth_train.csv"):
        shown.setdefault((row["ID"], row["Mask"]), set()).add(row["Label"])
    for (image_id, _), seen in shown.items():
        assert seen == {"11"} or seen == (labels[image_id] - {"11"} or {"18"})


def test_same_call_same_bytes_whatever_the_workers(small, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert contents(write_dataset(tmp_path / "again", 4, 5, 192, seed=3)) == contents(small)


def test_other_seed_other_fields(small, tmp_path):
    other = write_dataset(tmp_path / "other", 1, 1, 192, seed=4)
    assert not set(contents(other)) & {name for name in contents(small) if name.endswith(".png")}


def test_finished_output_is_left_alone(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    assert write_dataset(small, 4, 5, 192, seed=3) == small
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


def test_killed_run_is_done_again(tmp_path):
    whole = write_dataset(tmp_path / "whole", 1, 1, 128, seed=1)
    killed = write_dataset(tmp_path / "killed", 1, 1, 128, seed=1)
    (killed / "dataset.json").rename(killed / "simulating.json")
    (killed / "truth.csv").unlink()
    assert contents(write_dataset(killed, 1, 1, 128, seed=1)) == contents(whole)


def test_other_content_is_not_overwritten(small, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for root, seed in ((tmp_path, 3), (small, 99), (tmp_path / "notes.txt", 3)):
        before = contents(root)
        with pytest.raises(FileExistsError, match=str(root)):
            write_dataset(root, 4, 5, 192, seed=seed)
        assert contents(root) == before


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("n_train", 0), ("n_test", -1), ("size", 127), ("seed", -1), ("weakness", np.nan), ("rare", "no")],
)
def test_senseless_parameters_name_the_folder_and_write_nothing(tmp_path, name, wrong):
    with pytest.raises(ValueError, match=str(tmp_path / "out")):
        write_dataset(tmp_path / "out", **{"n_train": 1, "n_test": 1, "size": 128, "seed": 0, name: wrong})
    assert not (tmp_path / "out").exists()


def test_tensorflow_stays_out():
    code = "import sys, hpa_utils.simulate; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.fixture(scope="module")
def cells():
    """Ten or so cells, the first in metaphase, at 0.32 µm a px."""
    return Cells(np.random.default_rng(8), 512, 0.32, n_metaphase=1)


def share(cells, label, where):
    """Share of a pattern's light that falls on `where`, in the cells that are not in metaphase."""
    light = draw_pattern(cells, label) * (cells.labels > 1)
    return light[where].sum() / light.sum()


def test_one_pattern_a_class_within_the_cells(cells):
    assert len(PATTERNS) == 19
    for label in range(19):
        light = draw_pattern(cells, label)
        assert light.dtype == np.float32 and light.shape == (512, 512)
        assert 0 <= light.min() and light.max() <= 1 and not light[cells.labels == 0].any()


@pytest.mark.parametrize("label", [0, 2, 3, 4, 5])
def test_nuclear_patterns_lie_in_the_nucleus(cells, label):
    assert share(cells, label, cells.nucleus) > 0.95


@pytest.mark.parametrize("label", [6, 7, 8, 10, 14, 15, 16, 17])
def test_cytoplasmic_patterns_lie_outside_the_nucleus(cells, label):
    assert share(cells, label, ~cells.nucleus) > 0.85


def test_patterns_lie_at_their_organelle(cells):
    assert share(cells, 1, np.abs(cells.far) < 1) > 0.6  # nuclear membrane
    light, rest = draw_pattern(cells, 2), cells.nucleus & (cells.nucleoli < 0.1)
    assert light[cells.nucleoli > 0.5].mean() > 4 * light[rest].mean()
    assert share(cells, 7, (cells.far < 6) & (cells.hub < 10)) > 0.9  # Golgi
    assert draw_pattern(cells, 12)[cells.hub < 0.4].mean() > 0.5  # centrosome
    assert share(cells, 13, cells.edge < 2) > 0.5  # plasma membrane
    assert share(cells, 15, cells.hub < 4) > 0.3  # aggresome


def test_patterns_that_follow_a_marker(cells):
    inside = cells.labels > 1
    assert np.corrcoef(draw_pattern(cells, 6)[inside], cells.yellow[inside])[0, 1] > 0.9
    assert np.corrcoef(draw_pattern(cells, 10)[inside], cells.red[inside])[0, 1] > 0.9


def test_metaphase_cell_is_round_with_a_plate_between_two_poles(cells):
    cell = cells.labels == 1
    assert cells.metaphase.tolist() == [False, True] + [False] * (cells.labels.max() - 1)
    plate = cv2.minAreaRect(np.argwhere(cells.nucleus & cell).astype(np.float32))[1]
    assert max(plate) > 2.5 * min(plate)
    light = draw_pattern(cells, 11) * cell
    for side in (cells.place.real < -1, cells.place.real > 1):
        assert light[side].sum() > 0.25 * light.sum()


def test_negative_is_weak(cells):
    assert draw_pattern(cells, 18).max() < 0.1
