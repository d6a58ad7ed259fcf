"""The ablation ledger: choices known to help or hurt on toy cells, and the command that scores a finished run."""

import shutil

import numpy as np
import pandas as pd
import pytest

from hpa_utils import masks
from hpa_utils.inference import CELL_COLUMNS, FIELD_COLUMNS, BlendConfig, blend, read_calibration
from hpa_utils.inference.blending import CHOICES
from hpa_utils.running.commands import main
from hpa_utils.scoring import score_submission, write_submission
from hpa_utils.scoring.ledger import blend_ledger, ledger_text

FIELDS, CELLS = 24, 5
NUCLEOLI, GOLGI = 2, 7
PLAIN = BlendConfig(field="none")


def toy(seed=0):
    """Fields of five cells; half of the fields show Golgi in every cell, which only the field's score tells.

    Nucleoli are shown by cells of any field, but not by the first of a field, which lies at the border; the cell's
    score knows all but that. Returns truth, fields, cells and predictions.
    """
    rng = np.random.default_rng(seed)
    image_ids = [f"field-{k:02d}" for k in range(FIELDS)]
    counts = [masks.encode_counts(np.eye(CELLS, dtype=bool)[k][:, None].repeat(8, 1)) for k in range(CELLS)]
    n, first = FIELDS * CELLS, np.tile(np.arange(CELLS) == 0, FIELDS)
    golgi = np.repeat(np.arange(FIELDS) % 2 == 0, CELLS)
    nucleoli = rng.random(n) < 0.5
    keys = {"image_id": np.repeat(image_ids, CELLS), "cell_id": np.tile(np.arange(1, CELLS + 1), FIELDS)}
    own, of_field = rng.uniform(0.2, 0.4, (n, 19)), np.full((n, 19), 0.5)
    own[:, NUCLEOLI] = np.where(nucleoli, 0.8, 0.2) + rng.uniform(-0.05, 0.05, n)
    of_field[:, GOLGI] = np.where(golgi, 0.9, 0.1)
    values = pd.DataFrame(np.c_[own, of_field].astype(np.float32), columns=CELL_COLUMNS + FIELD_COLUMNS)
    predictions = pd.concat([pd.DataFrame(keys), values], axis=1)
    cells = pd.DataFrame({**keys, "rle": counts * FIELDS, "edge_fraction": first * 0.5, "area": 8, "nucleus_area": 4})
    fields = pd.DataFrame({"image_id": image_ids, "height": CELLS, "width": 8})
    shown = [(golgi, GOLGI), (nucleoli & ~first, NUCLEOLI)]
    rows = [
        (keys["image_id"][i], CELLS, 8, label, cells["rle"][i]) for own, label in shown for i in np.flatnonzero(own)
    ]
    truth = pd.DataFrame(rows, columns=["image_id", "height", "width", "label", "counts"])
    return truth, fields, cells, predictions


def row(table, step, choice):
    return table[(table["step"] == step) & (table["choice"] == choice)].iloc[0]


def test_a_choice_that_is_known_to_help_shows_a_positive_difference():
    table = blend_ledger(*toy(), config=PLAIN, rounds=200)
    for step, choice in (("field", "product"), ("field", "weighted"), ("edge", "fixed")):
        found = row(table, step, choice)
        assert found["low"] > 0 and found["low"] <= found["difference"] <= found["high"], (step, choice)
        assert found["score"] == pytest.approx(table["score"][0] + found["difference"])


def test_a_choice_that_is_known_to_hurt_shows_a_negative_difference_once_it_is_switched_off():
    table = blend_ledger(*toy(), config=BlendConfig(field="product", edge="fixed"), rounds=200)
    for step in ("field", "edge"):
        assert row(table, step, "none")["high"] < 0
    assert row(table, "blend", "the cell's scores alone")["difference"] < row(table, "edge", "none")["difference"]


def test_choices_that_change_no_order_change_no_score():
    table = blend_ledger(*toy(), config=BlendConfig(field="product"), rounds=50)
    for step, choice in (("field", "sqrt_product"), ("calibration", "platt"), ("outliers", "no_nucleus")):
        assert row(table, step, choice)[["difference", "low", "high"]].tolist() == [0, 0, 0]


