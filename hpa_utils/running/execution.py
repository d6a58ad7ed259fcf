"""One notebook executed: py:percent → .ipynb → papermill → HTML and its picture, and what is seen of it meanwhile."""

import base64
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import papermill
from jinja2 import FileSystemLoader
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from hpa_utils.paths import atomic_write
from hpa_utils.running.kernel import NotebookKernel, kernel_channels
from hpa_utils.running.parameters import read_parameters

COVER = "cover"  # tag of the cell whose first picture stands for the notebook on the page of results


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
