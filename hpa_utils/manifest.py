"""What a stage did: ``manifest.json`` in its folder, and the configurations and fingerprints written into it.

A notebook calls `begin` before its work and `finish` after it. The runner adds a `run` section (source hash,
parameters, inputs) and skips a notebook whose finished manifest still has the same one.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path

from hpa_utils.checks import check_settings
from hpa_utils.dataset import Dataset
from hpa_utils.limits import OutOfTime
from hpa_utils.paths import atomic_write, drop_temporaries, find_inputs, scoring_rerun, write_json

CONFIG = {"name": str, "training_round": int, "fold": int, "n_folds": int, "crops": dict, "segmenter": str}
FORMAT = 4  # raised when a table or file between the notebooks changes its meaning


def begin(stage: str | Path) -> None:
    """Make the stage's folder and withdraw the manifest of an earlier run: what follows is not finished yet.

    On Kaggle, what an earlier session, cut before its end, left of the stage is copied from its attached output, so
    that the stage goes on from there.
    """
    Path(stage).mkdir(parents=True, exist_ok=True)
    drop_temporaries(stage)
    (Path(stage) / "manifest.json").unlink(missing_ok=True)
    for earlier in find_inputs(stage_name(stage)):
        if not scoring_rerun() and not is_whole(earlier):
            _copy_lacking(earlier, Path(stage))


def stage_name(stage: str | Path) -> str:
    """Name of a stage's folder within its output root: ``02_segmentation``, or ``04_train/NAME`` for a named run."""
    stage = Path(stage)
    return f"{stage.parent.name}/{stage.name}" if re.match(r"\d\d_", stage.parent.name) else stage.name


def finish(stage: str | Path, configuration: dict, counts: dict, set_aside: list[dict] = ()) -> None:
    """Write the manifest of a stage that has ended well.

    `configuration` is what was chosen, as JSON values; `counts` is what came out, for people to read; `set_aside` has
    `image_id`, `split`, `error`, `error_files` of each field left out.
    """
    content = {"format": FORMAT, "complete": True, "configuration": configuration, "counts": counts}
    write_json(Path(stage) / "manifest.json", {**content, "set_aside": list(set_aside)})


def pause(stage: str | Path, reason: str) -> None:
    """Write the manifest of a stage that had to stop before its end and can be gone on with."""
    write_json(Path(stage) / "manifest.json", {"format": FORMAT, "complete": False, "paused": reason})


def is_whole(stage: str | Path) -> bool:
    """Whether a stage has ended, and had time for all its fields."""
    found = read_manifest(stage)
    late = [row for row in found.get("set_aside", []) if row["error"].startswith(OutOfTime.__name__)]
    return bool(found.get("complete")) and not late and not found["counts"].get("fields not predicted")


def _copy_lacking(earlier: Path, stage: Path) -> None:
    """Copy the files that `stage` does not have yet, each in one rename; none that only their session vouches for."""
    left_out, endings = (".", "manifest.json", "submission.csv"), (".ipynb", ".html")
    files = [path for path in sorted(earlier.rglob("*")) if path.is_file() and path.suffix not in endings]
    files = [path for path in files if not path.name.startswith(left_out)]
    lacking = [path for path in files if not (stage / path.relative_to(earlier)).exists()]
    for path in lacking:
        with atomic_write(stage / path.relative_to(earlier)) as temporary:
            shutil.copyfile(path, temporary)
    if lacking:
        print(f"{stage_name(stage)} goes on from {earlier}: {len(lacking)} files copied")


def read_manifest(stage: str | Path) -> dict:
    """The manifest of a stage, or an empty dict if there is none that can be read."""
    return read_json(Path(stage) / "manifest.json")


def read_json(path: str | Path) -> dict:
    """The object in a JSON file, or an empty dict if there is none that can be read."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def digest(content) -> str:
    """SHA-256 of a JSON value, or of a file if `content` is a path ("" where it does not exist)."""
    if isinstance(content, Path):
        return hashlib.sha256(content.read_bytes()).hexdigest() if content.is_file() else ""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stage_digest(stage: str | Path) -> str:
    """Fingerprint of a finished stage: its manifest without the runner's section; "" where there is none."""
    content = {key: value for key, value in read_manifest(stage).items() if key != "run"}
    return digest(content) if content else ""


def split_fingerprint(dataset: Dataset, split: str) -> str:
    """Fingerprint of one split: its tables, and the names, sizes and times of its images (`Dataset.stamps`)."""
    table = {"train": "train.csv", "test": "sample_submission.csv"}[split]
    tables = {name: digest(dataset.root / name) for name in (table, "dataset.json")}
    return digest([tables, dataset.stamps.get(split, {})])


def read_config(model_folder: str | Path) -> dict:
    """A model folder's ``config.json``.

    Raises FileNotFoundError or ValueError if it is missing, was not written by 04_train, or by a version whose models
    cannot be used.
    """
    path = Path(model_folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{model_folder} is no model folder: it has no config.json")
    try:
        content = json.loads(path.read_bytes())
        check_format(content.get("format"), path.parent)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from None
    own, crops = {name: content[name] for name in CONFIG if name in content}, {"name": str, "config": dict}
    check_settings(own, CONFIG, path, required=CONFIG)
    check_settings(content["crops"], crops, f"{path}: crops", required=crops)
    return content


def check_format(found: int | None, folder: Path) -> None:
    """Raise ValueError unless a folder's manifest or configuration has today's format."""
    if found != FORMAT:
        raise ValueError(
            f"{folder} was written by another version (format {found}, this one has {FORMAT}): "
            "take another output root, or run the notebooks again"
        )


def check_same(section: str, first: dict, second: dict, first_folder: Path, second_folder: Path) -> None:
    """Raise ValueError, naming the first value, where two configurations differ."""
    for name in sorted(set(first) | set(second)):
        if first.get(name) != second.get(name):
            raise ValueError(
                f"{section}.{name} is {first.get(name)} in {first_folder} but {second.get(name)} in {second_folder}: "
                "run notebook 03 with `model` set to the folder of the model, which makes the crops it learned from"
            )
