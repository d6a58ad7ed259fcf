"""Model folders: found, chosen by member and round, read out of fold; the parts that their networks predict."""

import warnings

import keras
import numpy as np
import pandas as pd
import pytest
from made_crops import plain_crops, write_crop_part

from hpa_utils import manifest, tables
from hpa_utils.inference import load_network, open_parts, open_sets, predict_part
from hpa_utils.model import FieldNormalisation
from hpa_utils.model_folders import PLAN, choose_models, find_models, out_of_fold, save_model
from hpa_utils.paths import run_name, write_json

CROPS = {"name": "16", "config": {"size": 16}}


def config_of(name="m", training_round=1, fold=0, **changes):
    given = {"format": manifest.FORMAT, "name": name, "training_round": training_round, "fold": fold, "n_folds": 2}
    return given | {"crops": CROPS, "segmenter": "watershed"} | changes


def model_folder(parent, *member, finished=True, **changes):
    """The folder of a model, with its configuration and manifest alone."""
    config = config_of(*member, **changes)
    folder = parent / run_name(config["name"], config["training_round"], config["fold"])
    write_json(folder / "config.json", config)
    manifest.finish(folder, {}, {}) if finished else manifest.pause(folder, "stopped")
    return folder


def chosen_of(*members, planned=()):
    """Names chosen from models given as (name, round, fold), with the names of those planned."""
    configs = {run_name(*member): config_of(*member) for member in members}
    return choose_models(configs, set(planned))


def test_each_member_has_its_highest_round_of_which_no_planned_model_is_missing():
    models = [("m", 1, 0), ("m", 1, 1), ("m", 2, 0), ("n", 1, 0)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chosen_of(*models) == ["m-r2-f0", "n-r1-f0"]  # without a plan: the models there are
        planned = ["m-r1-f0", "m-r1-f1", "m-r2-f0", "m-r2-f1", "n-r1-f0"]
        assert chosen_of(*models, planned=planned) == ["m-r1-f0", "m-r1-f1", "n-r1-f0"]
        assert chosen_of(*models, ("m", 2, 1), planned=planned) == ["m-r2-f0", "m-r2-f1", "n-r1-f0"]
        assert chosen_of(*models, planned=["m-r2-f0"]) == ["m-r2-f0", "n-r1-f0"]  # one fold was all that was planned
        assert chosen_of(*models, ("m", 3, -1), planned=["m-r3-all"])[0] == "m-r3-all"


def test_where_no_round_is_complete_the_last_is_used_with_a_warning():
    with pytest.warns(UserWarning, match="no round of m is complete; missing: m-r1-f1, m-r1-f2"):
        assert chosen_of(("m", 1, 0), planned=["m-r1-f0", "m-r1-f1", "m-r1-f2"]) == ["m-r1-f0"]


def test_a_model_folder_and_a_folder_of_models_may_be_named(tmp_path):
    first, second = model_folder(tmp_path / "mine"), model_folder(tmp_path / "mine", "m", 2)
    model_folder(tmp_path / "out" / "04_train", "other")
    assert find_models(tmp_path / "out", first) == [first]
    assert find_models(tmp_path / "out", str(tmp_path / "mine")) == [second]
    write_json(tmp_path / "mine" / PLAN, {"models": ["m-r1-f0", "m-r2-f0", "m-r2-f1"]})
    assert find_models(tmp_path / "out", tmp_path / "mine") == [first]
    with pytest.raises(FileNotFoundError, match="no finished model in .*nothing.*: run notebook 04 first"):
        find_models(tmp_path / "out", tmp_path / "nothing")


def test_models_come_from_the_output_root_and_from_attached_inputs_and_the_root_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path / "kaggle"))
    out, attached = tmp_path / "out" / "04_train", tmp_path / "kaggle" / "input" / "train-0" / "04_train"
    with pytest.raises(FileNotFoundError, match="no finished model in .*04_train"):
        find_models(tmp_path / "out")
    own = model_folder(out, "m", 1, 0)
    model_folder(attached, "m", 1, 0)
    other = model_folder(attached, "m", 1, 1)
    assert find_models(tmp_path / "out") == [own, other]
    write_json(attached / PLAN, {"models": ["m-r1-f0", "m-r1-f1"]})
    write_json(out / PLAN, {"models": ["m-r1-f0", "m-r1-f2"]})
    with pytest.warns(UserWarning, match="missing: m-r1-f2"):  # what either of the two has planned
        assert find_models(tmp_path / "out") == [own, other]


