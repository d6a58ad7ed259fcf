"""Checks of what comes in: arrays, which of another kind give wrong results instead of errors, and settings in JSON."""

import difflib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

EXPECTED = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "an object"}


def check_pixels(pixels: np.ndarray, what: str, axes: int = 3, channels: int = 4) -> None:
    """Raise TypeError unless the array is uint8 with so many axes, the last the channels."""
    if _kind(pixels, axes) != "u" or pixels.dtype != np.uint8 or pixels.shape[-1] != channels:
        remedy = "scale them to 0…255, round, and convert by .astype(numpy.uint8)"
        _refuse(pixels, what, f"uint8 with {axes} axes, the last of {channels} channels; {remedy}")


def check_mask(mask: np.ndarray) -> None:
    """Raise TypeError unless the array is the mask of one cell, (H, W), bool or integers 0 and 1."""
    kind = _kind(mask, 2)
    if kind != "b" and not (kind in ("i", "u") and np.isin(mask, (0, 1)).all()):
        _refuse(mask, "mask", "bool (H, W); compare first, such as probabilities > 0.5, labels == number, grey > 0")


def check_labels(labels: np.ndarray, what: str, shape: tuple | None = None) -> None:
    """Raise TypeError unless the array is an image of integers, and of that shape if one is given."""
    if _kind(labels, 2) not in ("i", "u") or shape not in (None, labels.shape):
        _refuse(
            labels, what, f"integers of {size_text(shape or 'HW')}, 0 background, and each cell a number of its own"
        )


def _kind(array, axes):
    return array.dtype.kind if isinstance(array, np.ndarray) and array.ndim == axes else ""


def _refuse(array, what, expected):
    found = f"{array.dtype} of {size_text(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
    raise TypeError(f"{what}: found {found}; expected {expected}")


def size_text(shape) -> str:
    """A shape for people: 96 × 128."""
    return " × ".join(map(str, shape))


def parse_json(path: str | Path):
    """The value in a JSON file; ValueError names the file."""
    try:
        return json.loads(Path(path).read_bytes())  # bytes: with or without a byte order mark
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file in UTF-8 ({error}); correct it there") from None


def check_settings(content, kinds: dict[str, type], where: str | Path, required: Iterable[str] = ()) -> dict:
    """A JSON value as it came, if it is an object of known keys (`kinds`: key → type); else ValueError names the key.

    Whole numbers pass as float, anything as object. `where` is named in the message; `required` keys must be there.
    """
    if not isinstance(content, dict):
        example = ", ".join(f'"{name}": …' for name in kinds)
        raise ValueError(f"{where}: found {json.dumps(content)[:40]}; expected an object, {{{example}}}")
    for name in required:
        if name not in content:
            raise ValueError(f"{where}: no key {name}; expected {EXPECTED[kinds[name]]}")
    for name, value in content.items():
        if name not in kinds:
            raise ValueError(f"{where}: unknown key {name}{did_you_mean(name, kinds)}")
        kind = kinds[name]
        if kind is not object and type(value) is not kind and not (kind is float and type(value) is int):
            raise ValueError(f"{where}: {name} is {json.dumps(value)[:40]}; expected {EXPECTED[kind]}")
    return content


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest of the known ones, or all of them."""
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
