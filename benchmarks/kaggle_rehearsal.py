"""The staged kernels run here as Kaggle would run them, on a simulated competition.

    python benchmarks/kaggle_rehearsal.py [--out runs/kaggle] [--train 12] [--test 4] [--without-namespaces]
                                           [chain rounds resumed lacking all-in-one]

Every kernel is executed from its staged notebook by papermill, in one virtual environment that holds requirements.txt
without the library and without what Kaggle's image lacks, in a network of its own without any other machine, below a
root with /kaggle/input read-only, where it sees its declared sources and nothing else, and /kaggle/working empty. Where
there are no user namespaces (``unshare -rnm true`` says whether there are) or with --without-namespaces, its Pythons
refuse connections to other machines instead, and HPA_KAGGLE names a folder with copies of its sources, compared
afterwards, and the working folder. The environment needs the package registry. The preset is Kaggle's, cut short;
``HPA_DEVICES=2`` stands for the two T4s.

chain         the five kernels and submit, in the older mount layout; then the scoring run
rounds        the two models of round 1 attached from two kernels; a model of round 2; submit with all (after chain)
resumed       04 is killed when it has first saved a state, and goes on in a second session (after chain)
lacking       hpacellseg is attached without its weights: 02 warns and goes on, submit stops (after chain)
all-in-one    run-all in the newer layout, again with its own output attached; then submit with its models, scoring
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
from hpa_utils.running.kaggle.schema import MANIFEST, Plan, requirement

OWNER = "rehearsal"
MEMORY_BYTES = 31 * 2**30
WEIGHTS = "rdizzl3/hpacellsegmentatormodelweights"
CONTENT = json.loads(MANIFEST.read_text())
SHORT = {"04.backbone": "lite0", "04.epochs": 1, "04.steps_per_epoch": 2, "04.batch_size": 8, "04.n_folds": 2}
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
        layout : {"old", "new"}
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
        library = self.plan.library.slug
        folders = {f"{OWNER}/{library}": self.out / "staged" / library} | (datasets or {})
        folders |= {f"{OWNER}/{name}": output for name, output in outputs.items()}
        sources = [(data, COMPETITION if layout == "old" else f"competitions/{COMPETITION}")]
        for kind, names in (("datasets", told["dataset_sources"]), ("notebooks", told["kernel_sources"])):
            targets = [name.partition("/")[2] if layout == "old" else f"{kind}/{name}" for name in names]
            sources += zip([folders[name] for name in names], targets)
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
    """Python of a virtual environment with requirements.txt, less the packages that the library data set brings."""
    python, wanted = folder / "bin" / "python", folder / "requirements.txt"
    lacking = [requirement(package) for package in plan.library.packages]
    lines = [line.partition("#")[0].strip() for line in (REPOSITORY / "requirements.txt").read_text().splitlines()]
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


def check_submission(output: Path, data: Path) -> None:
    """Stop unless the submission is valid and has predictions for the fields of `data`."""
    findings = scoring.validate_submission(output / "submission.csv", data / "sample_submission.csv")
    rows = pd.read_csv(output / "submission.csv")
    predicted = (rows["PredictionString"].str.len() > 200).sum()
    print(f"  submission.csv: {len(rows)} fields, {predicted} with cells, {len(findings)} findings", flush=True)
    if findings or len(rows) != len(pd.read_csv(data / "sample_submission.csv")) or not predicted:
        sys.exit(f"the submission in {output} is not as it should be: {findings[:3]}")


def run_chain(place: Rehearsal) -> dict:
    """The five kernels, submit on the visible test set, and its scoring run; returns the outputs."""
    outputs = {}
    for slug in place.plan.push[:-1]:
        outputs[slug] = place.succeed(slug, "old", outputs)
    check_submission(outputs["hpa-05-inference"], place.visible)
    check_submission(place.succeed("submit", "old", outputs), place.visible)
    check_submission(place.succeed("submit", "old", outputs, scoring_run=True), place.hidden)
    return outputs


def run_rounds(place: Rehearsal, outputs: dict) -> None:
    """The round-1 models lie in the outputs of two kernels; round 2 needs both, and submit takes round 2."""
    halves = {}
    for fold in (0, 1):
        halves[f"hpa-04-f{fold}"] = place.out / f"half-{fold}"
        shutil.rmtree(place.out / f"half-{fold}", ignore_errors=True)
        other = shutil.ignore_patterns(f"*-f{1 - fold}", "*-r2-*", "b0-field-*", "plan.json")
        shutil.copytree(outputs["hpa-04-train"], place.out / f"half-{fold}", ignore=other)
    first = [kernel_like("hpa-04-train", f"hpa-04-f{fold}", runs=f"b0-128-r1-f{fold}") for fold in (0, 1)]
    second = kernel_like("hpa-04-train", "hpa-04-round-2", folds="0", runs="b0-128-r2-f0")
    second["kernels"] = [*second["kernels"], *halves]
    submit = {"kernels": [*halves, "hpa-04-round-2"]}
    place.stage(rehearsed_plan({"submit": submit}, [*first, second]))
    outputs = {**outputs, **halves}
    outputs["hpa-04-round-2"] = place.succeed("hpa-04-round-2", "old", outputs)
    output = place.succeed("submit", "new", outputs)
    models = json.loads((output / "05_inference" / "manifest.json").read_text())["configuration"]["models"]
    print(f"  submit predicted with {', '.join(models)}", flush=True)
    check_submission(output, place.visible)


def run_resumed(place: Rehearsal, outputs: dict) -> None:
    """04 killed half way, then finished in a second session; its losses beside those of the uninterrupted run."""
    place.stage(rehearsed_plan({"hpa-04-train": {"resume_from": "hpa-04-train"}}))
    cut = place.run("hpa-04-train", "old", {**outputs, "hpa-04-train": place.empty}, kill_when="04_train/*/state.npz")
    output = place.succeed("hpa-04-train", "old", {**outputs, "hpa-04-train": cut.output})
    for folder in sorted(output.glob("04_train/*/history.csv")):
        resumed, whole = (pd.read_csv(root / "04_train" / folder.parent.name / folder.name)["loss"]
                          for root in (output, outputs["hpa-04-train"]))  # fmt: skip
        same = "the same" if (resumed == whole).all() else "other"
        print(f"  {folder.parent.name}: {same} losses as the uninterrupted one's, {list(whole.round(5))}", flush=True)


def run_lacking(place: Rehearsal, outputs: dict) -> None:
    """hpacellseg's mount is there, its weights are not."""
    submit = next(kernel for kernel in CONTENT["kernels"] if kernel["slug"] == "submit")
    attached = {"datasets": [WEIGHTS]}
    place.stage(
        rehearsed_plan({"hpa-02-segmentation": attached, "submit": {**attached, "parameters": submit["parameters"]}})
    )
    fallen_back = place.run("hpa-02-segmentation", "old", {}, datasets={WEIGHTS: place.empty})
    print(f"  02 warned: {'cells come from the watershed' in fallen_back.said}", flush=True)
    stopped = place.run("submit", "old", outputs, datasets={WEIGHTS: place.empty})
    said = [line for line in stopped.said.splitlines() if "Error: " in line or "Failed: " in line]
    print(f"  submit stopped: {bool(stopped.code)}, {said[-1][:200]}", flush=True)


