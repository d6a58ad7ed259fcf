"""Simulated data sets: Kaggle's layout, honest truth, cells like cells, the same bytes for the same call."""

import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from hpa_simulator import VERSION, write_dataset
from hpa_simulator.culture import grow_cells, scatter_centres
from hpa_simulator.fields import draw_field
from hpa_simulator.labels import GRADED_SHARES, choose_metaphase, draw_label_sets, show_labels, visible_shares
from hpa_simulator.lines import LINES
from hpa_simulator.optics import expose
from hpa_simulator.patterns import PATTERNS, describe_pattern, draw_pattern
from hpa_simulator.plan import draw_sides, pixel_size, plan_fields
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


def shown_by_cell(path):
    shown = {}
    for row in rows(path):
        shown.setdefault((row["ID"], row["Mask"]), set()).add(int(row["Label"]))
    return shown


def test_prior_that_came_out_is_kept_and_printed(many, tmp_path, capsys):
    prior = json.loads((many / "dataset.json").read_text())["prior"]
    shown = [*shown_by_cell(many / "truth_train.csv").values(), *shown_by_cell(many / "truth.csv").values()]
    assert prior["all"]["cells"] == len(shown) == prior["train"]["cells"] + prior["test"]["cells"]
    for label in (0, NEGATIVE):
        assert prior["all"]["share_of_cells"][str(label)] == pytest.approx(
            np.mean([label in labels for labels in shown]), abs=1e-4
        )
    assert prior["all"]["share_negative"] == prior["all"]["share_of_cells"]["18"]
    write_dataset(tmp_path / "printed", 1, 1, 128, seed=1)
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
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("started") == 1
    assert (tmp_path / "out" / "dataset.json").is_file()


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
    [
        ("n_train", 0),
        ("n_test", -1),
        ("size", 127),
        ("size", "large"),
        ("seed", -1),
        ("weakness", np.nan),
        ("rare", "no"),
    ],
)
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
    plan = plan_fields(30, 20, 512, 1, "floor")
    assert pixel_size(512) == 0.32
    assert {field.side for field in plan if field.split == "train"} == {512}
    assert sorted(field.side for field in plan if field.split == "test") == [432] * 2 + [512] * 18


def test_natural_frequencies_leave_rare_classes_out():
    fields = draw_label_sets(np.random.default_rng(0), 100, "natural")
    assert len({label for labels in fields for label in labels}) < N_CLASSES
    with_floor = draw_label_sets(np.random.default_rng(0), 100, "floor")
    counts = np.bincount([label for labels in with_floor for label in labels], minlength=N_CLASSES)
    assert counts.min() >= 2


def simulated_truth(weakness, seeds, rare="floor"):
    """(labels, shows) of the fields of sets of 200, without drawing them."""
    for seed in seeds:
        for number, field in enumerate(plan_fields(150, 50, 512, seed, rare)):
            rng = np.random.default_rng([seed, number])
            metaphase = choose_metaphase(rng, list(field.labels), np.ones(rng.integers(6, 34), bool), weakness)
            yield field.labels, show_labels(rng, list(field.labels), metaphase, weakness, set(field.must))


def test_5_to_15_percent_of_all_cells_are_negative():
    for seed in range(3):
        for rare in ("floor", "natural"):
            shows = np.concatenate([shows for _, shows in simulated_truth(1.0, [seed], rare)])
            assert 0.05 <= shows[:, NEGATIVE].mean() <= 0.15


def test_shares_of_visible_cells_are_the_graded_ones_on_average():
    shown, fields = np.zeros(N_CLASSES), np.zeros(N_CLASSES)
    for labels, shows in simulated_truth(1.0, range(8)):
        shown[list(labels)] += shows[:, list(labels)].mean(axis=0)
        fields[list(labels)] += 1
    assert np.abs(shown / fields - GRADED_SHARES)[[*range(11), *range(12, 18)]].max() < 0.15
    assert np.abs(shown / fields - GRADED_SHARES)[:18].mean() < 0.06


def test_a_label_alone_shows_in_more_cells_than_one_in_company():
    alone, company = visible_shares(True, 1.0), visible_shares(False, 1.0)
    assert (alone[[1, 4, 5, 12]] > company[[1, 4, 5, 12]] + 0.1).all()


