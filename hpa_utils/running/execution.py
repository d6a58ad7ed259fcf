"""One notebook executed: py:percent → .ipynb → papermill → HTML and its picture, and ``index.html`` of all."""

import base64
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import papermill
from jinja2 import Environment, FileSystemLoader
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from hpa_utils.labels import CLASS_NAMES
from hpa_utils.manifest import read_json, read_manifest
from hpa_utils.paths import atomic_write
from hpa_utils.running.kernel import kernel_environment
from hpa_utils.running.parameters import read_parameters

COVER = "cover"  # tag of the cell whose first picture stands for the notebook on the page of results
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


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error: which, in which cell and line, why, and where its executed copy is."""


def execute(source: Path, parameters: dict, folder: Path) -> None:
    """Execute a notebook with these parameters; its copies are ``.ipynb``, ``.html`` and ``.png`` in the folder.

    Raises NotebookFailed.
    """
    executed, converted = folder / f"{source.stem}.ipynb", folder / f".{source.stem}.source.ipynb"
    defaults = read_parameters(source)
    changed = {name: value for name, value in parameters.items() if value != defaults[name]}
    printed, failure = Indented(), ""
    try:
        nbformat.write(jupytext.read(source), converted)
        with kernel_channels() as channels:
            papermill.execute_notebook(
                _no_template(converted),
                _no_template(executed),
                changed,
                kernel_name="python3",
                language="python",
                kernel_manager_class=NotebookKernel,
                config=channels,
                coalesce_streams=True,
                progress_bar=False,
                stdout_file=printed,
                stderr_file=printed,
            )
    except PapermillExecutionError as error:
        failure = f"in {_failure(error)}"
    except RuntimeError as error:
        failure = f"with its process: {error}; mostly, memory was short"
    except OSError as error:  # a full disk
        raise OSError(error.errno, error.strerror or str(error), error.filename or str(executed)) from None
    finally:
        converted.unlink(missing_ok=True)
    if executed.is_file():
        _write_pages(executed)
    if failure:
        raise NotebookFailed(f"{source.stem} failed {failure}\nexecuted so far: {executed}")


class NotebookKernel(AsyncKernelManager):
    """Starts the kernel. A kernelspec called python3, which papermill would take, may be of another Python."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-P", "-m", "hpa_utils.running.kernel", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")

    async def start_kernel(self, **options) -> None:
        options["env"] = kernel_environment(Path(self.connection_file).parent)
        await super().start_kernel(**options)


@contextlib.contextmanager
def kernel_channels() -> Iterator[Config]:
    """Where a kernel is talked to: sockets in a folder of their own, which others cannot listen to; else TCP ports."""
    short = "/tmp" if os.access("/tmp", os.W_OK) else None  # TMPDIR may be too long for the path of a socket
    with tempfile.TemporaryDirectory(dir=short, ignore_cleanup_errors=True) as folder:
        sockets = {"transport": "ipc", "ip": f"{folder}/kernel"} if short else {}
        yield Config({"KernelManager": {"connection_file": f"{folder}/kernel.json", **sockets}})


def _no_template(path: Path) -> str:
    """papermill fills names in braces, `{name}`, of a path; here they are a path's own."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _failure(error: PapermillExecutionError) -> str:
    """Cell, line, code and error, in one line."""
    trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    found = re.search(r"^-+> (\d+) (.*)", trace, re.MULTILINE)  # the arrow of its first frame, which is the cell's
    number, line = found.groups() if found else ("", error.source.strip().partition("\n")[0])
    place = f"cell [{error.exec_count}]" + (f" at line {number}" if number else "")
    reason = str(error.evalue).strip().partition("\n")[0]
    return f"{place}, `{line.strip()}`: {error.ename}: {reason}"


def _write_pages(executed: Path) -> None:
    """The page of an executed notebook, which asks no other server for anything, and the picture of its cover."""
    notebook = nbformat.read(executed, as_version=4)
    here = FileSystemLoader(Path(__file__).parent)
    page = HTMLExporter(template_name="lab", template_file="offline.html.j2", extra_loaders=[here])
    body, _ = page.from_notebook_node(notebook, {"metadata": {"name": executed.stem}})
    with atomic_write(executed.with_suffix(".html")) as temporary:
        temporary.write_text(body, encoding="utf-8")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if COVER in cell.metadata.get("tags", [])]
    for cell in [*tagged, *code]:
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                with atomic_write(executed.with_suffix(".png")) as temporary:
                    temporary.write_bytes(base64.b64decode(output["data"]["image/png"]))
                return


class Indented:
    """Standard output with what a notebook prints indented; a progress bar is still drawn over itself."""

    def __init__(self):
        self.begun = False  # whether the line has its indentation

    def write(self, text: str) -> None:
        for piece in re.findall(r"[^\r\n]+|[\r\n]", text):
            sys.stdout.write(piece if self.begun or piece in "\r\n" else f"    {piece}")
            self.begun = piece not in "\r\n"

    def flush(self) -> None:
        sys.stdout.flush()


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
