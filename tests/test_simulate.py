"""Simulated data sets: Kaggle's layout, honest truth, cells like cells, the same bytes for the same call."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from hpa_simulator import VERSION, write_dataset
from hpa_simulator.culture import grow_cells, scatter_centres
from hpa_simulator.fields import draw_field
from hpa_simulator.labels import (
    DEVIATIONS,
    SHARES,
    choose_metaphase,
    draw_label_sets,
    mean_shares,
    show_labels,
    visibility,
)
from hpa_simulator.lines import LINES
from hpa_simulator.looks import draw_look
from hpa_simulator.optics import expose
from hpa_simulator.patterns import PATTERNS, describe_pattern, draw_grain, draw_pattern, draw_unspecific
from hpa_simulator.plan import draw_samples, draw_sides, pixel_size, plan_fields
from hpa_simulator.stains import stain
from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.masks import decode_mask

COLORS = ("red", "green", "blue", "yellow")
UM = 0.32


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
    return write_dataset(tmp_path_factory.mktemp("simulated") / "many", 120, 20, 128, seed=6)


def test_files_lie_as_on_kaggle(small):
    for split, table in (("train", "train.csv"), ("test", "sample_submission.csv")):
        names = {f"{row['ID']}_{color}.png" for row in rows(small / table) for color in COLORS}
        assert {path.name for path in (small / split).iterdir()} == names
    assert list(rows(small / "train.csv")[0]) == ["ID", "Label"]
    assert [row["ID"] for row in rows(small / "samples.csv")] == [row["ID"] for row in rows(small / "train.csv")]
    field = ["ID", "ImageWidth", "ImageHeight"]
    assert list(rows(small / "sample_submission.csv")[0]) == [*field, "PredictionString"]
    assert list(rows(small / "truth.csv")[0]) == [*field, "Label", "Mask"]
    call = json.loads((small / "dataset.json").read_text())
    assert call.pop("prior")
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
    label, confidence, text = row["PredictionString"].split(" ")  # a placeholder that covers the field
    assert (label, confidence) == ("0", "1") and decode_mask(text, *image.shape).all()


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


def test_cells_show_labels_of_their_field_or_are_negative_and_a_few_show_what_the_field_lacks(many):
    labels = {row["ID"]: set(map(int, row["Label"].split("|"))) for row in rows(many / "train.csv")}
    shown = shown_by_cell(many / "truth_train.csv")
    lacking = [seen - labels[image_id] - {NEGATIVE} for (image_id, _), seen in shown.items()]
    assert set().union(*lacking) <= {0, 16} and np.mean([len(extra) > 0 for extra in lacking]) < 0.06
    assert all(seen == {NEGATIVE} for seen in shown.values() if NEGATIVE in seen)
    assert any(seen == {NEGATIVE} and NEGATIVE not in labels[image_id] for (image_id, _), seen in shown.items())


def test_floor_gives_every_class_but_negative_fields_and_every_class_truth(many):
    labels = [row["Label"].split("|") for row in rows(many / "train.csv")]
    counts = [sum(str(label) in field for field in labels) for label in range(NEGATIVE)]
    assert min(counts) >= 2
    assert {row["Label"] for row in rows(many / "truth.csv")} == {str(label) for label in range(19)}
    assert sum("18" in field for field in labels) <= 2  # as in the competition: cells are Negative, fields are not


def test_fields_of_one_sample_have_the_same_labels(many):
    sample = {row["ID"]: row["sample"] for row in rows(many / "samples.csv")}
    labels = {}
    for row in rows(many / "train.csv"):
        labels.setdefault(sample[row["ID"]], []).append(row["Label"])
    assert 1 < np.mean([len(own) for own in labels.values()]) < 2
    assert all(len(set(own)) == 1 for own in labels.values())


def shown_by_cell(path):
    shown = {}
    for row in rows(path):
        shown.setdefault((row["ID"], row["Mask"]), set()).add(int(row["Label"]))
    return shown


def test_prior_that_came_out_is_kept_and_printed(tmp_path, capsys):
    root = write_dataset(tmp_path / "printed", 2, 1, 128, seed=1)
    prior = json.loads((root / "dataset.json").read_text())["prior"]
    shown = [*shown_by_cell(root / "truth_train.csv").values(), *shown_by_cell(root / "truth.csv").values()]
    assert prior["all"]["cells"] == len(shown) == prior["train"]["cells"] + prior["test"]["cells"]
    negative = np.mean([NEGATIVE in labels for labels in shown])
    assert prior["all"]["share_of_cells"]["18"] == prior["all"]["share_negative"] == pytest.approx(negative, abs=1e-4)
    printed = capsys.readouterr().out
    assert "Negative" in printed and "Mitotic spindle" in printed


def test_without_weakness_every_cell_shows_every_label(tmp_path):
    root = write_dataset(tmp_path / "strong", 20, 1, 128, seed=2, weakness=0)
    labels = {row["ID"]: set(map(int, row["Label"].split("|"))) for row in rows(root / "train.csv")}
    assert any(11 in field for field in labels.values())
    for (image_id, _), seen in shown_by_cell(root / "truth_train.csv").items():
        assert seen == labels[image_id]


def test_same_call_same_bytes_whatever_the_workers(small, tmp_path):
    assert contents(write_dataset(tmp_path / "again", 4, 5, 192, seed=3, workers=1)) == contents(small)


@pytest.mark.parametrize("script", ["file", "standard input"])
def test_scripts_without_main_guard_run_once(tmp_path, script):
    code = f"""