def run_all_in_one(place: Rehearsal) -> None:
    """run-all; then with its own output attached, when all is left out; then submit with its models, scored."""
    submit = {"kernels": ["run-all"]}
    place.stage(rehearsed_plan({"submit": submit}))
    first = place.succeed("run-all", "new", {})
    check_submission(first, place.visible)
    place.stage(rehearsed_plan({"run-all": {"resume_from": "run-all"}, "submit": submit}))
    again = place.run("run-all", "new", {"run-all": first})
    kept = sorted(path.parent.name for path in again.output.glob("04_train/*/model.keras"))
    print(f"  {again.said.count('left out,')} of 5 runs left out; models kept: {', '.join(kept)}", flush=True)
    check_submission(place.succeed("submit", "new", {"run-all": again.output}, scoring_run=True), place.hidden)


def rehearsed_plan(changes: dict | None = None, more: list[dict] = ()) -> Plan:
    """The repository's manifest cut short, with the watershed and no data set but the library.

    Parameters
    ----------
    changes : dict
        Slug → keys of that kernel and their values.
    more : list of dict
        Further kernels.
    """
    kernels = [{**kernel, "datasets": []} for kernel in copy.deepcopy(CONTENT["kernels"])]
    for kernel in kernels:
        parameters = kernel["parameters"]
        if kernel["notebook"] == "05_inference":
            parameters["tta"] = 2
        if kernel["notebook"] == "kaggle_run":
            numbers = parameters["notebooks"]
            given = {"segmenter": "watershed"} if "02" in numbers else {}
            given |= (SHORT if "04" in numbers else {}) | ({"05.tta": 2} if "05" in numbers else {})
            parameters["assignments"] = parameters.get("assignments", {}) | given
            parameters |= {"folds": "0,1"} if "04" in numbers else {}
        kernel |= (changes or {}).get(kernel["slug"], {})
    return make_plan({**CONTENT, "owner": OWNER, "kernels": [*kernels, *more]})


def kernel_like(model: str, slug: str, **parameters) -> dict:
    """A kernel as one of the manifest, with another slug, cut short and with other parameters."""
    kernel = copy.deepcopy(next(kernel for kernel in CONTENT["kernels"] if kernel["slug"] == model))
    parameters = {**kernel["parameters"], "assignments": SHORT, "folds": "0,1", **parameters}
    return {**kernel, "slug": slug, "title": slug, "datasets": [], "parameters": parameters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["chain", "rounds", "resumed", "lacking", "all-in-one"])
    parser.add_argument("--out", default="runs/kaggle", type=Path)
    parser.add_argument("--train", default=12, type=int, help="simulated train fields of 256 px")
    parser.add_argument("--test", default=4, type=int)
    parser.add_argument("--without-namespaces", action="store_true", help="do without them even if there are any")
    options = parser.parse_args()
    namespaces = not options.without_namespaces and has_namespaces()
    place = Rehearsal(options.out, rehearsed_plan(), options.train, options.test, namespaces)
    version = subprocess.check_output([place.python, "-V"], text=True).strip()
    print(f"{os.cpu_count()} cores, {version}, {'with' if namespaces else 'without'} namespaces", flush=True)
    outputs = run_chain(place) if {"chain", "rounds", "resumed", "lacking"} & set(options.parts) else {}
    for part, rehearse in (("rounds", run_rounds), ("resumed", run_resumed), ("lacking", run_lacking)):
        if part in options.parts:
            rehearse(place, outputs)
    if "all-in-one" in options.parts:
        run_all_in_one(place)


if __name__ == "__main__":
    main()