def test_every_choice_but_the_configured_ones_has_a_row():
    config = BlendConfig(negative="one_minus_max", edge="fitted")
    table = blend_ledger(*toy(), config=config, rounds=10)
    expected = {(step, choice) for step, choices in CHOICES.items() for choice in choices}
    expected -= {(step, getattr(config, step)) for step in CHOICES}
    assert set(zip(table["step"][2:], table["choice"][2:])) == expected and len(table) == len(expected) + 2
    assert table.loc[0, ["difference", "low", "high"]].tolist() == [0, 0, 0]


def test_scores_are_those_of_the_submission_that_the_choice_writes(tmp_path):
    truth, fields, cells, predictions = toy()
    table = blend_ledger(truth, fields, cells, predictions, config=PLAIN, rounds=10)
    text = truth.assign(Mask=[masks.counts_to_text(counts) for counts in truth["counts"]])
    names = {"image_id": "ID", "width": "ImageWidth", "height": "ImageHeight", "label": "Label"}
    text.rename(columns=names).drop(columns="counts").to_csv(tmp_path / "truth.csv", index=False)
    for choice in ("product", "weighted"):
        confidences = blend(predictions, cells, BlendConfig(field=choice))
        sizes = fields.rename(columns=names)[["ID", "ImageWidth", "ImageHeight"]]
        write_submission(tmp_path / "submission.csv", sizes, cells, predictions, confidences)
        score = score_submission(tmp_path / "truth.csv", tmp_path / "submission.csv")["mean_average_precision"]
        assert row(table, "field", choice)["score"] == pytest.approx(score, abs=1e-12)


def test_other_predictions_of_the_same_cells_are_compared_by_name_in_any_order():
    truth, fields, cells, predictions = toy()
    better = predictions.assign(p07=predictions["f07"]).sample(frac=1, random_state=0)
    others = {"same": predictions.iloc[::-1], "better": better}
    table = blend_ledger(truth, fields, cells, predictions, config=PLAIN, others=others, rounds=100)
    assert row(table, "predictions", "same")["difference"] == 0 and row(table, "predictions", "better")["low"] > 0
    with pytest.raises(ValueError, match="predictions 'fewer' are of other cells"):
        blend_ledger(truth, fields, cells, predictions, others={"fewer": predictions.iloc[1:]})


def test_the_text_is_a_table_in_which_what_is_sure_is_bold():
    rows = [
        ("blend", "all", 0.5, 0, 0, 0),
        ("edge", "none", 0.4, -0.1, -0.2, -0.05),
        ("field", "none", 0.6, 0.1, -0.1, 1),
    ]
    text = ledger_text(pd.DataFrame(rows, columns=["step", "choice", "score", "difference", "low", "high"]))
    assert text.splitlines()[2:] == [
        "| blend | all | 0.5000 | +0.0000 | +0.0000 … +0.0000 |",
        "| edge | none | 0.4000 | **-0.1000** | -0.2000 … -0.0500 |",
        "| field | none | 0.6000 | +0.1000 | -0.1000 … +1.0000 |",
    ]


def test_the_command_scores_a_finished_run_and_writes_the_table(finished_run, simulated, tmp_path, capsys):
    out = tmp_path / "out"
    for name in ("02_segmentation", "04_train", "05_inference"):
        shutil.copytree(finished_run / name, out / name)
    other = out / "05_inference" / "predictions.parquet"
    assert read_calibration(out / "04_train").cells_from == "fields"
    call = ["ledger", "--out", str(out), "--data", str(simulated), "--rounds", "20", "--predictions", f"again={other}"]
    assert main(call) == 0
    printed = capsys.readouterr().out
    table = pd.read_csv(out / "05_inference" / "ledger.csv")
    assert ledger_text(table) in printed and (out / "05_inference" / "ledger.md").read_text() == ledger_text(table)
    assert row(table, "predictions", "again")["difference"] == 0 and len(table) > 10


@pytest.mark.parametrize(
    ("text", "message"), [("again", "expected NAME=PATH"), ("a=nowhere.parquet", "nowhere.parquet")]
)
def test_the_command_names_predictions_that_cannot_be_read(finished_run, simulated, text, message, capsys):
    call = ["ledger", "--out", str(finished_run), "--data", str(simulated), "--predictions", text]
    assert main(call) == 1 and message in capsys.readouterr().err
