import json

import pytest

from hpa_utils.dataset import open_dataset
from hpa_utils.running.notebooks import SOURCES, plan
from hpa_utils.running.parameters import parse_assignments, read_parameters, resolve

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


@pytest.mark.parametrize("text", ["size=big", "size=1.5", "rate=x", "big=2", "size=true"])
def test_a_value_of_another_type_is_refused(text):
    with pytest.raises(ValueError, match=f"parameter {text.partition('=')[0]}="):
        resolve(DEFAULTS, [parse_assignments([text])])


@pytest.mark.parametrize("name", ["sise", "04.size", "05.seed"])
def test_a_name_that_no_selected_notebook_has_is_refused(name):
    with pytest.raises(ValueError, match=f"given as {name}.*There are 03_cell_crops: size, seed"):
        resolve(DEFAULTS, [{name: 1}])


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