def test_cells_of_a_field_agree_and_some_labels_are_shown_by_none():
    shares = [shows[:, labels[0]].mean() for labels, shows in simulated_truth(1.0, [0]) if labels[0] not in (11, 18)]
    assert np.mean(np.abs(np.array(shares) - 0.5) > 0.3) > 0.5  # nearly all cells, or nearly none
    unseen = [any(not shows[:, label].any() for label in labels) for labels, shows in simulated_truth(1.0, [0])]
    assert 0.01 < np.mean(unseen) < 0.25


def test_several_patterns_mix_in_a_cell():
    shows = np.concatenate([shows for _, shows in simulated_truth(1.0, [0])])
    assert (shows[:, :NEGATIVE].sum(axis=1) > 1).mean() > 0.1


def test_more_weakness_leaves_more_cells_negative():
    shares = []
    for weakness in (0, 0.5, 1, 2):
        shows = np.concatenate([shows for _, shows in simulated_truth(weakness, [0])])
        shares.append(shows[:, NEGATIVE].mean())
    assert shares == sorted(shares)
    assert shares[-1] > 1.5 * shares[2]


def test_spindles_are_shown_by_one_or_two_cells():
    numbers = [shows[:, 11].sum() for labels, shows in simulated_truth(1.0, range(4)) if 11 in labels]
    assert set(numbers) == {1, 2}


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


def test_lines_differ_in_size_and_elongation():
    def measure(name):
        cells, _ = culture(line_called(name), 3)
        whole = [cell for cell in cells if cell.number and not cell.metaphase]
        ratios = []
        for cell in whole:
            _, axes, _ = cv2.minAreaRect(np.argwhere(cell.owned).astype(np.float32))
            ratios.append(max(axes) / min(axes))
        return np.median([cell.body.sum() * UM**2 for cell in whole]), np.median(ratios)

    (fibroblast, long), (kidney, short) = measure("BJ"), measure("HEK 293")
    assert fibroblast > 1.3 * kidney and long > 1.4 * short


def test_neighbours_overlap_in_light_but_not_in_truth():
    cells, masks = culture(line_called("MCF7"), 1)
    light, owned = (np.zeros((512 + 50, 512 + 50), int) for _ in range(2))
    for cell in cells:
        light[cell.window] += cell.body
        owned[cell.window] += cell.owned
    assert light.max() >= 2 and owned.max() == 1
    assert masks.dtype == np.uint16 and set(np.unique(masks)) == set(range(masks.max() + 1))


def test_some_cells_and_nuclei_are_cut_by_the_border():
    cut_cells = cut_nuclei = 0
    for seed in range(4):
        cells, masks = culture(LINES[0], seed)
        cut_cells += len(set(np.unique(np.r_[masks[0], masks[-1], masks[:, 0], masks[:, -1]])) - {0})
        nuclei = np.zeros((562, 562), bool)
        for cell in cells:
            nuclei[cell.window] |= cell.nucleus
        cut_nuclei += nuclei[25:-25, [25, -26]].any() + nuclei[[25, -26], 25:-25].any()
    assert cut_cells > 4 and cut_nuclei > 0


def test_some_cells_have_several_nuclei():
    numbers = [cell.n_nuclei for seed in range(6) for cell in culture(line_called("U-251 MG"), seed)[0]]
    assert 0 < np.mean(np.array(numbers) > 1) < 0.3


def test_exposure_varies_from_dim_to_saturated():
    light = np.zeros((4, 60, 60), np.float32)
    light[:, 20:40, 20:40] = 0.9
    peaks = [expose(np.random.default_rng(seed), light, 5, UM)[..., 0].max() for seed in range(150)]
    assert min(peaks) < 40 and max(peaks) == 255 and 80 < np.median(peaks) < 230


def test_overall_noise_is_that_of_counted_photons():
    light = np.full((4, 90, 90), 0.5, np.float32)
    image = expose(np.random.default_rng(4), light, 5, UM)[..., 0].astype(float)
    assert 0 < image.std() < 12


def test_a_field_has_four_channels_masks_and_a_row_a_cell():
    field = draw_field(np.random.default_rng(0), 160, UM, [0, 16])
    assert field.image.dtype == np.uint8 and field.image.shape == (160, 160, 4)
    assert field.masks.max() == len(field.shows) and field.shows.shape[1] == N_CLASSES


def test_a_cell_may_lie_alone_in_the_smallest_field():
    for seed in range(12):
        assert draw_field(np.random.default_rng(seed), 128, UM, [0]).masks.max() >= 1


