"""Where things are: the data set, earlier stages, Kaggle's mounts; and how files are replaced."""

import contextlib
import json
import os
from pathlib import Path

COMPETITION = "hpa-single-cell-image-classification"
REPOSITORY = Path(__file__).resolve().parent.parent


def find_data(root: str | Path = "") -> Path:
    """The data set root: `root`, else ``HPA_DATA``, else the competition on Kaggle, else ``runs/demo/data``."""
    if root or os.environ.get("HPA_DATA"):
        return Path(root or os.environ["HPA_DATA"])
    mounted = find_inputs(COMPETITION)
    return mounted[0] if mounted else REPOSITORY / "runs" / "demo" / "data"


def find_out(out: str | Path = "") -> Path:
    """The output root: `out`, else ``HPA_OUT``, else Kaggle's working folder, else ``runs/demo/out``."""
    if out or os.environ.get("HPA_OUT"):
        return Path(out or os.environ["HPA_OUT"])
    return Path("/kaggle/working") if on_kaggle() else REPOSITORY / "runs" / "demo" / "out"


def find_stage(out: str | Path, name: str) -> Path:
    """Folder of an earlier stage: in the output root, else among Kaggle's inputs.

    Raises
    ------
    FileNotFoundError
        Naming the notebook to run first.
    """
    places = [Path(out) / name, *find_inputs(name)]
    for folder in places:
        if (folder / "manifest.json").is_file():
            return folder
    raise FileNotFoundError(f"no finished {name} in {Path(out)}: run that notebook first (`--notebooks {name[:2]}`)")


def find_model(out: str | Path, folder: str | Path = "") -> Path:
    """A model folder: the one given, else ``04_train`` of the output root.

    Raises
    ------
    FileNotFoundError
        If the given folder has no ``config.json``, or 04 has not run.
    """
    if not folder:
        return find_stage(out, "04_train")
    if not (Path(folder) / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is no model folder: it has no config.json")
    return Path(folder)


def find_inputs(name: str) -> list[Path]:
    """Files or folders called `name` under Kaggle's input mounts, in both of its layouts, shallowest first."""
    inputs = Path(os.environ.get("KAGGLE_INPUT", "/kaggle/input"))
    return [path for depth in range(5) for path in sorted(inputs.glob("*/" * depth + name))] if inputs.is_dir() else []


def on_kaggle() -> bool:
    """Whether this process runs in a Kaggle kernel."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def scoring_rerun() -> bool:
    """Whether Kaggle is rerunning this kernel with the hidden test set: then no earlier test output holds."""
    return bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))


@contextlib.contextmanager
def replacing(path: str | Path):
    """Yield a temporary path beside `path`; renamed to it when the block ends well, removed when it fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict) -> None:
    """Write a JSON file in one rename."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
