"""The manifest ``kaggle-metadata.json``: who owns what, which kernels there are and what each reads.

Everything that Kaggle would refuse, or understand as something else, is an error here, before anything is written.
"""

import dataclasses
import json
import re
import typing
import unicodedata
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from hpa_utils.paths import REPOSITORY, run_name
from hpa_utils.running.notebooks import NOTEBOOKS, SOURCES, numbered, preset_runs, select_runs
from hpa_utils.running.parameters import read_parameters, resolve
from hpa_utils.running.runs import Run

MANIFEST = REPOSITORY / "kaggle-metadata.json"
SAMPLE_OWNER = "your-kaggle-name"
DRIVER = "kaggle_run"  # the notebook that makes several runs
KINDS = {str: "text", bool: "true or false", dict: "an object"}
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Library:
    """The data set that holds this library; `packages` are those of requirements.txt that Kaggle's image lacks."""

    slug: str
    title: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Kernel:
    """A kernel, and what it reads beside the library."""

    slug: str
    title: str
    notebook: str  # one of ours, such as 02_segmentation, or kaggle_run
    gpu: bool
    competition: bool  # whether it reads the competition's data
    parameters: dict  # of the notebook, over the preset's
    kernels: tuple[str, ...]  # slugs of those whose output it reads
    datasets: tuple[str, ...]  # owner/slug, or slug of the manifest's owner
    resume_from: str  # slug, mostly its own: it goes on from that output, whose session was cut; empty: none

    @property
    def sources(self) -> list[str]:
        """Slugs of all kernels whose output is attached."""
        return list(dict.fromkeys([*self.kernels, *([self.resume_from] if self.resume_from else [])]))


@dataclass(frozen=True)
class Plan:
    """The whole manifest: `preset` is for all kernels, `push` lists the slugs of those to push, in order."""

    owner: str
    competition: str
    preset: str
    public: bool  # whether everybody may see the kernels and the library
    library: Library
    models: str  # slug of the owner's data set with trained models, in 04_train; empty: there is none
    kernels: tuple[Kernel, ...]
    push: tuple[str, ...]

    def kernel(self, slug: str) -> Kernel:
        """The kernel with this slug."""
        return next(kernel for kernel in self.kernels if kernel.slug == slug)


def read_plan(path: str | Path = MANIFEST) -> Plan:
    """Read and check a manifest.

    Raises ValueError, naming the file and the key, for everything that is missing, unknown or against a rule of
    Kaggle's.
    """
    try:
        return make_plan(json.loads(Path(path).read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{Path(path).name}: {error}") from None


def make_plan(content: dict) -> Plan:
    """The plan that a manifest's JSON value describes, checked as in `read_plan`."""
    plan = _convert("", content, Plan)
    for name in ("owner", "competition"):
        if not NAME.fullmatch(getattr(plan, name)) or len(getattr(plan, name)) < 3:
            expected = "three or more of a–z, 0–9 and hyphens, as in its address on Kaggle"
            raise ValueError(f"{name} is {getattr(plan, name)!r}; expected {expected}")
    _check_title("library", plan.library, least=6)
    for package in plan.library.packages:
        requirement(package)
    slugs = [plan.library.slug, *(kernel.slug for kernel in plan.kernels)]
    for kernel in plan.kernels:
        if slugs.count(kernel.slug) > 1:
            raise ValueError(f"kernels.{kernel.slug}: two have this slug")
        _check_title(f"kernels.{kernel.slug}", kernel, least=5)
        _check_sources(kernel, slugs[1:])
    try:
        TopologicalSorter({kernel.slug: kernel.kernels for kernel in plan.kernels}).prepare()
    except CycleError as error:
        raise ValueError(f"kernels: a cycle, each reads the one before: {' → '.join(error.args[1])}") from None
    runs = {kernel.slug: kernel_runs(plan, kernel)[0] for kernel in plan.kernels}
    for kernel in plan.kernels:
        _check_reads(plan, kernel, runs)
    for place, slug in enumerate(plan.push):
        if slug not in slugs[1:] or slug in plan.push[:place]:
            raise ValueError(f"push has {slug!r}; expected each of {', '.join(slugs[1:])} once at most")
        later = [source for source in plan.kernel(slug).kernels if source in plan.push[place:]]
        if later:
            raise ValueError(f"push: {slug} reads {later[0]}, which comes later")
    return plan


def kernel_runs(plan: Plan, kernel: Kernel) -> tuple[list[Run], dict]:
    """What a kernel runs, by the preset and its own parameters.

    Returns the runs, and those values of the kernel's notebook that are not its defaults. Raises ValueError if a
    parameter, a preset, a notebook or a run does not exist, or a value is not of its type.
    """
    defaults = read_parameters(SOURCES / f"{kernel.notebook}.py")
    try:
        if kernel.notebook == DRIVER:
            own = resolve({DRIVER: defaults}, [{"preset": plan.preset}, kernel.parameters])[DRIVER]
            options = (own["preset"], own["assignments"], own["folds"], own["rounds"])
            runs = select_runs(preset_runs(numbered(own["notebooks"]), *options), own["runs"])
        else:
            runs = preset_runs([kernel.notebook], plan.preset, kernel.parameters)
            own = runs[0].parameters
    except ValueError as error:
        raise ValueError(f"kernels.{kernel.slug}.parameters: {error}") from None
    if len(runs) > 1 and kernel.notebook != DRIVER:
        names = ", ".join(run.name for run in runs)
        raise ValueError(f"kernels.{kernel.slug}.notebook: {kernel.notebook} makes one of {names}; take {DRIVER}")
    return runs, {name: value for name, value in own.items() if value != defaults[name]}


def requirement(package: str) -> str:
    """The line of ``requirements.txt`` for a package, without its comment; ValueError if there is none."""
    for line in (REPOSITORY / "requirements.txt").read_text().splitlines():
        if re.split(r"[=<>~!\s]", line)[0] == package:
            return line.partition("#")[0].strip()
    raise ValueError(f"library.packages has {package!r}, which requirements.txt does not")


def slugify(title: str) -> str:
    """The slug that Kaggle makes of a title: lower case, no accents, every run of other signs a hyphen."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def _convert(where: str, value, kind):
    """A JSON value as a dataclass, a tuple or a simple type, each key there and of its type."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'the manifest'}: expected an object, found {type(value).__name__}")
        known, prefix = {field.name: field.type for field in dataclasses.fields(kind)}, f"{where}." if where else ""
        for name in sorted(set(value) ^ set(known)):
            problem = "is missing" if name in known else f"is unknown; there are {', '.join(known)}"
            raise ValueError(f"{prefix}{name} {problem}")
        return kind(**{name: _convert(f"{prefix}{name}", value[name], known[name]) for name in known})
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} is {value!r}; expected a list")
        names = [one.get("slug", number) if isinstance(one, dict) else number for number, one in enumerate(value)]
        return tuple(_convert(f"{where}.{name}", one, typing.get_args(kind)[0]) for name, one in zip(names, value))
    if type(value) is not kind:
        raise ValueError(f"{where} is {value!r}; expected {KINDS[kind]}")
    return value