def test_a_model_that_was_stopped_before_its_end_is_none(tmp_path):
    done = model_folder(tmp_path / "04_train", "m", 1, 0)
    model_folder(tmp_path / "04_train", "m", 2, 0, finished=False)
    assert find_models(tmp_path) == [done]


def test_models_of_another_version_are_refused_with_a_clear_word(tmp_path):
    old = tmp_path / "old"
    write_json(old / "config.json", {"format": 2, "crops": {"size": 64}, "training": {"folds": 1}})
    with pytest.raises(ValueError, match="old was written by another version .format 2.*run the notebooks again"):
        find_models(tmp_path, old)
    write_json(old / "config.json", {"crops": {"size": 64}})
    with pytest.raises(ValueError, match="old was written by another version"):
        find_models(tmp_path, old)
    write_json(old / "config.json", {"format": manifest.FORMAT})
    with pytest.raises(ValueError, match="config.json: no key name; expected text"):
        find_models(tmp_path, old)


@pytest.fixture
def run(tmp_path):
    """An output root of four fields of two cells: crop set, tables; (root, crops, fields, cells)."""
    fields = pd.DataFrame({"image_id": list("abcd"), "percentiles": [[float(k)] * 16 for k in range(4)]})
    rows = [(image_id, cell, b"%d" % cell) for image_id in "abcd" for cell in (1, 2)]
    cells = pd.DataFrame(rows, columns=["image_id", "cell_id", "rle"]).astype({"cell_id": np.int32})
    folder = tmp_path / "out" / "03_cell_crops" / "16"
    for number, ids in enumerate(("ab", "cd")):
        given = {image_id: plain_crops(2, 10 * (2 * number + place)) for place, image_id in enumerate(ids)}
        own = tables.cells_fingerprint(cells[cells["image_id"].isin(list(ids))])
        name = f"part-train-000{number}.parquet"
        crops = write_crop_part(folder, given, name, key=f"key {number}", fingerprint=own)
    manifest.finish(folder, {"crops": CROPS}, {})
    return tmp_path / "out", crops, fields, cells


def small_network(seed=0):
    """Logits from the mean of a crop's normalised channels and the field's first percentile."""
    keras.utils.set_random_seed(seed)
    crop, percentiles = keras.Input((16, 16, 4)), keras.Input((4, 4))
    pooled = keras.layers.GlobalAveragePooling2D()(FieldNormalisation()(crop, percentiles)) / 255
    return keras.Model([crop, percentiles], keras.layers.Dense(19)(pooled) + percentiles[:, 0, :1])


def save_round(out, cells, folds=(0, 1), **changes):
    """Models of round 1 of member m: fold 0 holds out a and c with scores 0.1, fold 1 b and d with 0.2."""
    for fold in folds:
        held_out = cells.loc[cells["image_id"].isin(list(("ac", "bd")[fold])), ["image_id", "cell_id"]]
        oof = held_out.assign(**dict.fromkeys(tables.CELL_COLUMNS, np.float32(0.1 * (fold + 1))))
        folder, config = out / "04_train" / run_name("m", 1, fold), config_of(fold=fold, **changes)
        history, print_of = pd.DataFrame({"epoch": [1]}), tables.cells_fingerprint(cells)
        save_model(folder, small_network(), config, history, oof[::-1], {"mAP": 0.5}, print_of)
        manifest.finish(folder, {}, {})


def test_a_saved_model_folder_has_all_its_files_and_its_network_comes_back(run):
    out, _, _, cells = run
    save_round(out, cells, folds=[0])
    folder = out / "04_train" / "m-r1-f0"
    names = {"model.keras", "config.json", "history.csv", "oof.parquet", "scores.json", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == names and manifest.read_config(folder) == config_of()
    inputs = [plain_crops(2).astype(np.float32), np.ones((2, 4, 4), np.float32)]
    np.testing.assert_allclose(load_network(folder)(inputs), small_network()(inputs), rtol=1e-5)


def test_scores_out_of_fold_stand_in_the_order_of_the_crops(run):
    out, crops, _, cells = run
    save_round(out, cells)
    scores = out_of_fold(out, "m", 1, 2, crops, cells)
    assert scores.shape == (8, 19) and scores.dtype == np.float32
    assert scores[:, 7].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2] * 2)


