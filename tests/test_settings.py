"""Settings in JSON files: an unknown key or a value of another type is an error that names it."""

import pytest

from hpa_utils.settings import check_settings, parse_json

KINDS = {"pixel_size_um": float, "n_folds": int, "name": str}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_settings_are_read_whatever_wrote_them(tmp_path, encoding):
    path = tmp_path / "dataset.json"
    path.write_text('{"pixel_size_um": 1, "name": "Zürich"}', encoding=encoding)
    assert check_settings(parse_json(path), KINDS, path) == {"pixel_size_um": 1, "name": "Zürich"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"pixel_size": 0.32}', "unknown key pixel_size; did you mean pixel_size_um?"),
        ('{"Pixel_Size_UM": 0.32}', "unknown key Pixel_Size_UM; did you mean pixel_size_um?"),
        ('{"x": 0.32}', "unknown key x; known are pixel_size_um, n_folds, name"),
        ('{"pixel_size_um": "0.32"}', 'pixel_size_um is "0.32"; expected a number'),
        ('{"pixel_size_um": true}', "pixel_size_um is true; expected a number"),
        ('{"pixel_size_um": null}', "pixel_size_um is null; expected a number"),
        ('{"n_folds": 64.5}', "n_folds is 64.5; expected a whole number"),
        ('{"n_folds": true}', "n_folds is true; expected a whole number"),
        ('{"name": 3}', "name is 3; expected text"),
        ("[0.32]", 'found [0.32]; expected an object, {"pixel_size_um": …'),
        ("null", "found null; expected an object"),
        ("{pixel_size_um: 0.32}", "is no JSON file in UTF-8"),
        ("", "is no JSON file in UTF-8"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / "dataset.json"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        check_settings(parse_json(path), KINDS, path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_needed_must_be_there():
    with pytest.raises(ValueError, match="crops: no key name; expected text"):
        check_settings({"n_folds": 3}, KINDS, "crops", required=["name"])
