"""The notebooks in order: py:percent → .ipynb → papermill → HTML, skipping what is finished."""

import contextlib
import logging
import os
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
import papermill
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from hpa_utils import images, manifest
from hpa_utils.dataset import Dataset, open_dataset
from hpa_utils.paths import (
    REPOSITORY,
    atomic_write,
    find_data,
    find_inputs,
    find_model,
    find_stages,
    listed_stages,
    scoring_rerun,
    write_json,
)
from hpa_utils.running.index import write_index
from hpa_utils.running.parameters import parse_assignments, read_parameters, read_preset, resolve
from hpa_utils.segmentation.reference import mask_sizes

NOTEBOOKS = REPOSITORY / "notebooks"
DEFAULT = ("01_eda", "02_segmentation", "03_cell_crops", "04_train", "05_inference")
ALL = (*DEFAULT, "06_explore")  # the last is run only where it is asked for
READS = {  # the earlier stages whose output a notebook reads
    "01_eda": (),
    "02_segmentation": (),
    "03_cell_crops": ("02_segmentation",),
    "04_train": ("02_segmentation", "03_cell_crops"),
    "05_inference": ("02_segmentation", "03_cell_crops", "04_train"),
    "06_explore": ("02_segmentation", "03_cell_crops", "04_train", "05_inference"),
}
# parameters that say where or by whom, not what: paths are known by what they hold
PLACES = ("data", "out", "config", "masks", "model", "more", "not_in", "hpacellseg_weights", "workers", "scheduler")
PLACES += ("deadline",)


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error: which, in which cell, why, and where its executed copy is."""


def run_notebooks(
    data: str = "",
    out: str = "",
    notebooks: str = "",
    preset: str = "",
    segmenter: str = "",
    model: str = "",
    assignments: tuple[str, ...] = (),
) -> Path:
    """Run notebooks in order, each in a kernel of its own.

    Parameters
    ----------
    data, out : str
        Data set root and output root (`paths.find_data`, `paths.find_out`).
    notebooks : str
        Numbers such as ``"02,03"``; empty for 01 to 05.
    preset : str
        Name in ``notebooks/presets.json``.
    segmenter : str
        Overrides the notebook's choice.
    model : str
        Model folder to use instead of training, or several joined by a comma: 04 is left out, 03 crops as the model's
        configuration says, and the train split is left out where there is a test split.
    assignments : tuple of str
        ``NAME=VALUE`` or ``04.NAME=VALUE``.

    Returns
    -------
    Path
        The page with the results, ``index.html`` in the output root.

    Raises
    ------
    ValueError, FileNotFoundError
        Before anything runs: a parameter that no notebook has, a data set that cannot be opened.
    NotebookFailed
    """
    dataset = open_dataset(find_data(data))
    out = Path(out).absolute()
    names = _select(notebooks, bool(model))
    if "04_train" in names and "train" not in dataset.folders:
        raise ValueError(f"{dataset.root} has no train split to learn from: use a trained model, `--model DIR`")
    fixed = {"data": str(dataset.root.resolve()), "out": str(out)}
    if segmenter:
        fixed["02.segmenter"] = segmenter
    if model:
        fixed |= _use_model([Path(folder.strip()).absolute() for folder in model.split(",")], dataset)
    layers = [read_preset(NOTEBOOKS / "presets.json", preset)] if preset else []
    selected = {name: read_parameters(NOTEBOOKS / f"{name}.py") for name in names}
    everywhere = {name: read_parameters(NOTEBOOKS / f"{name}.py") for name in ALL}
    resolve(everywhere, layers)  # a preset speaks of all notebooks, also of those not selected
    layers = [_for_selected(layer, selected) for layer in layers]
    parameters = resolve(selected, [*layers, parse_assignments(list(assignments)), _for_selected(fixed, selected)])
    _echo_cell_output()
    for position, name in enumerate(names, start=1):
        label = f"[{position}/{len(names)}] {name}"
        run = _run_section(name, parameters[name], dataset, out)
        if _is_finished(out / name, run, dataset):
            print(f"{label}: finished before, skipped", flush=True)
            continue
        held = [folder for folder in find_inputs(name) if _is_held(folder, run, dataset)]
        if held:
            print(f"{label}: left out, {held[0]} holds it", flush=True)
            continue
        print(f"{label}: running", flush=True)
        start = time.monotonic()
        changed = {key: value for key, value in parameters[name].items() if value != selected[name][key]}
        _execute(name, changed, out / name)
        _sign(out / name, _run_section(name, parameters[name], dataset, out))
        print(f"{label}: done in {time.monotonic() - start:.0f} s", flush=True)
        write_index(out, _told(out))
    return write_index(out, _told(out))


def _told(out: Path) -> tuple[str, ...]:
    """The stages that the page of an output root tells of."""
    return tuple(name for name in ALL if name in DEFAULT or (out / name).is_dir())


def _select(notebooks: str, with_model: bool) -> list[str]:
    available = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.py"))
    if not available:
        raise FileNotFoundError(f"no notebooks in {NOTEBOOKS}; run from a clone of the repository (`make setup`)")
    wanted = [number.strip() for number in notebooks.split(",")] if notebooks else [name[:2] for name in DEFAULT]
    unknown = [number for number in wanted if number not in {name[:2] for name in available}]
    if unknown:
        raise ValueError(f"no notebook {unknown[0]!r}; there are {', '.join(available)}")
    return [name for name in available if name[:2] in wanted and not (with_model and name == "04_train")]


def _use_model(models: list[Path], dataset: Dataset) -> dict:
    """Assignments that make 03 crop as the models were trained, and 05 and 06 use them."""
    folders = [find_model("", model) for model in models]
    named = ",".join(map(str, folders))
    fixed = {"03.config": str(folders[0] / "config.json"), "05.model": named, "06.model": named}
    if "test" in dataset.folders:
        fixed |= {"splits": "test"}
    return fixed


def _for_selected(layer: dict, selected: dict[str, dict]) -> dict:
    """The assignments of a layer that concern a selected notebook."""
    kept = {}
    for key, value in layer.items():
        number, _, name = key.rpartition(".")
        if any(name in parameters and n.startswith(number) for n, parameters in selected.items()):
            kept[key] = value
    return kept


def _run_section(name: str, parameters: dict, dataset: Dataset, out: Path) -> dict:
    """What a finished notebook is recognised by: source, parameters, format and the fingerprints of its input."""
    inputs = {f"data/{split}": manifest.split_fingerprint(dataset, split) for split in dataset.folders}
    if name in ("04_train", "05_inference", "06_explore"):
        truths = [path for split in dataset.folders if (path := dataset.truth_path(split))]
        inputs |= {path.name: manifest.digest(path) for path in [*truths, dataset.root / "cell_scores.csv"]}
    for stage in READS[name]:
        if stage == "04_train" and parameters.get("model"):
            models = [Path(folder.strip()) for folder in parameters["model"].split(",")]
            named = [model / name for model in models for name in ("config.json", "calibration.json")]
            files = named + [path for model in models for path in sorted(model.glob("*.keras"))]
            inputs[stage] = manifest.digest([[path.name, manifest.digest(path)] for path in files])
            continue
        try:
            folders = find_stages(out, stage) + listed_stages(parameters.get("more", ""), stage)
            inputs[stage] = manifest.digest([manifest.stage_digest(folder) for folder in folders])
        except FileNotFoundError:
            inputs[stage] = ""  # the notebook itself will say what is missing
    if parameters.get("not_in"):
        others = listed_stages(parameters["not_in"], "02_segmentation")
        inputs["not_in"] = manifest.digest([manifest.stage_digest(folder) for folder in others])
    masks = Path(parameters.get("masks") or dataset.root / "masks")
    if parameters.get("segmenter") == "masks" and masks.is_dir():
        inputs["masks"] = manifest.digest(mask_sizes(masks))
    if parameters.get("config"):
        inputs["config"] = manifest.digest(Path(parameters["config"]))
    return {
        "format": manifest.FORMAT,
        "source": manifest.digest(NOTEBOOKS / f"{name}.py"),
        "parameters": {key: value for key, value in parameters.items() if key not in PLACES},
        "inputs": inputs,
    }


def _is_finished(stage: Path, run: dict, dataset: Dataset) -> bool:
    found = manifest.read_manifest(stage)
    if not manifest.is_whole(stage) or found.get("run") != run or not (stage / f"{stage.name}.html").is_file():
        return False
    if scoring_rerun():
        return False
    return images.set_aside_unchanged(dataset.folders, found.get("set_aside", []))


def _is_held(attached: Path, run: dict, dataset: Dataset) -> bool:
    """Whether an attached output has this stage: made alike, or by a notebook run by itself, which signs nothing."""
    found = manifest.read_manifest(attached)
    if not manifest.is_whole(attached) or found.get("run", run) != run or scoring_rerun():
        return False
    return images.set_aside_unchanged(dataset.folders, found.get("set_aside", []))


def _sign(stage: Path, run: dict) -> None:
    content = manifest.read_manifest(stage)
    if not content.get("complete"):
        raise NotebookFailed(f"{stage.name} ended without writing {stage / 'manifest.json'}")
    write_json(stage / "manifest.json", {**content, "run": run})


def _execute(name: str, parameters: dict, stage: Path) -> None:
    stage.mkdir(parents=True, exist_ok=True)
    executed, source = stage / f"{name}.ipynb", stage / f".{name}.source.ipynb"
    nbformat.write(jupytext.read(NOTEBOOKS / f"{name}.py"), source)
    try:
        with _kernel_channels() as channels:
            papermill.execute_notebook(
                source,
                executed,
                parameters,
                kernel_name="python3",
                progress_bar=False,
                log_output=True,
                config=channels,
            )
    except PapermillExecutionError as error:
        first_line = error.source.strip().partition("\n")[0]
        raise NotebookFailed(
            f"{name} failed in cell [{error.exec_count}] ({first_line}): {error.ename}: {error.evalue}\n"
            f"executed so far: {executed}"
        ) from None
    except RuntimeError as error:  # the kernel died: out of memory, mostly
        raise NotebookFailed(f"{name} failed: {error}\nexecuted so far: {executed}") from None
    finally:
        source.unlink()
        if executed.is_file():
            _write_html(executed)


@contextlib.contextmanager
def _kernel_channels():
    """Where a kernel is talked to: sockets in a folder of their own, which others cannot listen to, not TCP ports."""
    if os.name != "posix":
        yield Config()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})


def _write_html(executed: Path) -> None:
    exporter = HTMLExporter(template_name="lab")
    body, _ = exporter.from_filename(str(executed))
    with atomic_write(executed.with_suffix(".html")) as temporary:
        temporary.write_text(body)


class _Echo(logging.Handler):
    """Prints what a running cell prints, indented, and leaves out papermill's own bookkeeping."""

    def emit(self, record):
        text = record.getMessage()
        if not text.startswith(("Executing ", "Ending ", "Input Notebook", "Output Notebook", "<Figure")):
            for line in text.replace("\r", "\n").splitlines():
                if line.strip():
                    print(f"    {line.rstrip()}", flush=True)


def _echo_cell_output() -> None:
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # silences a debugger's warning at kernel start
    logger = logging.getLogger("papermill")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [_Echo()]
