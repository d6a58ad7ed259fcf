"""Parameters of notebooks: read from their `parameters` cell, checked and resolved before anything runs."""

import ast
import contextlib
import json
import math
import re
from pathlib import Path

import jupytext

from hpa_utils.checks import EXPECTED, did_you_mean

PATHS = ("masks", "model", "extra_outputs", "exclude_seen_in", "hpacellseg_weights")  # parameters that name a place


def read_parameters(notebook: str | Path) -> dict:
    """Names and default values of a py:percent notebook's `parameters` cell, which holds only ``name = literal``."""
    defaults = {}
    for statement in ast.parse(_parameters_cell(notebook)).body:
        try:
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            defaults[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError):
            where = f"line {statement.lineno} of its parameters cell"
            raise ValueError(f"{notebook}: {where} is not `name: type = literal`") from None
    return defaults


def describe_parameters(notebook: str | Path) -> list[str]:
    """A line a parameter: name, default, and what its comment says."""
    comments = re.findall(r"^(\w+).*?(?:  # (.*))?$", _parameters_cell(notebook), re.MULTILINE)
    defaults = {name: json.dumps(value) for name, value in read_parameters(notebook).items()}
    return [f"{f'{name} = {defaults[name]}':24s}  {comment}".rstrip() for name, comment in comments]


def _parameters_cell(notebook: str | Path) -> str:
    tagged = [cell for cell in jupytext.read(notebook).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{notebook}: expected one cell tagged parameters, found {len(tagged)}")
    return tagged[0].source


def absolute(path: str) -> str:
    """A path as every process understands it; the kernel of a model may run in another folder."""
    return str(Path(path).expanduser().absolute())


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """``["epochs=2", "04.seed=1"]`` as a dict; ValueError if one is not NAME=VALUE."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, sign, _) in zip(texts, pairs):
        if not sign or not name.strip():
            raise ValueError(f"-p {text}: expected NAME=VALUE or 04.NAME=VALUE")
    return {name.strip(): value for name, _, value in pairs}


def resolve(defaults: dict[str, dict], layers: list[dict]) -> dict[str, dict]:
    """Parameters of each selected notebook: its defaults, overridden by each layer in turn.

    A layer holds assignments: ``NAME`` goes to every notebook that has it, ``04.NAME`` to that notebook alone. Text is
    converted to the type of the default. Raises ValueError if no selected notebook has a parameter, or a value is not
    of its type.
    """
    resolved = {notebook: dict(parameters) for notebook, parameters in defaults.items()}
    for layer in layers:
        for key, value in layer.items():
            number, dot, name = key.rpartition(".")
            meant = {n: own for n, own in defaults.items() if not dot or n.startswith(f"{number.zfill(2)}_")}
            targets = [notebook for notebook, own in meant.items() if name in own]
            if not targets:
                raise ValueError(_unknown(key, name, meant, defaults))
            for notebook in targets:
                resolved[notebook][name] = _convert(key, value, defaults[notebook][name])
    return resolved


def _convert(key: str, value, default):
    """`value` as the type of `default`; text is read as a literal of that type."""
    kind, given = type(default), value
    if isinstance(value, str) and kind is not str:
        literal = {"true": "True", "false": "False"}.get(value.lower(), value)
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(literal)
    if kind is float and type(value) is int:
        value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"parameter {key}={given}: expected {EXPECTED.get(kind, kind.__name__)}, such as {default!r}")
    return absolute(value) if value and key.rpartition(".")[2] in PATHS else value


def _unknown(key: str, name: str, meant: dict[str, dict], selected: dict[str, dict]) -> str:
    if not meant:
        return f"parameter {key}: its notebook is not one of {', '.join(selected)}"
    known = dict.fromkeys(name for parameters in meant.values() for name in parameters)
    return f"no selected notebook has a parameter {name!r} (given as {key}){did_you_mean(name, known)}"