@pytest.fixture(scope="module")
def cells():
    """The whole cells of a field with their stains, one of them in metaphase."""
    drawn, _ = culture(LINES[0], 8, metaphase=1)
    return [(cell, stain(cell)) for cell in drawn if cell.number and cell.nucleus.sum() * UM**2 > 15]


@pytest.fixture(scope="module")
def patterns(cells):
    """Per class, the light of all cells that are not in metaphase: (cell, stains, light)."""
    return [
        [(cell, stains, draw_pattern(label, cell, stains)) for cell, stains in cells if not cell.metaphase]
        for label in range(N_CLASSES)
    ]


def share(drawn, where):
    """Share of a pattern's light that falls where `where(cell)` is true."""
    inside = sum(light[where(cell)].sum() for cell, _, light in drawn)
    return inside / sum(light.sum() for _, _, light in drawn)


def test_one_described_pattern_a_class_within_the_cells(patterns):
    assert len(PATTERNS) == N_CLASSES
    for label, drawn in enumerate(patterns):
        assert describe_pattern(label).endswith(".")
        for cell, _, light in drawn:
            assert light.dtype == np.float32 and light.shape == cell.body.shape
            assert 0 <= light.min() and light.max() <= 1 and not light[~cell.body].any()


@pytest.mark.parametrize("label", [0, 2, 3, 4, 5])
def test_nuclear_patterns_lie_in_the_nucleus(patterns, label):
    assert share(patterns[label], lambda cell: cell.nucleus) > 0.9


@pytest.mark.parametrize("label", [6, 7, 8, 10, 14, 15, 16, 17])
def test_cytoplasmic_patterns_lie_outside_the_nucleus(patterns, label):
    assert share(patterns[label], lambda cell: ~cell.nucleus) > 0.8


def test_patterns_lie_at_their_organelle(patterns):
    assert share(patterns[1], lambda cell: np.abs(cell.far) < 1) > 0.5  # nuclear membrane
    assert share(patterns[2], lambda cell: cell.nucleoli > 0.1) > 0.5  # nucleoli
    assert share(patterns[3], lambda cell: cell.nucleoli > 0.1) > 0.4  # fibrillar centers
    assert share(patterns[4], lambda cell: cell.nucleoli > 0.6) < 0.05  # speckles spare the nucleoli
    assert share(patterns[7], lambda cell: cell.hub < 10) > 0.4  # Golgi: a ribbon over a veil
    assert share(patterns[8], lambda cell: cell.far < 8) > 0.6  # intermediate filaments
    assert share(patterns[13], lambda cell: cell.edge < 2) > 0.5  # plasma membrane
    for label, radius in ((12, 0.5), (15, 1)):  # centrosome and aggresome: one spot over a veil
        for cell, _, light in patterns[label]:
            assert light[cell.hub < radius].mean() > 4 * light[cell.body & (cell.hub > 4)].mean()


def test_patterns_that_follow_a_marker(patterns):
    for label, marker in ((6, "yellow"), (10, "red")):
        for cell, stains, light in patterns[label]:
            assert np.corrcoef(light[cell.body], getattr(stains, marker)[cell.body])[0, 1] > 0.9


def test_membrane_is_brighter_where_neighbours_touch(patterns):
    edges = [(light[on & (cell.contact > 0.8)], light[on & (cell.contact < 0.1)])
             for cell, _, light in patterns[13] for on in [cell.body & (cell.edge < 0.8)]]  # fmt: skip
    touching, free = (np.concatenate(part) for part in zip(*edges))
    assert touching.mean() > 1.1 * free.mean()


def test_metaphase_cell_is_round_with_a_plate_between_two_poles(cells):
    (cell, stains), *others = [pair for pair in cells if pair[0].metaphase]
    assert not others
    plate = cv2.minAreaRect(np.argwhere(cell.nucleus).astype(np.float32))[1]
    assert max(plate) > 2 * min(plate)
    assert cell.body.sum() * UM**2 < 400
    light = draw_pattern(11, cell, stains)
    for side in (cell.place.real < -1, cell.place.real > 1):
        assert light[side].sum() > 0.25 * light.sum()
    assert np.corrcoef(light[cell.body], stains.red[cell.body])[0, 1] > 0.9


def test_negative_is_weak(patterns):
    assert max(light.max() for _, _, light in patterns[NEGATIVE]) < 0.1
