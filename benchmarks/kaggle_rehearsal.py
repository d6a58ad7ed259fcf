"""The staged kernels run here as Kaggle would run them, on a simulated competition.

    python benchmarks/kaggle_rehearsal.py [--out runs/kaggle] [--train 12] [--test 4] [--without-namespaces]
                                           [chain submit lacking all-in-one]

Every kernel is executed from its staged notebook by papermill, in one virtual environment with Kaggle's versions
(requirements-kaggle.txt), without the library and without what Kaggle's image lacks, in a network of its own without
any other machine, below a root with /kaggle/input read-only, where it sees its declared sources and nothing else, and
/kaggle/working empty. Where there are no user namespaces (``unshare -rnm true`` says whether there are) or with
--without-namespaces, its Pythons refuse connections to other machines instead, and HPA_KAGGLE names a folder with
copies of its sources, compared afterwards, and the working folder. The environment needs the package registry. The
preset is Kaggle's with two folds (B3 and run-all: one) and two steps an epoch: B0 at 128 px and on whole fields of
512 px, B3 at 256 px, whose weight files are made here in the published layout; eight views (hpa-05-inference and
run-all: two). ``HPA_DEVICES=2`` stands for the two T4s.

chain         the kernels of the manifest up to hpa-05-inference, in the older mount layout. hpa-04-large is killed when
              a model has first saved its state, and goes on in a second session
submit        (after chain) on the visible test fields, in the mixed layout, with a deadline that is hit; then the
              scoring run on three times as many other fields, in the newer layout
lacking       (after chain) hpacellseg is attached without its weights: 02 warns and goes on, submit stops
all-in-one    run-all in the newer layout; again with its own output attached, when all is left out
"""

import argparse
import copy
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
from kaggle_rooms import has_namespaces, open_room, remove_room

from hpa_simulator import write_dataset
from hpa_utils import scoring
from hpa_utils.paths import COMPETITION, KAGGLE_OUTPUT_BYTES, REPOSITORY
from hpa_utils.running.kaggle import build_wheels, make_plan, stage
from hpa_utils.running.kaggle.schema import MANIFEST, Plan, kernel_runs, requirement

OWNER = "rehearsal"
MEMORY_BYTES = 31 * 2**30
HPACELLSEG = "rdizzl3/hpacellsegmentatormodelweights"
EFFICIENTNETS = "efficientnet-weights"  # data set of whoever pushes
CONTENT = json.loads(MANIFEST.read_text())
SHORT = {"04.epochs": 1, "04.steps_per_epoch": 2, "04.batch_size": 8, "04.n_folds": 2}
PLACES = {  # layout of the mounts → where competitions, data sets and outputs of kernels lie below /kaggle/input
    "old": ("", "", ""),
    "mixed": ("competitions/", "", ""),
    "new": ("competitions/", "datasets/{owner}/", "notebooks/{owner}/"),
}
REQUIREMENTS = ("requirements.txt", "requirements-kaggle.txt")
# Keras 2 wrote each layer's weights into a group of its name: the part "model_weights" of a whole saved model
WRITE_WEIGHTS = """
import h5py, keras, os
for name in ("b0", "b3"):
    getattr(keras.applications, f"EfficientNet{name.upper()}")(include_top=False, weights=None).save("whole.h5")
    with h5py.File("whole.h5") as whole, h5py.File(f"efficientnet{name}_notop.h5", "w") as file:
        for key, group in whole["model_weights"].items():
            whole.copy(group, file, key)
        file.attrs.update(whole["model_weights"].attrs)
    os.remove("whole.h5")
"""
LIKE_KAGGLE = ("train", "test", "train.csv", "sample_submission.csv", "dataset.json")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a kernel's run took and left: its output folder, how it ended, seconds, bytes, what it printed."""

    output: Path
    code: int
    seconds: float
    memory: int
    size: int
    files: int
    said: str


