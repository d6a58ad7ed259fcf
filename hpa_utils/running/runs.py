"""Runs: a notebook, a name and parameters; what a preset lists of crop sets and models becomes a run each."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hpa_utils import images, manifest, model_folders
from hpa_utils.dataset import Dataset
from hpa_utils.paths import HAND_MADE, find_beside, find_inputs, find_named, find_stages, run_name, scoring_rerun
from hpa_utils.running.parameters import resolve
from hpa_utils.segmentation.masks_elsewhere import mask_sizes

NOTEBOOKS = ("01_eda", "02_segmentation", "03_cell_crops", "04_train", "05_inference", "06_explore")
# parameters that say where or by whom, not what: paths are known by what they hold
PLACES = ("data", "out", "masks", "model", "extra_outputs", "exclude_seen_in", "hpacellseg_weights")
PLACES += ("workers", "scheduler", "deadline")


@dataclass(frozen=True)
class Run:
    """One execution of a notebook."""

    notebook: str  # such as 04_train
    name: str  # of its folder within the notebook's; empty where a notebook has only one
    parameters: dict  # all of them
    training_round: int = 0  # runs of a round need those of the one before; 0 where there are no rounds

    def __str__(self):
        return f"{self.notebook}/{self.name}" if self.name else self.notebook

    def folder(self, out: Path) -> Path:
        """Where it writes."""
        return out / self.notebook / self.name


def plan_runs(
    defaults: dict[str, dict],
    layers: list[dict],
    crop_sets: list[dict] = (),
    members: list[dict] = (),
    folds: list[int] | None = None,
    rounds: int = 0,
    there: list[str] = (),
) -> list[Run]:
    """The runs of the selected notebooks, in order.

    `defaults` has each selected notebook's parameters, `layers` are assignments (`parameters.resolve`), the first being
    the preset's. `crop_sets` and `members` are the preset's, too: parameters of 03 for each crop set; parameters of 04
    for each member, with its `folds` and `rounds` (none: one crop set, one member of fold 0 and round 1). `folds` and
    `rounds` take the place of every member's own; a round before the last trains all folds, since the next needs their
    scores. `there` has the names of the crop sets of earlier runs: a member that names none learns the only one.

    Raises ValueError if a parameter is unknown or of the wrong type, or two runs have the same name.
    """
    runs = []
    for notebook, own in defaults.items():
        if notebook == "03_cell_crops":
            for crop_set in crop_sets or [{}]:
                parameters = _resolved(notebook, own, layers, crop_set)
                name = parameters["name"] or str(parameters["size"])
                runs.append(Run(notebook, name, parameters | {"name": name}))
        elif notebook == "04_train":
            names = [run.name for run in runs if run.notebook == "03_cell_crops"] or there
            for member in members or [{}]:
                runs += _member_runs(
                    own, layers, {"crops": names[0] if len(names) == 1 else "", **member}, folds, rounds
                )
        else:
            runs.append(Run(notebook, "", _resolved(notebook, own, layers, {})))
    names = [str(run) for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two runs are called {name}: give the members of the preset different names")
        if not re.fullmatch(r"\w+(/[^./\\,][^/\\,]*)?", name):
            raise ValueError(f"{name.partition('/')[2]} is no name for a run: take letters, digits, hyphens and dots")
    return sorted(runs, key=lambda run: (run.notebook, run.training_round))


def _member_runs(own: dict, layers: list[dict], member: dict, folds: list[int] | None, rounds: int) -> list[Run]:
    own_folds, own_rounds = member.pop("folds", None), member.pop("rounds", 1)
    listed = isinstance(own_folds, list | None) and all(type(fold) is int for fold in own_folds or [])
    if not listed or type(own_rounds) is not int:
        raise ValueError(f"a preset's folds are {own_folds}, its rounds {own_rounds}; expected such as [0, 1] and 2")
    parameters = _resolved("04_train", own, layers, member)
    name = parameters["name"] or f"{parameters['backbone']}-{parameters['crops']}".rstrip("-")
    last = rounds or max(own_rounds, parameters["training_round"])
    wanted = folds if folds is not None else own_folds or [parameters["fold"]]
    first = 1 if rounds or own_rounds > 1 else last
    runs = []
    for number in range(first, last + 1):
        for fold in wanted if number == last else range(parameters["n_folds"]):
            if not -1 <= fold < parameters["n_folds"]:
                raise ValueError(f"fold {fold} of {name}: expected 0…{parameters['n_folds'] - 1}, or -1 for all fields")
            changed = {"name": name, "training_round": number, "fold": fold}
            runs.append(Run("04_train", run_name(name, number, fold), parameters | changed, number))
    return runs


def _resolved(notebook: str, own: dict, layers: list[dict], listed: dict) -> dict:
    """Parameters of one notebook: the preset's, over them those of its list, over them the others."""
    first, *others = layers or [{}]
    listed = {f"{notebook[:2]}.{name}": value for name, value in listed.items()}
    return resolve({notebook: own}, [_of(notebook, own, layer) for layer in (first, listed, *others)])[notebook]


def _of(notebook: str, own: dict, layer: dict) -> dict:
    """The assignments of a layer that concern a notebook; of names that it lacks only those addressed to it."""
    meant = {key: notebook.startswith(key.partition(".")[0].zfill(2)) if "." in key else key in own for key in layer}
    return {key: value for key, value in layer.items() if meant[key]}


