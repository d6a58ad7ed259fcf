"""Parameters of notebooks: read from their `parameters` cell, checked and resolved before anything runs."""

import ast
import json
from pathlib import Path

import jupytext


def read_parameters(notebook: str | Path) -> dict:
    """Names and default values of a py:percent notebook's `parameters` cell, which holds only ``name = literal``."""
    cells = jupytext.read(notebook).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{notebook}: expected one cell tagged parameters, found {len(tagged)}")
    defaults = {}
    for statement in ast.parse(tagged[0].source).body:
        try:
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            defaults[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError):
            where = f"line {statement.lineno} of its parameters cell"
            raise ValueError(f"{notebook}: {where} is not `name: type = literal`") from None
    return defaults


def read_preset(path: str | Path, name: str) -> dict:
    """A preset's assignments, `{"NAME" or "04.NAME": value}`, and its lists of runs under the numbers of notebooks."""
    presets = json.loads(Path(path).read_text())
    if name not in presets:
        raise ValueError(f"preset {name!r} is unknown; there are {', '.join(presets)}")
    return presets[name]


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """``["epochs=2", "04.seed=1"]`` as a dict; ValueError if one is not NAME=VALUE."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, sign, _) in zip(texts, pairs):
        if not sign or not name.strip():
            raise ValueError(f"-p {text}: expected NAME=VALUE or 04.NAME=VALUE")
    return {name.strip(): value for name, _, value in pairs}


def resolve(defaults: dict[str, dict], layers: list[dict]) -> dict[str, dict]:
    """Parameters of each selected notebook: its defaults, overridden by each layer in turn.

    Parameters
    ----------
    defaults : dict
        Notebook name → its parameters.
    layers : list of dict
        Assignments: ``NAME`` goes to every notebook that has it, ``04.NAME`` to that notebook alone. Text is
        converted to the type of the default.

    Raises
    ------
    ValueError
        If no selected notebook has a parameter, or a value is not of its type.
    """
    resolved = {notebook: dict(parameters) for notebook, parameters in defaults.items()}
    for layer in layers:
        for key, value in layer.items():
            number, dot, name = key.rpartition(".")
            targets = [n for n in defaults if name in defaults[n] and (not dot or n.startswith(f"{number}_"))]
            if not targets:
                raise ValueError(_unknown(key, name, defaults))
            for notebook in targets:
                resolved[notebook][name] = _convert(key, value, defaults[notebook][name])
    return resolved


def _convert(key: str, value, default):
    """`value` as the type of `default`; text is read as a literal of that type."""
    kind = type(default)
    if kind is str:
        return str(value)
    if isinstance(value, str):
        literal = {"true": "True", "false": "False"}.get(value.lower(), value)
        try:
            value = ast.literal_eval(literal)
        except (ValueError, SyntaxError):
            raise ValueError(f"parameter {key}={value}: expected {kind.__name__}, such as {default!r}") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not kind:
        raise ValueError(f"parameter {key}={value!r}: expected {kind.__name__}, such as {default!r}")
    return value


def _unknown(key: str, name: str, defaults: dict[str, dict]) -> str:
    owners = {notebook: ", ".join(parameters) for notebook, parameters in defaults.items()}
    known = "; ".join(f"{notebook}: {names}" for notebook, names in owners.items())
    return f"no selected notebook has a parameter {name!r} (given as {key}). There are {known}"