from hpa_simulator import write_dataset
print("started")
write_dataset({str(tmp_path / "out")!r}, 3, 2, 128, 1, workers=2)
"""
    path = tmp_path / "script.py"
    path.write_text(code)
    command, text = ([sys.executable, path], None) if script == "file" else ([sys.executable, "-"], code)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("started") == 1
    assert (tmp_path / "out" / "dataset.json").is_file()


def test_other_seed_other_fields(small, tmp_path):
    other = write_dataset(tmp_path / "other", 1, 1, 192, seed=4)
    assert not set(contents(other)) & {name for name in contents(small) if name.endswith(".png")}


def test_finished_output_is_left_alone(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    write_dataset(small, 4, 5, 192, seed=3)
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


WRONG = {"n_train": [0], "n_test": [-1], "size": [127, "large"], "seed": [-1], "weakness": [np.nan], "rare": ["no"]}


@pytest.mark.parametrize(("name", "wrong"), [(name, value) for name, values in WRONG.items() for value in values])
def test_senseless_parameters_name_the_folder_and_write_nothing(tmp_path, name, wrong):
    with pytest.raises(ValueError, match=str(tmp_path / "out")):
        write_dataset(tmp_path / "out", **{"n_train": 1, "n_test": 1, "size": 128, "seed": 0, name: wrong})
    assert not (tmp_path / "out").exists()


def test_tensorflow_stays_out():
    code = "import sys, hpa_simulator; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_mixed_sizes_are_the_competitions():
    rng = np.random.default_rng(0)
    train, test = draw_sides(rng, "train", 4000, "mixed"), draw_sides(rng, "test", 4000, "mixed")
    assert set(train) <= {2048, 3072, 4096} and set(test) == {1728, 2048, 3072}
    assert np.mean(np.equal(train, 2048)) == pytest.approx(17955 / 21806, abs=0.03)
    assert np.mean(np.equal(test, 1728)) == pytest.approx(68 / 559, abs=0.03)
    assert pixel_size("mixed") == pixel_size(2048) == 0.08


def test_size_512_is_a_quarter_of_2048_with_432_among_test():
    sides = {split: [field.side for field in plan_fields(30, 20, 512, 1, "floor") if field.split == split]
             for split in ("train", "test")}  # fmt: skip
    assert sides["train"] == [512] * 30 and sorted(sides["test"]) == [432] * 2 + [512] * 18
    assert pixel_size(512) == 0.32


def test_samples_have_one_to_six_fields_which_follow_each_other_and_small_sets_have_single_ones():
    sample = draw_samples(np.random.default_rng(0), 1000)
    assert (np.diff(sample) >= 0).all() and set(np.bincount(sample)) == {1, 2, 3, 4, 5, 6}
    assert draw_samples(np.random.default_rng(0), 40).tolist() == list(range(40))


def test_train_fields_have_one_microscope_and_some_test_samples_another_gain_and_scale():
    plan = plan_fields(200, 200, 512, 1, "floor")
    optics = {field.sample: (field.gain, field.scale) for field in plan if field.split == "test"}
    assert {(field.gain, field.scale) for field in plan if field.split == "train"} == {(1, 1)}
    assert all(optics[field.sample] == (field.gain, field.scale) for field in plan if field.split == "test")
    other = [pair for pair in optics.values() if pair != (1, 1)]
    assert 0.25 < len(other) / len(optics) < 0.55
    assert {scale for _, scale in other} == {0.85, 1.2} and min(other)[0] < 0.8 and max(other)[0] > 1.25


def test_natural_frequencies_leave_rare_classes_out():
    samples = np.full(60, 2)
    natural = draw_label_sets(np.random.default_rng(0), samples, "natural")
    assert len({label for labels in natural for label in labels}) < N_CLASSES
    with_floor = draw_label_sets(np.random.default_rng(0), samples, "floor")
    assert np.bincount([label for labels in with_floor for label in labels])[:NEGATIVE].min() >= 3


def simulated_truth(weakness, seeds, rare="floor"):
    """(labels, shows) of the fields of sets of 400, without growing their cells: one in three is small or cut."""
    for seed in seeds:
        for number, field in enumerate(plan_fields(300, 100, 512, seed, rare)):
            rng = np.random.default_rng([seed, number])
            visible = rng.choice([1, 0.9, 0.6], rng.integers(6, 34), p=[0.67, 0.23, 0.1])
            labels = list(field.labels)
            metaphase = choose_metaphase(rng, labels, np.ones(visible.size, bool), weakness)
            yield labels, show_labels(rng, labels, metaphase, visible, weakness, set(field.must))


@pytest.fixture(scope="module")
def truth():
    """What the cells of 1,600 fields show."""
    return list(simulated_truth(1.0, range(4)))


def shares_by_field(truth, label, company=None):
    """Share of the cells that show a class, of each field that has it (alone, or with others)."""
    return np.array([shows[:, label].mean() for labels, shows in truth
                     if label in labels and company in (None, len(labels) > 1)])  # fmt: skip


def test_labels_are_shown_by_as_many_cells_as_experts_saw_and_vary_as_much_over_fields(truth):
    means, spreads = zip(*((own.mean(), own.std()) for own in (shares_by_field(truth, label) for label in range(18))))
    own = [*range(8), *range(9, 11), 12, 14, 16]  # of which half of the fields or more are in company, as in reality
    assert np.abs(np.array(means) - SHARES[:18])[own].max() < 0.12
    assert np.abs(np.array(spreads) - DEVIATIONS[:18])[own].max() < 0.12
    assert np.abs(np.array(means) - SHARES[:18])[own].mean() < 0.06
    shares = np.concatenate([shares_by_field(truth, label) for label in own])
    assert 0.02 < np.mean(shares == 0) < 0.2 and np.mean(shares == 1) > 0.1


def test_a_label_alone_shows_in_more_cells_than_one_in_company(truth):
    alone, company = mean_shares(True, 1.0), mean_shares(False, 1.0)
    assert alone[[2, 8, 3]] == pytest.approx([0.94, 0.88, 0.45**0.5])  # class 3 was never seen alone
    assert company[[2, 8, 3]] == pytest.approx([0.58, 0.44, 0.45])
    for label in (2, 8, 13):
        assert shares_by_field(truth, label, company=False).mean() > shares_by_field(truth, label).mean() + 0.05


def test_one_cell_in_ten_is_negative_and_more_where_a_label_stands_alone(truth):
    negative, alone = zip(*((shows[:, NEGATIVE].mean(), len(labels) == 1) for labels, shows in truth))
    negative, alone = np.array(negative), np.array(alone)
    assert 0.08 < negative.mean() < 0.15
    assert negative[alone].mean() > negative[~alone].mean() + 0.05


def test_3_percent_of_the_cells_show_a_label_that_their_field_lacks(truth):
    foreign = [(shows[:, :NEGATIVE] & ~np.isin(range(NEGATIVE), labels)).any(axis=1) for labels, shows in truth]
    assert 0.01 < np.concatenate(foreign).mean() < 0.04


def test_small_and_cut_cells_show_less():
    masks = np.zeros((40, 40), np.uint16)
    masks[10:20, 10:20] = 1
    masks[:10, 25:35] = 2  # 10 of its 36 outer pixels lie on the border
    masks[30:33, 30:33] = 3
    masks[20:30, 20:30] = 4
    assert visibility(masks) == pytest.approx([1, 0.936, 0.5, 1], abs=0.001)
    visible, shows = np.repeat([1, 0.5], 20), []
    for seed in range(40):
        shows.append(show_labels(np.random.default_rng(seed), [0, 16], np.zeros(40, bool), visible, 1.0, set()))
    whole, small = (np.concatenate([own[part] for own in shows]) for part in (np.s_[:20], np.s_[20:]))
    assert whole[:, [0, 16]].mean() > small[:, [0, 16]].mean() + 0.1
    assert small[:, NEGATIVE].mean() > 1.5 * whole[:, NEGATIVE].mean()


def test_several_patterns_mix_in_a_cell(truth):
    number = np.concatenate([shows.sum(axis=1) for _, shows in truth])
    assert number.min() == 1
    assert 0.6 < (number == 1).mean() < 0.8 and (number > 2).mean() > 0.02


def test_more_weakness_leaves_more_cells_negative():
    shares = []
    for weakness in (0, 0.5, 1, 2):
        shows = np.concatenate([shows for _, shows in simulated_truth(weakness, [0])])
        shares.append(shows[:, NEGATIVE].mean())
    assert shares == sorted(shares)
    assert shares[-1] > 1.5 * shares[2]


def test_spindles_are_shown_by_one_or_two_cells(truth):
    assert {shows[:, 11].sum() for labels, shows in truth if 11 in labels} == {1, 2}


def culture(line, seed, metaphase=0, size=512):
    rng = np.random.default_rng(seed)
    centres = scatter_centres(rng, line, size, UM)
    dividing = np.arange(len(centres)) < metaphase
    return grow_cells(rng, line, centres, dividing, size, UM)


def line_called(name):
    return next(line for line in LINES if line.name == name)


def test_every_line_gives_5_to_40_cells_a_field():
    for line in LINES:
        for seed in range(2):
            assert 5 <= culture(line, seed)[1].max() <= 40


def test_neighbours_overlap_in_light_but_not_in_truth():
    cells, masks = culture(line_called("MCF7"), 1)
    light, owned = (np.zeros((512 + 50, 512 + 50), int) for _ in range(2))
    for cell in cells:
        light[cell.window] += cell.body
        owned[cell.window] += cell.owned
    assert light.max() >= 2 and owned.max() == 1
    assert masks.dtype == np.uint16 and set(np.unique(masks)) == set(range(masks.max() + 1))


def test_some_cells_are_cut_by_the_border():
    masks = [culture(LINES[0], seed)[1] for seed in range(3)]
    assert sum(len(np.unique(np.r_[own[0], own[-1], own[:, 0], own[:, -1]])) - 1 for own in masks) > 4


def test_some_cells_have_several_nuclei():
    numbers = [cell.n_nuclei for seed in range(6) for cell in culture(line_called("U-251 MG"), seed)[0]]
    assert 0 < np.mean(np.array(numbers) > 1) < 0.3


def test_exposure_varies_from_dim_to_saturated():
    light = np.full((4, 60, 60), 0.9, np.float32)
    peaks = [expose(np.random.default_rng(seed), light, 5, UM)[..., 0].max() for seed in range(150)]
    assert min(peaks) < 60 and max(peaks) == 255 and 80 < np.median(peaks) < 255


def test_noise_is_that_of_counted_photons_and_another_microscope_gives_other_grey_levels():
    light = np.full((4, 90, 90), 0.3, np.float32)
    dim, bright = (expose(np.random.default_rng(4), light, 5, UM, gain)[..., 0].astype(float) for gain in (0.6, 1.6))
    assert bright.mean() == pytest.approx(dim.mean() * 1.6 / 0.6, rel=0.1)
    assert 0 < dim.std() < bright.std() < 12


def test_a_field_has_four_channels_masks_and_a_row_a_cell():
    field = draw_field(np.random.default_rng(0), 160, UM, [0, 16])
    assert field.image.dtype == np.uint8 and field.image.shape == (160, 160, 4)
    assert field.masks.max() == len(field.shows) and field.shows.shape[1] == N_CLASSES


def test_a_cell_may_lie_alone_in_the_smallest_field():
    for seed in range(12):
        assert draw_field(np.random.default_rng(seed), 128, UM, [0]).masks.max() >= 1


def test_fields_of_one_sample_look_alike_and_samples_differ():
    assert draw_look((1, 5, 0, 7)) == draw_look((1, 5, 0, 7))
    looks = [draw_look((seed,)) for seed in range(200)]
    strengths = [look.strength for look in looks]
    assert min(strengths) < 0.5 and max(strengths) > 1.8  # from dim to saturated
    assert {look.line.name for look in looks} == {line.name for line in LINES}
    variants = np.array([[draw(0, 1) for _ in range(3)] for draw in (look.properties(7) for look in looks)])
    again = looks[0].properties(7)
    assert [again(0, 1) for _ in range(3)] == variants[0].tolist()
    assert (variants.min(axis=0) < 0.1).all() and (variants.max(axis=0) > 0.9).all()
    rng = np.random.default_rng(0)
    of_cells = np.array([[draw(0, 1) for _ in range(3)] for draw in (looks[0].properties(7, rng) for _ in range(300))])
    assert of_cells.min() >= 0 and of_cells.max() <= 1 and (0.08 < of_cells.std(axis=0)).all()
    assert (abs(np.median(of_cells, axis=0) - variants[0]) < 0.1).all()  # near to their sample's
    of_line = [own[0] for own, look in zip(variants, looks) if look.line.name == "U-2 OS"]
    assert 0.1 < max(of_line.count(value) for value in of_line) / len(of_line) < 0.5  # as all of this line have it


LOOKS = [draw_look((seed,)) for seed in range(4)]


@pytest.fixture(scope="module")
def cells():
    """The whole cells of a field with their stains and a look in turn, one of them in metaphase."""
    drawn, _ = culture(LINES[0], 8, metaphase=1)
    whole = [cell for cell in drawn if cell.number and cell.nucleus.sum() * UM**2 > 15]
    return [(cell, stain(cell, look), look) for cell, look in zip(whole, LOOKS * len(whole))]


@pytest.fixture(scope="module")
def patterns(cells):
    """Per class, the light of all cells that are not in metaphase: (cell, stains, light)."""
    return [
        [(cell, stains, draw_pattern(label, cell, stains, look)) for cell, stains, look in cells if not cell.metaphase]
        for label in range(N_CLASSES)
    ]


def contrast(drawn, where):
    """How many times brighter a pattern is where `where(cell)` is true than in the rest of the cells."""
    inside, outside = (np.concatenate([light[cell.body & (where(cell) == side)] for cell, _, light in drawn])
                       for side in (True, False))  # fmt: skip
    return inside.mean() / outside.mean()


def test_one_described_pattern_a_class_within_the_cells(patterns):
    assert len(PATTERNS) == N_CLASSES
    for label, drawn in enumerate(patterns):
        assert describe_pattern(label).endswith(".")
        for cell, _, light in drawn:
            assert light.dtype == np.float32 and light.shape == cell.body.shape
            assert 0 <= light.min() and light.max() <= 1 and not light[~cell.body].any()


def test_nuclear_patterns_are_bright_in_the_nucleus_and_the_others_outside(patterns):
    assert min(contrast(patterns[label], lambda cell: cell.nucleus) for label in range(6)) > 3
    outside = (7, 8, 10, 12, 15, 16, 17)
    assert min(contrast(patterns[label], lambda cell: ~cell.nucleus) for label in outside) > 1.2


PLACES = {  # class: where in the cell it lies, and how many times brighter it is there at least
    1: (lambda cell: np.abs(cell.far) < 1, 8),
    2: (lambda cell: cell.nucleoli > 0.3, 6),
    3: (lambda cell: cell.nucleoli > 0.3, 8),
    7: (lambda cell: cell.hub < 2.5, 3),
    8: (lambda cell: cell.far < 8, 2),
    12: (lambda cell: cell.hub < 0.5, 4),
    14: (lambda cell: (cell.far > 0.3) & (cell.far < 3), 1.5),
    15: (lambda cell: cell.hub < 1, 4),
}


@pytest.mark.parametrize("label", PLACES)
def test_patterns_are_brightest_at_their_organelle(patterns, label):
    where, least = PLACES[label]
    assert contrast(patterns[label], where) > least


def test_membrane_reaches_the_outline_where_cytosol_thins_out(patterns):
    membrane, cytosol = (contrast(patterns[label], lambda cell: cell.edge < 2) for label in (13, 16))
    assert cytosol < 0.7 and membrane > 1.5 * cytosol


def test_patterns_that_follow_a_marker(patterns):
    for label, marker in ((6, "yellow"), (10, "red")):
        pairs = [(light[cell.body], getattr(stains, marker)[cell.body]) for cell, stains, light in patterns[label]]
        found = [np.corrcoef(*pair)[0, 1] for pair in pairs]
        assert np.mean(found) > 0.9 and min(found) > 0.85


def test_membrane_is_brighter_where_neighbours_touch(patterns):
    edges = [(light[on & (cell.contact > 0.8)], light[on & (cell.contact < 0.1)])
             for cell, _, light in patterns[13] for on in [cell.body & (cell.edge < 0.8)]]  # fmt: skip
    touching, free = (np.concatenate(part) for part in zip(*edges))
    assert touching.mean() > 1.1 * free.mean()


def test_metaphase_cell_is_round_with_a_plate_between_two_poles(cells):
    (cell, stains, look), *others = [own for own in cells if own[0].metaphase]
    assert not others
    plate = cv2.minAreaRect(np.argwhere(cell.nucleus).astype(np.float32))[1]
    assert max(plate) > 2 * min(plate)
    assert cell.body.sum() * UM**2 < 400
    light = draw_pattern(11, cell, stains, look)
    for side in (cell.place.real < -1, cell.place.real > 1):
        assert light[side].sum() > 0.25 * light.sum()
    assert np.corrcoef(light[cell.body], stains.red[cell.body])[0, 1] > 0.9


def test_negative_has_no_pattern_but_what_the_antibody_shows_in_any_cell(cells, patterns):
    assert not any(light.any() for _, _, light in patterns[NEGATIVE])
    for cell, stains, look in cells:
        veil = draw_unspecific(cell, stains, look)
        assert veil.min() >= 0 and not veil[~cell.body].any()


def test_grain_changes_how_fine_green_is_and_hardly_how_bright(cells):
    cell, _, look = cells[0]
    light = np.full(cell.body.shape, 0.5, np.float32)
    fine, coarse = (draw_grain(cell, replace(look, grain=grain), light) for grain in (0.15, 0.75))
    assert fine.mean() == pytest.approx(1, abs=0.1) and coarse.mean() == pytest.approx(1, abs=0.2)
    assert coarse.std() > 3 * fine.std()
    assert draw_grain(cell, look, light / 5).std() > 1.2 * draw_grain(cell, look, light).std()  # sparse: more of it
