"""``index.html`` of an output root: the score, and a card a notebook with its figure, what it did, and links."""

import html
import re
from pathlib import Path
from urllib.parse import quote

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
TWO_INTERVALS = """<p class="quiet">The intervals hold 95 % of what comes out when the fields are drawn again and
again, some twice, some not at all. A draw may miss every field of a rare class. The first mean then counts 0 for that
class, the second leaves it out: so one number can have two intervals, and the first reaches lower.</p>"""


def write_index(out: str | Path) -> Path:
    """Write the page from what the runs left in their folders; returns its path."""
    out, style = Path(out), Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    cards = "".join(_card(out, stage) for stage in TITLES if stage != "06_explore" or (out / stage).is_dir())
    page = (
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Single cells of the Human Protein Atlas</title><style>{style}</style>"
        f"<main><h1>Single cells of the Human Protein Atlas</h1>{_scores(out)}"
        f"<h2>Notebooks</h2><div class='cards'>{cards}</div></main></html>\n"
    )
    with atomic_write(out / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "index.html"


def _card(out: Path, stage: str) -> str:
    """The card of a notebook, with a line a run where it has named runs."""
    named = sorted(path.parent.relative_to(out).as_posix() for path in out.glob(f"{stage}/*/manifest.json"))
    runs, title = named or [stage], TITLES[stage]
    pictures = [f"{run}/{stage}.png" for run in runs if (out / run / f"{stage}.png").is_file()]
    picture = "<div class='none'></div>"
    if pictures:
        picture = f"<img src='{quote(pictures[0])}' alt='A figure of the notebook {stage[:2]}, {title}'>"
    told = [_told(out, stage, run) for run in runs]
    body = f"<p>{told[0]}</p>" if not named else "<ul>" + "".join(f"<li>{line}</li>" for line in told) + "</ul>"
    return f"<article>{picture}<h3>{stage[:2]} · {title}</h3>{body}</article>"


def _told(out: Path, stage: str, run: str) -> str:
    """What a run did, and links to its pages."""
    found, links = read_manifest(out / run), []
    if (out / run / f"{stage}.html").is_file():
        links.append(f"<a href='{quote(run)}/{stage}.html'>executed notebook</a>")
    if (out / run / "report.html").is_file():
        links.append(f"<a href='{quote(run)}/report.html'>page of cells</a>")
    counts = [_counted(value, name) for name, value in found.get("counts", {}).items()]
    if found.get("set_aside"):
        counts.append(f"<b>{_counted(len(found['set_aside']), 'fields set aside')}</b>")
    state = ", ".join(counts) or html.escape(found.get("paused", "not run, or not finished"))
    name = f"<b>{html.escape(run.partition('/')[2])}</b>: " if "/" in run else ""
    return f"{name}<span class='quiet'>{state}</span><br>{' · '.join(links)}"


def _scores(out: Path) -> str:
    path = out / "05_inference" / "scores.json"
    scores = read_json(path) if read_manifest(path.parent).get("complete") else {}
    if not scores:
        return "<p class='quiet'>No score: the data set has no cell-level truth, or 05 has not run.</p>"
    rows = []
    for number, name in enumerate(CLASS_NAMES):
        value = scores["average_precision"][str(number)]
        shown = "no truth" if value is None else f"{value:.3f}"
        bar = f"<div class='bar' style='width:{100 * (value or 0):.0f}%'></div>"
        cells = f"<td>{number} {name}</td><td class='number'>{shown}</td><td class='share'>{bar}</td>"
        rows.append(f"<tr>{cells}</tr>")
    intervals, means = scores.get("interval", {}), []
    for name, title in MEANS.items():
        ends = intervals.get(name)
        told = f"<td class='number'>{ends['low']:.4f} … {ends['high']:.4f}</td>" if ends else ""
        means.append(f"<tr><td>{title}</td><td class='number'>{scores[name]:.4f}</td>{told}</tr>")
    return (
        f"<p class='score'>{scores['mean_average_precision']:.4f}</p>"
        "<p>mean average precision of single cells, at mask IoU 0.6</p>"
        f"<table>{''.join(means)}</table>{TWO_INTERVALS if intervals else ''}"
        f"<details><summary>By class</summary><table class='classes'>{''.join(rows)}</table></details>"
    )


def _counted(value, name: str) -> str:
    """``1,234 cells``, ``1 model``."""
    name = re.sub(r"s\b", "", name, count=1) if value == 1 else name
    values = [
        f"{one:,}" if isinstance(one, int) else str(one) for one in (value if isinstance(value, list) else [value])
    ]
    return html.escape(f"{', '.join(values)} {name}")