def _check_title(where: str, one: Library | Kernel, least: int) -> None:
    made = slugify(one.title)
    if not least <= len(one.title) <= 50:
        raise ValueError(f"{where}.title is {one.title!r}; Kaggle needs {least} to 50 characters")
    if made != one.slug:
        raise ValueError(f"{where}.title is {one.title!r}, of which Kaggle makes {made!r}, not the slug {one.slug!r}")


def _check_sources(kernel: Kernel, slugs: list[str]) -> None:
    """The notebook, and every kernel and data set that is read, has a name that there can be."""
    where, notebooks = f"kernels.{kernel.slug}", (*NOTEBOOKS, DRIVER)
    if kernel.notebook not in notebooks:
        raise ValueError(f"{where}.notebook is {kernel.notebook!r}; there are {', '.join(notebooks)}")
    for source in kernel.datasets:
        if not all(NAME.fullmatch(part) for part in source.split("/")) or source.count("/") > 1:
            raise ValueError(f"{where}.datasets has {source!r}; expected owner/slug or slug")
    for source in kernel.sources:
        if source not in slugs:
            raise ValueError(f"{where} reads {source!r}; there are {', '.join(slugs)}")


def _check_reads(plan: Plan, kernel: Kernel, runs: dict[str, list[Run]]) -> None:
    """What a kernel's runs read is made by it or by a kernel that it reads; `runs` are those of each slug."""
    where = f"kernels.{kernel.slug}.kernels"
    made = [run for slug in (kernel.slug, *kernel.sources) for run in runs[slug]]
    has_models = bool(plan.models) and plan.models in kernel.datasets
    for run in runs[kernel.slug]:
        needed = [name for name in NOTEBOOKS if "02" <= name < run.notebook and not (has_models and name == "04_train")]
        for lacking in sorted(set(needed) - {one.notebook for one in made}):
            raise ValueError(f"{where}: {run} reads {lacking}, which none of them makes")
        folds = range(run.parameters["n_folds"]) if run.training_round > 1 else []
        teacher = run.parameters.get("teacher") or run.parameters.get("name", "")
        before = [run_name(teacher, run.training_round - 1, fold) for fold in folds]
        for lacking in sorted(set(before) - {one.name for one in made}):
            raise ValueError(f"{where}: {run} learns from {lacking}, which none of them makes")