class Rehearsal:
    """A place with a virtual environment, data, staged kernels and the outputs of their runs."""

    def __init__(self, out: Path, plan: Plan, n_train: int, n_test: int, namespaces: bool):
        self.out, self.namespaces = out.absolute(), namespaces
        self.python = make_environment(self.out / "environment", plan)
        self.visible, self.hidden = make_data(self.out / "data", n_train, n_test)
        self.weights = make_weights(self.out / EFFICIENTNETS, self.python)
        self.runs, self.empty = 0, self.out / "empty"
        self.empty.mkdir(exist_ok=True)
        (self.empty / "README").write_text("nothing else is here\n")
        shutil.rmtree(self.out / "wheels", ignore_errors=True)
        self.wheels = build_wheels(plan, self.out / "wheels")
        self.stage(plan)

    def stage(self, plan: Plan) -> None:
        """Stage the kernels anew."""
        self.plan = plan
        stage(plan, self.out / "staged", self.wheels)

    def run(
        self,
        slug: str,
        layout: str,
        outputs: dict,
        scoring_run: bool = False,
        kill_when: str = "",
        datasets: dict | None = None,
    ) -> Outcome:
        """Run a kernel; returns an `Outcome`.

        Parameters
        ----------
        layout : {"old", "mixed", "new"}
        outputs : dict of str to Path
            Slug → output of the kernels that have run; of these it sees those it declares.
        kill_when : str
            Pattern of a file in the working folder; when it is there, the run is killed.
        datasets : dict of str to Path
            Folder of each data set beside the library.
        """
        self.runs += 1
        kernel, place = self.plan.kernel(slug), self.out / "runs" / f"{self.runs:02d}-{slug}"
        remove_room(place)
        (place / "home").mkdir(parents=True)
        told = json.loads((self.out / "staged" / slug / "kernel-metadata.json").read_text())
        data = self.hidden if scoring_run else self.visible
        folders = {f"{OWNER}/{name}": output for name, output in outputs.items()} | (datasets or {})
        library = self.plan.library.slug
        folders |= {f"{OWNER}/{library}": self.out / "staged" / library, f"{OWNER}/{EFFICIENTNETS}": self.weights}
        competition, *places = PLACES[layout]
        sources = [(data, competition + COMPETITION)]
        for place_of, names in zip(places, (told["dataset_sources"], told["kernel_sources"])):
            for owner, _, name in (name.partition("/") for name in names):
                sources.append((folders[f"{owner}/{name}"], place_of.format(owner=owner) + name))
        environment = {"PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        environment |= {"HOME": str(place / "home"), "KAGGLE_KERNEL_RUN_TYPE": "Batch", "LANG": "C.UTF-8"}
        environment["HPA_DEVICES"] = "2"
        if scoring_run:
            environment["KAGGLE_IS_COMPETITION_RERUN"] = "1"
        notebook = self.out / "staged" / slug / told["code_file"]
        command = [str(self.python), "-m", "papermill", str(notebook), "__notebook__.ipynb"]
        command += ["--log-output", "--no-progress-bar", "-k", "python3"]
        with open_room(place, sources, self.namespaces) as (entering, variables):
            outcome = watch([*entering, *command], environment | variables, place, kill_when)
        how = f"scoring run, {layout} layout" if scoring_run else f"{layout} layout"
        end = "killed" if kill_when else "ended well" if not outcome.code else f"failed with exit code {outcome.code}"
        print(
            f"{kernel.slug} ({how}): {end}, {outcome.seconds:.0f} s, at most {outcome.memory / 2**30:.1f} GiB, "
            f"{outcome.size / 1e6:.1f} MB in {outcome.files} files",
            flush=True,
        )
        if outcome.memory > MEMORY_BYTES or outcome.size > KAGGLE_OUTPUT_BYTES:
            sys.exit(f"{slug} takes more than Kaggle has")
        return outcome

    def succeed(self, slug: str, layout: str, outputs: dict, **options) -> Path:
        """Run a kernel that must end well; returns its output."""
        outcome = self.run(slug, layout, outputs, **options)
        if outcome.code:
            sys.exit(f"{outcome.said[-4000:]}\n{slug} failed; all it printed is in {outcome.output.parent / 'log'}")
        return outcome.output


def watch(command: list[str], environment: dict, place: Path, kill_when: str) -> Outcome:
    """Run a command, its memory watched, in a process group of its own."""
    start, peak, working = time.monotonic(), 0, place / "working"
    with open(place / "log", "w") as log:
        streams = {"stdout": log, "stderr": log}
        process = subprocess.Popen(command, env=environment, cwd=working, start_new_session=True, **streams)
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            if kill_when and list(working.glob(kill_when)):
                for child in reversed(psutil.Process(process.pid).children(recursive=True)):
                    child.send_signal(signal.SIGKILL)
                process.kill()
            time.sleep(0.3)
    files = [path for path in working.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    seconds, said = time.monotonic() - start, (place / "log").read_text(errors="replace")
    return Outcome(working, process.returncode, seconds, peak, size, len(files), said)


def memory_of(pid: int) -> int:
    """Resident bytes of a process and all below it."""
    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def make_environment(folder: Path, plan: Plan) -> Path:
    """Python of a virtual environment with Kaggle's versions, less the packages that the library data set brings."""
    python, wanted = folder / "bin" / "python", folder / "requirements.txt"
    lacking = [requirement(package) for package in plan.library.packages]
    lines = [line for name in REQUIREMENTS for line in (REPOSITORY / name).read_text().splitlines()]
    lines = [line.partition("#")[0].strip() for line in lines if not line.startswith("-r")]
    content = "\n".join(line for line in lines if line and line not in lacking) + "\n"
    if wanted.is_file() and wanted.read_text() == content:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (folder / "listed.txt").write_text(content)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", folder / "listed.txt"]
    subprocess.run(install, check=True)
    (folder / "listed.txt").rename(wanted)
    return python


def make_weights(folder: Path, python: Path) -> Path:
    """The data set with EfficientNets' weights: random values, in the names and the layout of the published files."""
    if not all((folder / f"efficientnet{name}_notop.h5").is_file() for name in ("b0", "b3")):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([python, "-c", WRITE_WEIGHTS], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    return folder


def make_data(folder: Path, n_train: int, n_test: int) -> tuple[Path, Path]:
    """Two simulated competitions without truth: the visible one, and one with three times as many other test fields."""
    shutil.rmtree(folder, ignore_errors=True)
    whole = [write_dataset(folder / f"whole-{n}", n_train, n, 256, seed=n) for n in (n_test, 3 * n_test)]
    made = []
    for name, train, test in (("visible", whole[0], whole[0]), ("hidden", whole[0], whole[1])):
        (folder / name).mkdir()
        for item in LIKE_KAGGLE:
            source = (train if item.startswith("train") else test) / item
            copy = shutil.copytree if source.is_dir() else shutil.copy
            if source.exists():
                copy(source, folder / name / item)
        made.append(folder / name)
    return tuple(made)


def check_submission(output: Path, data: Path, least: int = 1) -> None:
    """Stop unless the submission is valid, lists the fields of `data` and has cells in at least so many."""
    findings = scoring.validate_submission(output / "submission.csv", data / "sample_submission.csv")
    findings = [one for one in findings if "are not alone" not in one.what]  # untrained networks: equal confidences
    rows = pd.read_csv(output / "submission.csv")
    predicted = (rows["PredictionString"].str.len() > 200).sum()
    print(f"  submission.csv: {len(rows)} fields, {predicted} with cells, {len(findings)} findings", flush=True)
    if findings or len(rows) != len(pd.read_csv(data / "sample_submission.csv")) or predicted < least:
        sys.exit(f"the submission in {output} is not as it should be: {findings[:3]}")


def run_chain(place: Rehearsal) -> dict:
    """The kernels up to 05, one of which is killed and goes on in a second session; returns their outputs."""
    outputs, killed = {}, "hpa-04-large"
    for slug in place.plan.push[:-1]:
        if slug == killed:
            cut = place.run(slug, "old", outputs, kill_when="04_train/*/state.npz")
            place.stage(rehearsed_plan({slug: {"resume_from": slug}}))
            outputs[slug] = cut.output
        outputs[slug] = place.succeed(slug, "old", outputs)
        if slug == killed:
            printed = (outputs[slug].parent / "log").read_text().count("goes on after epoch")
            print(f"  {printed} of its models went on from the state that was saved", flush=True)
    check_submission(outputs["hpa-05-inference"], place.visible)
    return outputs


def run_submit(place: Rehearsal, outputs: dict) -> None:
    """submit as it is saved, with too little time, and as it is scored."""
    short = place.plan.kernel("submit").parameters | {"hours": 0.02}
    place.stage(rehearsed_plan({"submit": {"parameters": short}}))
    cut = place.succeed("submit", "mixed", outputs)
    print(f"  its time was over before its end: {'the time is over' in (cut.parent / 'log').read_text()}", flush=True)
    check_submission(cut, place.visible, least=0)
    place.stage(rehearsed_plan())
    scored = place.succeed("submit", "new", outputs, scoring_run=True)
    check_submission(scored, place.hidden)
    models = json.loads((scored / "05_inference" / "manifest.json").read_text())["configuration"]["models"]
    print(f"  predicted with {', '.join(models)}", flush=True)


def run_lacking(place: Rehearsal, outputs: dict) -> None:
    """hpacellseg's mount is there, its weights are not."""
    attached = {"datasets": [HPACELLSEG]}
    submit = attached | {"parameters": make_plan(CONTENT).kernel("submit").parameters}  # with hpacellseg
    place.stage(rehearsed_plan({"hpa-02-segmentation": attached, "submit": submit}))
    fallen_back = place.run("hpa-02-segmentation", "old", {}, datasets={HPACELLSEG: place.empty})
    print(f"  02 warned: {'cells come from the watershed' in fallen_back.said}", flush=True)
    stopped = place.run("submit", "old", outputs, datasets={HPACELLSEG: place.empty})
    said = [line for line in stopped.said.splitlines() if "Error: " in line or "Failed: " in line]
    print(f"  submit stopped: {bool(stopped.code)}, {said[-1][:200]}", flush=True)


def run_all_in_one(place: Rehearsal) -> None:
    """run-all; then with its own output attached, when all is left out."""
    place.stage(rehearsed_plan())
    first = place.succeed("run-all", "new", {})
    check_submission(first, place.visible)
    place.stage(rehearsed_plan({"run-all": {"resume_from": "run-all"}}))
    again = place.run("run-all", "new", {"run-all": first})
    kept = sorted(path.parent.name for path in again.output.glob("04_train/*/model.keras"))
    planned = len(kernel_runs(place.plan, place.plan.kernel("run-all"))[0])
    print(f"  {again.said.count('left out,')} of {planned} runs left out; models kept: {', '.join(kept)}", flush=True)


def rehearsed_plan(changes: dict | None = None) -> Plan:
    """The repository's manifest cut short, with the watershed instead of hpacellseg.

    `changes` has, for the slugs of kernels, keys and their values.
    """
    kernels = copy.deepcopy(CONTENT["kernels"])
    for kernel in kernels:
        kernel["datasets"] = [name for name in kernel["datasets"] if name == EFFICIENTNETS]
        if kernel["notebook"] == "05_inference":
            kernel["parameters"] |= {"tta": 2}
        if kernel["notebook"] == "kaggle_run":
            parameters, numbers = kernel["parameters"], kernel["parameters"]["notebooks"]
            given = ({"segmenter": "watershed"} if "02" in numbers else {}) | (SHORT if "04" in numbers else {})
            given |= {"05.tta": 2} if "04,05" in numbers else {}
            parameters["assignments"] = parameters.get("assignments", {}) | given
            parameters |= {"folds": "0,1" if kernel["slug"] == "hpa-04-train" else "0"} if "04" in numbers else {}
        kernel |= (changes or {}).get(kernel["slug"], {})
    return make_plan({**CONTENT, "owner": OWNER, "kernels": kernels})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["chain", "submit", "lacking", "all-in-one"])
    parser.add_argument("--out", default="runs/kaggle", type=Path)
    parser.add_argument("--train", default=12, type=int, help="simulated train fields of 256 px")
    parser.add_argument("--test", default=4, type=int)
    parser.add_argument("--without-namespaces", action="store_true", help="do without them even if there are any")
    options = parser.parse_args()
    namespaces = not options.without_namespaces and has_namespaces()
    place = Rehearsal(options.out, rehearsed_plan(), options.train, options.test, namespaces)
    version = subprocess.check_output([place.python, "-V"], text=True).strip()
    print(f"{os.cpu_count()} cores, {version}, {'with' if namespaces else 'without'} namespaces", flush=True)
    start = time.monotonic()
    outputs = run_chain(place) if {"chain", "submit", "lacking"} & set(options.parts) else {}
    if "submit" in options.parts:
        run_submit(place, outputs)
    if "lacking" in options.parts:
        run_lacking(place, outputs)
    if "all-in-one" in options.parts:
        run_all_in_one(place)
    print(f"{(time.monotonic() - start) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