def write_plan(out: Path, runs: list[Run]) -> None:
    """Add the planned models to ``04_train/plan.json``, by which 05 knows when a round is complete."""
    path, planned = out / "04_train" / model_folders.PLAN, [run.name for run in runs if run.notebook == "04_train"]
    if planned:
        earlier = manifest.read_json(path).get("models", [])
        manifest.write_json(path, {"models": sorted({*earlier, *planned})})


def signature(run: Run, source: Path, dataset: Dataset, out: Path) -> dict:
    """What a finished run is recognised by: source, parameters, format and the fingerprints of its input."""
    return {
        "format": manifest.FORMAT,
        "source": manifest.digest(source),
        "parameters": _told(run),
        "inputs": _inputs(run, dataset, out),
    }


def _told(run: Run) -> dict:
    """The parameters that decide what is made."""
    return {key: value for key, value in run.parameters.items() if key not in PLACES}


def check_parameters(run: Run, folder: Path) -> None:
    """Raise ValueError, naming what differs, if a folder holds the run finished with other parameters.

    What one has waited for is not overwritten unasked, whether or not the input is still the same.
    """
    if not manifest.is_whole(folder) or scoring_rerun():
        return
    before, now = manifest.read_manifest(folder).get("run", {}).get("parameters", {}), _told(run)
    changes = [f"{name} was {json.dumps(before[name])}, is {json.dumps(value)}" for name, value in now.items()
               if before.get(name, value) != value]  # fmt: skip
    if changes:
        other = "another name or output root" if run.name else "another output root"
        raise ValueError(
            f"{run} is finished with other parameters ({'; '.join(changes)}): "
            f"take {other}, or make it anew with --force"
        )


def is_finished(run: Run, signed: dict, dataset: Dataset, folder: Path, by_itself: bool = False) -> bool:
    """Whether a folder holds the run, made from the same; `by_itself`: also if made without the runner."""
    found = manifest.read_manifest(folder)
    if not manifest.is_whole(folder) or scoring_rerun():
        return False
    unchanged = images.set_aside_unchanged(dataset.folders, dataset.files, found.get("set_aside", []))
    if by_itself and "run" not in found:
        return unchanged
    return found.get("run") == signed and unchanged and (by_itself or (folder / f"{run.notebook}.html").is_file())


def held_by_input(run: Run, signed: dict, dataset: Dataset) -> Path | None:
    """The attached output, on Kaggle, that has this run already."""
    held = (folder for folder in find_inputs(str(run)) if is_finished(run, signed, dataset, folder, by_itself=True))
    return next(held, None)


def devices() -> list[str]:
    """What models are trained on side by side: the GPUs, or as many processes as ``HPA_DEVICES`` says.

    ``HPA_DEVICES`` is a number of devices, or their names joined by commas, as in ``CUDA_VISIBLE_DEVICES``.
    """
    wanted = os.environ.get("HPA_DEVICES", "")
    if wanted:
        return [str(number) for number in range(int(wanted))] if wanted.isdigit() else wanted.split(",")
    if not shutil.which("nvidia-smi"):
        return ["0"]
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU")] or ["0"]


def _inputs(run: Run, dataset: Dataset, out: Path) -> dict[str, str]:
    """Fingerprints of all that a run reads; empty where it is missing, which the notebook itself will say."""
    own, inputs = run.parameters, {f"data/{s}": manifest.split_fingerprint(dataset, s) for s in dataset.folders}
    if run.notebook in ("04_train", "05_inference", "06_explore"):
        truths = [path for split in dataset.folders if (path := dataset.truth_path(split))]
        made = [find_beside(dataset.root, name) for name in (*HAND_MADE, "samples.csv")]
        inputs |= {path.name: manifest.digest(path) for path in [*truths, *made]}
    masks = Path(own.get("masks") or dataset.root / "masks")
    if run.notebook == "02_segmentation" and own["segmenter"] == "masks" and masks.is_dir():
        inputs["masks"] = manifest.digest(mask_sizes(masks))
    if run.notebook >= "03":
        inputs["02_segmentation"] = _stage(out, "02_segmentation", own.get("extra_outputs", ""))
    if run.notebook == "03_cell_crops":
        inputs["exclude_seen_in"] = _stage(own["exclude_seen_in"], "02_segmentation") if own["exclude_seen_in"] else ""
        inputs["model"] = manifest.digest(Path(own["model"]) / "config.json") if own["model"] else ""
    if run.notebook == "04_train":
        inputs["crops"] = _stage(out, f"03_cell_crops/{own['crops']}", own["extra_outputs"])
        teacher = own["teacher"] or own["name"]
        earlier = [run_name(teacher, run.training_round - 1, fold) for fold in range(own["n_folds"])]
        found = find_named(out, "04_train") if run.training_round > 1 else {}
        inputs["round before"] = [manifest.stage_digest(found[name]) for name in earlier if name in found]
    if run.notebook in ("05_inference", "06_explore"):
        inputs["crops"] = sorted(manifest.stage_digest(folder) for folder in find_named(out, "03_cell_crops").values())
        try:
            models = model_folders.find_models(out, own["model"])
            files = [folder / name for folder in models for name in ("config.json", "model.keras")]
            inputs["models"] = [manifest.digest(path) for path in files]
        except (FileNotFoundError, ValueError):
            inputs["models"] = []
    if run.notebook == "06_explore":
        inputs["05_inference"] = _stage(out, "05_inference")
    return json.loads(json.dumps(inputs))


def _stage(out: str | Path, name: str, extra_outputs: str = "") -> str:
    try:
        return manifest.digest([manifest.stage_digest(folder) for folder in find_stages(out, name, extra_outputs)])
    except FileNotFoundError:
        return ""
