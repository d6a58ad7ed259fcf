"""``index.html`` of an output root: the score, what each stage did, and links to the executed notebooks."""

import html
import json
from pathlib import Path

from hpa_utils.labels import CLASS_NAMES
from hpa_utils.manifest import read_manifest
from hpa_utils.paths import atomic_write

TITLES = {
    "01_eda": "Exploring the data set",
    "02_segmentation": "Finding the cells",
    "03_cell_crops": "One masked crop a cell",
    "04_train": "Learning cells from field labels",
    "05_inference": "Predictions and submission",
    "06_explore": "What the model sees",
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733 }
h1 { font-size: 1.5rem } a { color: #0b62a4 } table { border-collapse: collapse; width: 100% }
td, th { padding: .3rem .6rem; border-bottom: 1px solid #dfe5ea; text-align: left; vertical-align: top }
.score { font-size: 2.4rem; margin: 0 } .quiet { color: #5c6b7a } .bar { background: #2a8c4a; height: .7rem }
td.number { text-align: right; font-variant-numeric: tabular-nums }
"""


def write_index(out: str | Path) -> Path:
    """Write the page from what the runs left in their folders; returns its path."""
    out = Path(out)
    body = "".join(_row(out, stage) for stage in TITLES if stage != "06_explore" or (out / stage).is_dir())
    page = (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Single cells of the Human Protein Atlas</title><style>{STYLE}</style>"
        f"<h1>Single cells of the Human Protein Atlas</h1>{_scores(out)}"
        f"<h2>Notebooks</h2><table>{body}</table></html>\n"
    )
    with atomic_write(out / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "index.html"


def _row(out: Path, stage: str) -> str:
    """A row a run of the notebook; the notebook alone where it has not run."""
    named = sorted(path.parent.relative_to(out).as_posix() for path in out.glob(f"{stage}/*/manifest.json"))
    return "".join(_run_row(out, stage, run) for run in named or [stage])


def _run_row(out: Path, stage: str, run: str) -> str:
    found, title = read_manifest(out / run), html.escape(TITLES[stage])
    title += f": {html.escape(run.partition('/')[2])}" if "/" in run else ""
    if (out / run / f"{stage}.html").is_file():
        title = f"<a href='{run}/{stage}.html'>{title}</a>"
    counts = ", ".join(f"{_number(value)} {html.escape(name)}" for name, value in found.get("counts", {}).items())
    aside = len(found.get("set_aside", []))
    counts += f"; <b>{aside} fields set aside</b>" if aside else ""
    if (out / run / "report.html").is_file():
        counts += f"; <a href='{run}/report.html'>look at the cells</a>"
    state = counts or html.escape(found.get("paused", "not run, or not finished"))
    return f"<tr><td>{stage[:2]}</td><td>{title}</td><td class='quiet'>{state}</td></tr>"


def _scores(out: Path) -> str:
    path = out / "05_inference" / "scores.json"
    if not path.is_file() or not read_manifest(path.parent).get("complete"):
        return "<p class='quiet'>No score: the data set has no cell-level truth, or 05 has not run.</p>"
    scores = json.loads(path.read_text())
    rows = []
    for number, name in enumerate(CLASS_NAMES):
        value = scores["average_precision"][str(number)]
        shown = "no truth" if value is None else f"{value:.3f}"
        bar = f"<div class='bar' style='width:{100 * (value or 0):.0f}%'></div>"
        rows.append(f"<tr><td>{number} {name}</td><td class='number'>{shown}</td><td style='width:40%'>{bar}</td></tr>")
    return (
        f"<p class='score'>{scores['mean_average_precision']:.4f}</p>"
        "<p class='quiet'>mean average precision of single cells at mask IoU 0.6 over the 19 classes</p>"
        f"<details><summary>By class</summary><table>{''.join(rows)}</table></details>"
    )


def _number(value) -> str:
    return f"{value:,}" if isinstance(value, int) else html.escape(str(value))
