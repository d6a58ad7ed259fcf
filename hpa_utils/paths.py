"""Where things are: the data set, earlier stages, Kaggle's mounts; how files are replaced, and folders held."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

COMPETITION = "hpa-single-cell-image-classification"
HAND_MADE = "cell_scores.csv", "cell_labels.csv"  # what people saw in single cells
REPOSITORY = Path(__file__).resolve().parent.parent
KAGGLE_OUTPUT_BYTES = 20_000_000_000  # what a kernel may leave in its working folder


def find_data(root: str | Path = "") -> Path:
    """The data set root: `root`, else ``HPA_DATA``, else the competition on Kaggle, else ``runs/demo/data``."""
    if root or os.environ.get("HPA_DATA"):
        return Path(root or os.environ["HPA_DATA"]).expanduser()
    mounted = find_inputs(COMPETITION)
    return mounted[0] if mounted else REPOSITORY / "runs" / "demo" / "data"


def find_out(out: str | Path = "") -> Path:
    """The output root: `out`, else ``HPA_OUT``, else Kaggle's working folder, else ``runs/demo/out``."""
    if out or os.environ.get("HPA_OUT"):
        return Path(out or os.environ["HPA_OUT"]).expanduser()
    return kaggle_folder("working") if on_kaggle() else REPOSITORY / "runs" / "demo" / "out"


def find_stage(out: str | Path, name: str) -> Path:
    """Folder of an earlier stage: in the output root, else among Kaggle's inputs (`find_stages`)."""
    return find_stages(out, name)[0]


def find_stages(out: str | Path, name: str, extra_outputs: str | Path = "") -> list[Path]:
    """Folders of an earlier stage: the one in the output root, else all that are attached, as shards are on Kaggle.

    The name is such as ``02_segmentation`` or ``03_cell_crops/128``. The stage of another output root, `extra_outputs`,
    is added. FileNotFoundError names the notebook to run first.
    """
    own = Path(out) / name
    found = [folder for folder in [own, *find_inputs(name)] if (folder / "manifest.json").is_file()]
    if not found:
        raise FileNotFoundError(
            f"no finished {name} in {Path(out)}: run notebook {name[:2]} first; on Kaggle, attach its output "
            "(Add Input → Notebook Output)"
        )
    extra = [Path(extra_outputs) / name] if extra_outputs else []
    if extra and not (extra[0] / "manifest.json").is_file():
        raise FileNotFoundError(f"no finished {name} in {extra_outputs}: is it the output root of another data set?")
    return ([own] if found[0] == own else found) + extra


def find_named(out: str | Path, stage: str) -> dict[str, Path]:
    """The named folders of a stage, such as crop sets or models: name → folder, those of the output root first.

    A name found in several places is taken from the output root, else from the first input.
    """
    places = [Path(out) / stage, *find_inputs(stage)]
    found = [path.parent for place in places for path in sorted(place.glob("*/manifest.json"))]
    return {folder.name: folder for folder in reversed(found)}


def find_only(out: str | Path, stage: str) -> str:
    """Name of the only named folder of a stage (`find_named`); FileNotFoundError for none, ValueError for several."""
    names = sorted(find_named(out, stage))
    if not names:
        raise FileNotFoundError(
            f"nothing finished in {Path(out) / stage}: run notebook {stage[:2]} first; on Kaggle, attach its output "
            "(Add Input → Notebook Output)"
        )
    if len(names) > 1:
        raise ValueError(f"{Path(out) / stage} holds {', '.join(names)}: name one of them in the parameters cell")
    return names[0]


def run_name(name: str, training_round: int, fold: int) -> str:
    """Folder of a model in 04_train, such as ``b0-128-r1-f0``, or ``b0-128-r2-all`` for one of all fields."""
    return f"{name}-r{training_round}-{'all' if fold < 0 else f'f{fold}'}"


def find_inputs(name: str) -> list[Path]:
    """Files or folders called `name` under Kaggle's input mounts, in both of its layouts, shallowest first."""
    inputs = kaggle_folder("input")
    return [path for depth in range(5) for path in sorted(inputs.glob("*/" * depth + name))] if inputs.is_dir() else []


def find_beside(root: str | Path, name: str) -> Path:
    """A user's file in the data set; on Kaggle, where nothing can be put there, else in any attached one."""
    own = Path(root) / name
    return own if own.is_file() else next(iter(find_inputs(name)), own)


def kaggle_folder(name: str) -> Path:
    """Kaggle's folder ``input`` or ``working``, in ``HPA_KAGGLE``, else in ``/kaggle``."""
    return Path(os.environ.get("HPA_KAGGLE") or "/kaggle") / name


def on_kaggle() -> bool:
    """Whether this process runs in a Kaggle kernel."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def scoring_rerun() -> bool:
    """Whether Kaggle is rerunning this kernel with the hidden test set: then no earlier test output holds."""
    return bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))


def free_bytes(folder: str | Path) -> int:
    """Bytes that can still be written under `folder`, which need not exist yet; on Kaggle within its output limit."""
    folder = Path(folder).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    working = kaggle_folder("working")
    if on_kaggle() and folder.is_relative_to(working):
        used = sum(path.stat().st_size for path in working.rglob("*") if path.is_file())
        free = min(free, KAGGLE_OUTPUT_BYTES - used)
    return free


@contextlib.contextmanager
def atomic_write(path: str | Path):
    """Yield a temporary path beside `path`; renamed to it when the block ends well, removed when it fails.

    Its name ends as that of `path` does, for writers that go by the extension, as Keras.

    Raises OSError: ENOSPC, naming the folder and the remedy, where the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # two workers on different machines may write the same file: the later rename wins, neither is torn
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            errno.ENOSPC,
            f"the disk is full, {path.name} was not written. What is finished stays: make room, or continue with "
            "another output root, and run the same command again",
            str(path.parent),
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make a folder and hold it for this process while the block runs.

    The operating system lets go of it when the process ends, also when it is killed.

    Raises RuntimeError if another process holds it, naming that one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(20).decode(errors="replace").strip()
            who = f"process {holder}" if holder else "another process"
            message = f"{folder} is being worked on by {who}: wait for its end, or take another output root"
            raise RuntimeError(message) from None
        except OSError:
            pass  # a network disk without locks
        with contextlib.suppress(OSError):  # on a full disk; what is to be written later says so
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield


def drop_temporaries(folder: str | Path) -> None:
    """Remove the temporary files of `atomic_write` that a killed run left anywhere under `folder`."""
    for path in Path(folder).rglob(".tmp-*"):
        path.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict) -> None:
    """Write a JSON file in one rename."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
