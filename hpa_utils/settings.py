"""Settings from JSON files: every key known, every value of its type."""

import difflib
import json
from collections.abc import Iterable
from pathlib import Path

EXPECTED = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "an object"}


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
