"""The notebooks in order, a run at a time or models side by side."""

import contextlib
import fnmatch
import functools
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue

from hpa_utils import manifest, model_folders
from hpa_utils.checks import did_you_mean, parse_json
from hpa_utils.dataset import Dataset, open_dataset
from hpa_utils.paths import REPOSITORY, atomic_write, find_data, find_named, hold
from hpa_utils.running.execution import NotebookFailed, execute, write_index
from hpa_utils.running.kernel import clean_environment
from hpa_utils.running.parameters import absolute, parse_assignments, read_parameters, resolve
from hpa_utils.running.runs import (
    NOTEBOOKS,
    Run,
    check_parameters,
    devices,
    held_by_input,
    is_finished,
    plan_runs,
    signature,
    write_plan,
)

SOURCES = REPOSITORY / "notebooks"
ALONE = "HPA_RUN_ALONE"  # set for children that train one model each, while their parent holds the output root


def run_notebooks(
    data: str = "", out: str = "", notebooks: str = "", runs: str = "", force: bool = False, **options
) -> Path:
    """Run notebooks in order, each in a kernel of its own.

    The options, of which `plan` has the others, are those of ``python -m hpa_utils run``: notebooks as ``"02,03"``,
    names of runs joined by a comma, folds as ``"0,1"``, assignments as ``NAME=VALUE`` or ``04.NAME=VALUE``. With a
    `model` (a folder, a folder of several, or ``"attached"`` for those that the output root and Kaggle's inputs hold)
    04 is left out, 03 crops as the models were trained, and the train split is left out where there is a test split.

    Returns the page with the results, ``index.html`` in the output root. Raises ValueError or FileNotFoundError before
    anything runs: a parameter that no notebook has, a data set that cannot be opened, a run that is finished with other
    parameters; RuntimeError if another process works on this output root; `NotebookFailed` if a notebook stops with an
    error.
    """
    dataset, out = open_dataset(find_data(data)), Path(out).expanduser().absolute()
    for written in out.glob("*/manifest.json"):
        manifest.check_format(manifest.read_json(written).get("format"), written.parent)
    planned = plan(dataset, out, notebooks, **options)
    chosen = select_runs(planned, runs)
    if not force:
        for run in chosen:
            check_parameters(run, run.folder(out))
    with contextlib.nullcontext() if os.environ.get(ALONE) else hold(out):
        write_plan(out, planned)
        _run_in_order(chosen, dataset, out, force)
        return write_index(out)


def _run_in_order(chosen: list[Run], dataset: Dataset, out: Path, force: bool) -> None:
    """Execute what is not finished; models of one round side by side where there are several devices."""
    done, waiting = 0, []
    for _, wave in groupby(chosen, key=lambda run: (run.notebook, run.training_round)):
        if any(manifest.read_manifest(run.folder(out)).get("paused") for run, _ in waiting):
            print("what comes next needs all of these models: the same command goes on", flush=True)
            break
        waiting = []
        for run in wave:
            done += 1
            label = f"[{done}/{len(chosen)}] {run}"
            if not _is_done(run, dataset, out, label, force):
                waiting.append((run, label))
        places = devices() if waiting and waiting[0][0].notebook == "04_train" else ["0"]
        if len(waiting) > 1 and len(places) > 1:
            _execute_side_by_side([run for run, _ in waiting], places, dataset, out, force)
        else:
            for run, label in waiting:
                _execute_here(run, dataset, out, label)
        write_index(out)


def plan(
    dataset: Dataset,
    out: Path,
    notebooks: str = "",
    preset: str = "",
    segmenter: str = "",
    model: str = "",
    folds: str = "",
    rounds: int = 0,
    assignments: tuple[str, ...] = (),
) -> list[Run]:
    """All runs that these options (`run_notebooks`) make, finished or not."""
    names = numbered(notebooks)
    fixed, crop_sets = {"data": str(dataset.root.resolve()), "out": str(out)}, []
    if segmenter:
        fixed["02.segmenter"] = segmenter
    if model:
        names = [name for name in names if name != "04_train"]
        chosen = "" if model == "attached" else absolute(model)
        folders = model_folders.find_models(out, chosen)
        sets = {manifest.read_config(folder)["crops"]["name"]: folder for folder in folders}
        crop_sets = [{"name": name, "model": str(folder)} for name, folder in sets.items()]
        fixed |= {"05.model": chosen, "06.model": str(folders[0])}
        fixed |= {"splits": "test"} if "test" in dataset.folders else {}
    if "04_train" in names and "train" not in dataset.folders:
        raise ValueError(f"{dataset.root} has no train split to learn from: use a trained model, `--model DIR`")
    there = sorted(find_named(out, "03_cell_crops"))
    return preset_runs(names, preset, parse_assignments(list(assignments)), folds, rounds, fixed, crop_sets, there)


