import json

import pytest

from hpa_utils.dataset import open_dataset
from hpa_utils.running.notebooks import SOURCES, numbered, plan
from hpa_utils.running.parameters import (
    describe_parameters,
    parse_assignments,
    read_parameters,
    resolve,
)

DEFAULTS = {
    "03_cell_crops": {"size": 128, "seed": 0},
    "04_train": {"seed": 0, "rate": 0.1, "weights": "a", "big": False},
}


def test_a_name_goes_to_every_notebook_that_has_it_and_a_number_targets_one():
    resolved = resolve(DEFAULTS, [{"seed": "3"}, {"04.seed": "4"}])
    assert (resolved["03_cell_crops"]["seed"], resolved["04_train"]["seed"]) == (3, 4)
    assert DEFAULTS["04_train"]["seed"] == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [("size=64", 64), ("size=1e2", 100), ("rate=1", 1.0), ("rate=1e-3", 1e-3), ("weights=7", "7"), ("big=true", True)],
)
def test_text_takes_the_type_of_the_default(text, value):
    name = text.partition("=")[0]
    resolved = resolve(DEFAULTS, [parse_assignments([text])])
    found = next(parameters[name] for parameters in resolved.values() if name in parameters)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["size=big", "size=1.5", "size=true", "rate=x", "rate=1e999", "big=2", "size="])
def test_a_value_of_another_type_is_refused(text):
    with pytest.raises(
        ValueError, match=f"parameter {text}: expected (a whole number|a number|true or false), such as"
    ):
        resolve(DEFAULTS, [parse_assignments([text])])


@pytest.mark.parametrize("value", [3, None, ["a"]])
def test_a_presets_value_for_text_is_text(value):
    with pytest.raises(ValueError, match="parameter weights=.*: expected text, such as 'a'"):
        resolve(DEFAULTS, [{"weights": value}])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sise", "no selected notebook has a parameter 'sise' .given as sise.; did you mean size?"),
        ("04.rat", "no selected notebook has a parameter 'rat' .given as 04.rat.; did you mean rate?"),
        ("04.size", "no selected notebook has a parameter 'size' .* known are seed, rate, weights, big"),
        ("05.seed", "parameter 05.seed: its notebook is not one of 03_cell_crops, 04_train"),
    ],
)
def test_a_name_that_no_selected_notebook_has_is_refused_with_the_nearest(name, told):
    with pytest.raises(ValueError, match=told):
        resolve(DEFAULTS, [{name: 1}])


def test_a_path_is_made_absolute_where_the_command_was_given(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    defaults = {"02_segmentation": {"masks": "", "segmenter": "auto"}}
    assert resolve(defaults, [{"masks": "m"}])["02_segmentation"]["masks"] == str(tmp_path / "m")
    assert resolve(defaults, [{"2.masks": "~/m"}])["02_segmentation"]["masks"] == "/home/someone/m"
    assert resolve(defaults, [{"masks": ""}])["02_segmentation"] == defaults["02_segmentation"]


@pytest.mark.parametrize(("text", "notebook"), [("1", "01_eda"), ("04", "04_train"), ("06_explore", "06_explore")])
def test_a_notebook_is_named_by_its_number_or_its_name(text, notebook):
    assert numbered(text) == [notebook]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"notebooks": "04_trian"}, "no notebook 04_trian; did you mean 04_train?"),
        ({"notebooks": "7"}, "no notebook 07; known are 01_eda, "),
        ({"preset": "qick"}, "no preset qick; did you mean quick?"),
        ({"folds": "a"}, "folds are 'a'; expected numbers joined by a comma, such as 0,1"),
    ],
)
def test_a_misspelt_option_is_told_with_the_nearest(tiny_dataset, tmp_path, options, told):
    with pytest.raises(ValueError, match=told):
        plan(open_dataset(tiny_dataset), tmp_path, **options)


def test_parameters_are_described_by_their_comments(tmp_path):
    path = tmp_path / "01_x.py"
    path.write_text('# %% tags=["parameters"]\na: int = 1  # how many\nb: str = "# x"\n')
    assert describe_parameters(path) == ["a = 1                     how many", 'b = "# x"']


@pytest.mark.parametrize("text", ["size", "=3"])
def test_an_assignment_has_a_name_and_a_value(text):
    with pytest.raises(ValueError, match="expected NAME=VALUE"):
        parse_assignments([text])


@pytest.mark.parametrize("preset", json.loads((SOURCES / "presets.json").read_text()))
def test_presets_name_parameters_that_exist(preset, tiny_dataset, tmp_path):
    assert plan(open_dataset(tiny_dataset), tmp_path, preset=preset)


def test_a_parameters_cell_holds_literals_only(tmp_path):
    path = tmp_path / "01_x.py"
    path.write_text('# %% tags=["parameters"]\na: int = 1\nb = len("x")\n')
    with pytest.raises(ValueError, match="line 2 of its parameters cell"):
        read_parameters(path)
