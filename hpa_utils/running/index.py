"""``index.html`` of an output root: the score, and a card a notebook with its figure, what it did, and links."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from hpa_utils.labels import CLASS_NAMES
from hpa_utils.manifest import read_json, read_manifest
from hpa_utils.paths import atomic_write

TITLES = {
    "01_eda": "Exploring the data set",
    "02_segmentation": "Finding the cells",
    "03_cell_crops": "One masked crop a cell",
    "04_train": "Learning cells from field labels",
    "05_inference": "Predictions and submission",
    "06_explore": "What the model sees",
}
MEANS = {
    "mean_average_precision": "all 19 classes, as in the competition",
    "mean_over_classes_with_truth": "the classes that have true cells here",
}


def write_index(out: str | Path) -> Path:
    """Write the page from what the runs left in their folders; returns its path."""
    out = Path(out)
    cards = [_card(out, stage) for stage in TITLES if stage != "06_explore" or (out / stage).is_dir()]
    finished = read_manifest(out / "05_inference").get("complete")
    scores = read_json(out / "05_inference" / "scores.json") if finished else {}
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    given = {"cards": cards, "scores": scores, "means": MEANS, "classes": CLASS_NAMES}
    with atomic_write(out / "index.html") as temporary:
        temporary.write_text(pages.get_template("index.html.j2").render(given), encoding="utf-8")
    return out / "index.html"


def _card(out: Path, stage: str) -> dict:
    """What the card of a notebook shows: a figure, and each of its runs."""
    named = sorted(path.parent.relative_to(out).as_posix() for path in out.glob(f"{stage}/*/manifest.json"))
    runs = named or [stage]
    pictures = [f"{run}/{stage}.png" for run in runs if (out / run / f"{stage}.png").is_file()]
    picture = pictures[0] if pictures else ""
    return {"stage": stage, "title": TITLES[stage], "picture": picture, "runs": [_run(out, stage, run) for run in runs]}


def _run(out: Path, stage: str, run: str) -> dict:
    """What a run did, and its pages: text → link."""
    found = read_manifest(out / run)
    counts = [_counted(value, name) for name, value in found.get("counts", {}).items()]
    aside = _counted(len(found["set_aside"]), "fields set aside") if found.get("set_aside") else ""
    pages = {"executed notebook": f"{run}/{stage}.html", "page of cells": f"{run}/report.html"}
    links = {text: page for text, page in pages.items() if (out / page).is_file()}
    state = ", ".join(counts) or found.get("paused", "not run, or not finished")
    return {"name": run.partition("/")[2], "state": state, "set_aside": aside, "links": links}


def _counted(value, name: str) -> str:
    """``1,234 cells``, ``1 model``."""
    name = re.sub(r"s\b", "", name, count=1) if value == 1 else name
    values = value if isinstance(value, list) else [value]
    return f"{', '.join(f'{one:,}' if isinstance(one, int) else str(one) for one in values)} {name}"