def preset_runs(
    names: list[str],
    preset: str,
    given: dict,
    folds: str = "",
    rounds: int = 0,
    fixed: dict | None = None,
    crop_sets: list[dict] = (),
    there: list[str] = (),
) -> list[Run]:
    """The runs of the named notebooks by a preset; no data set is looked at.

    Over the preset's assignments come the `given` ones, and over these the `fixed` ones, which nobody may choose. Crop
    sets given here take the place of the preset's.
    """
    everywhere = _defaults(SOURCES)
    selected = {name: everywhere[name] for name in names}
    presets = parse_json(SOURCES / "presets.json")
    if preset and preset not in presets:
        raise ValueError(f"no preset {preset}{did_you_mean(preset, presets)}")
    chosen = presets.get(preset, {})
    members, listed = chosen.pop("04", []), chosen.pop("03", [])
    resolve(everywhere, [chosen])  # a preset speaks of all notebooks, also of those not selected
    resolve(selected, [given])
    try:
        numbers = [int(fold) for fold in folds.split(",")] if folds else None
    except ValueError:
        raise ValueError(f"folds are {folds!r}; expected numbers joined by a comma, such as 0,1") from None
    return plan_runs(selected, [chosen, given, fixed or {}], crop_sets or listed, members, numbers, rounds, there)


@functools.cache
def _defaults(sources: Path) -> dict[str, dict]:
    """Name of each notebook → its parameters and their defaults; parsing the sources takes a moment."""
    return {name: read_parameters(sources / f"{name}.py") for name in NOTEBOOKS}


def numbered(notebooks: str) -> list[str]:
    """The notebooks of these numbers or names, joined by a comma, in order; 01 to 05 for none."""
    names = {name[:2]: name for name in NOTEBOOKS} | {name: name for name in NOTEBOOKS}
    given = [text.strip().zfill(2) for text in (notebooks or "01,02,03,04,05").split(",")]
    unknown = [text for text in given if text not in names]
    if unknown:
        raise ValueError(f"no notebook {unknown[0]}{did_you_mean(unknown[0], NOTEBOOKS)}")
    if not SOURCES.is_dir():
        raise FileNotFoundError(f"no notebooks in {SOURCES}; run from a clone of the repository (`make setup`)")
    wanted = {names[text] for text in given}
    return [name for name in NOTEBOOKS if name in wanted]


def select_runs(runs: list[Run], names: str) -> list[Run]:
    """Those of the runs whose names, or patterns of names such as ``b0-128-r1-*``, are listed; all for none."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = [run.name or run.notebook for run in runs]
    unknown = [name for name in wanted if not fnmatch.filter(known, name)]
    if unknown:
        raise ValueError(f"no run is called {unknown[0]}{did_you_mean(unknown[0], known)}")
    return [run for run, name in zip(runs, known) if not wanted or any(fnmatch.fnmatch(name, one) for one in wanted)]


def _is_done(run: Run, dataset: Dataset, out: Path, label: str, force: bool) -> bool:
    """Whether a run can be left out, which is said; a round without the models that it needs is an error."""
    if force:
        return False
    signed = signature(run, SOURCES / f"{run.notebook}.py", dataset, out)
    if is_finished(run, signed, dataset, run.folder(out)):
        print(f"{label}: finished before, skipped", flush=True)
        return True
    held = held_by_input(run, signed, dataset)
    if held:
        print(f"{label}: left out, {held} holds it", flush=True)
        if run.notebook == "04_train":
            _keep_model(held, run.folder(out))
    return bool(held)


def _keep_model(held: Path, folder: Path) -> None:
    """Copy a finished model, its manifest last: a kernel's next output takes the place of the one that holds it."""
    for path in sorted(filter(Path.is_file, held.iterdir()), key=lambda path: path.name == "manifest.json"):
        with atomic_write(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)


def _execute_here(run: Run, dataset: Dataset, out: Path, label: str) -> None:
    print(f"{label}: running", flush=True)
    start, folder, source = time.monotonic(), run.folder(out), SOURCES / f"{run.notebook}.py"
    with hold(folder):
        execute(source, run.parameters, folder)
    content, signed = manifest.read_manifest(folder), signature(run, source, dataset, out)
    if content.get("paused"):
        print(f"{label}: {content['paused']}; the same command goes on", flush=True)
    elif not content.get("complete"):
        raise NotebookFailed(f"{run} ended without writing {folder / 'manifest.json'}")
    else:
        manifest.write_json(folder / "manifest.json", {**content, "run": signed})
        print(f"{label}: done in {time.monotonic() - start:.0f} s", flush=True)


def _execute_side_by_side(runs: list[Run], places: list[str], dataset: Dataset, out: Path, force: bool) -> None:
    """Each run in a process of its own that sees one device; as many at a time as there are devices.

    Raises NotebookFailed, naming the runs that failed, when all have ended.
    """
    free = SimpleQueue()
    for place in places:
        free.put(place)

    def execute_alone(run: Run) -> int:
        place = free.get()
        environment = clean_environment() | {"CUDA_VISIBLE_DEVICES": place, "HPA_DEVICES": "1", ALONE: "1"}
        call = [sys.executable, "-m", "hpa_utils", "run", f"--data={dataset.root.absolute()}", f"--out={out}"]
        own = {name: value for name, value in run.parameters.items() if name not in ("data", "out")}
        call += ["--notebooks=04", *(f"-p={name}={value}" for name, value in own.items()), *["--force"] * force]
        child = subprocess.Popen(
            call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", env=environment, cwd=REPOSITORY
        )
        try:
            for line in child.stdout:
                print(f"{run.name}: {line.rstrip()}", flush=True)
            return child.wait()
        finally:
            child.terminate()
            free.put(place)

    with ThreadPoolExecutor(len(places)) as pool:
        codes = list(pool.map(execute_alone, runs))
    failed = [run.name for run, code in zip(runs, codes, strict=True) if code]
    if failed:
        raise NotebookFailed(f"{', '.join(failed)} failed; what is printed above says why")