def test_missing_models_of_the_round_before_are_named(run):
    out, crops, _, cells = run
    save_round(out, cells, folds=[1])
    with pytest.raises(FileNotFoundError, match="round 2 of m needs all 2 models of round 1; missing: m-r1-f0$"):
        out_of_fold(out, "m", 1, 2, crops, cells)


def test_scores_of_other_cells_or_folds_are_refused(run):
    out, crops, _, cells = run
    save_round(out, cells)
    with pytest.raises(ValueError, match="m-r1-f0/oof.parquet belongs to another cell table"):
        out_of_fold(out, "m", 1, 2, crops, cells.assign(rle=b"9"))
    save_round(out, cells, n_folds=5)
    with pytest.raises(ValueError, match="m-r1-f0 was trained with 5 folds, not 2"):
        out_of_fold(out, "m", 1, 2, crops, cells)


def test_parts_know_their_cells_and_refuse_other_cells_and_crops(run):
    out, _, fields, cells = run
    mixed = cells.sample(frac=1, random_state=0).reset_index(drop=True)
    parts = open_parts(out, config_of(), "train", fields, mixed)
    assert [part.name for part in parts] == ["part-train-0000.parquet", "part-train-0001.parquet"]
    for part in parts:
        assert mixed.loc[part.rows, ["image_id", "cell_id"]].to_numpy().tolist() == part.crops.keys().values.tolist()
    assert parts[1].percentiles.shape == (2, 4, 4) and parts[1].percentiles[:, 0, 0].tolist() == [2, 3]
    with pytest.raises(ValueError, match="part-train-0000.parquet belongs to another cell table"):
        open_parts(out, config_of(), "train", fields, cells.assign(rle=b"9"))
    other = config_of(crops={"name": "16", "config": {"size": 32}})
    with pytest.raises(ValueError, match=r"crops.size is 32 in model m but 16 in .*16"):
        open_parts(out, other, "train", fields, cells)


def test_crop_sets_of_cells_come_before_those_of_whole_fields_which_alone_are_refused(run):
    out, _, fields, cells = run
    whole = config_of("w", crops={"name": "0", "config": {"size": 16, "whole": True}})
    folder, table = out / "03_cell_crops" / "0", fields.assign(split="train", height=20, width=30)
    fingerprint = tables.cells_fingerprint(tables.whole_fields(table))
    write_crop_part(folder, {image_id: plain_crops(1) for image_id in table["image_id"]}, fingerprint=fingerprint)
    manifest.finish(folder, {"crops": whole["crops"]}, {})
    sets = open_sets(out, [whole, config_of(), config_of("n")], "train", table, cells)
    assert list(sets) == ["16", "0"] and sets["0"][0].rows.tolist() == [0, 1, 2, 3]  # of the field table
    with pytest.raises(ValueError, match="all models look at whole fields"):
        open_sets(out, [whole], "train", table, cells)


def test_predictions_of_a_part_are_kept_and_read_again_only_for_the_same_model_and_view(run, tmp_path):
    out, _, fields, cells = run
    part, path = open_parts(out, config_of(), "train", fields, cells)[1], tmp_path / "scores" / "part.parquet"
    network = small_network()
    first = predict_part(part, network, 0, path, "sha a")
    inputs = [part.crops.read(range(4)).astype(np.float32), np.repeat(part.percentiles, 2, axis=0)]
    np.testing.assert_allclose(first, 1 / (1 + np.exp(-network(inputs).numpy())), rtol=1e-5)
    assert first.dtype == np.float32 and first.shape == (4, 19)
    assert (predict_part(part, None, 0, path, "sha a") == first).all()  # no network is needed
    other = small_network(seed=1)
    assert (predict_part(part, other, 0, path, "sha a", reuse=False) != first).any()
    assert (predict_part(part, network, 0, path, "sha b") == first).all()
    for view, made_from in ((1, "sha b"), (0, "sha a")):
        with pytest.raises(AttributeError):
            predict_part(part, None, view, path, made_from)
