"""The manifest ``kaggle-metadata.json``: who owns what, which kernels there are and what each reads.

Everything that Kaggle would refuse, or take silently for something else, is an error here, before anything is written.
"""

import dataclasses
import functools
import json
import re
import unicodedata
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from hpa_utils.paths import REPOSITORY
from hpa_utils.running.notebooks import ALL, DEFAULT, NOTEBOOKS, READS
from hpa_utils.running.parameters import parse_assignments, read_parameters, read_preset, resolve

MANIFEST = REPOSITORY / "kaggle-metadata.json"
SAMPLE_OWNER = "your-kaggle-name"
DRIVER = "kaggle_run"  # the notebook that runs others
TITLE_LENGTHS = {"kernel": (5, 50), "data set": (6, 50)}  # characters that Kaggle takes, also of a slug
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Library:
    """The data set that holds this library.

    Attributes
    ----------
    slug, title : str
    packages : tuple of str
        What of ``requirements.txt`` Kaggle's image lacks.
    """

    slug: str
    title: str
    packages: tuple

    def __post_init__(self):
        _check_types("library", self, {"slug": str, "title": str, "packages": tuple})
        _check_title("library", self.slug, self.title, "data set")
        for package in self.packages:
            requirement(package)


@dataclass(frozen=True)
class Kernel:
    """A kernel.

    Attributes
    ----------
    slug, title : str
    notebook : str
        Name of the notebook, such as ``04_train``.
    gpu, competition : bool
        Whether it runs on GPUs; whether it reads the competition's data.
    parameters : dict
        Of the notebook, over the preset's.
    kernels : tuple of str
        Slugs of the kernels whose output it reads.
    datasets : tuple of str
        Data sets it reads beside the library, ``owner/slug``, or ``slug`` of the manifest's owner.
    resume_from : str
        Slug of the kernel, mostly itself, from whose last output it goes on after its session was cut; empty: none.
    """

    slug: str
    title: str
    notebook: str
    gpu: bool
    competition: bool
    parameters: dict
    kernels: tuple
    datasets: tuple
    resume_from: str

    def __post_init__(self):
        types = {"slug": str, "title": str, "notebook": str, "gpu": bool, "competition": bool, "parameters": dict}
        types |= {"kernels": tuple, "datasets": tuple, "resume_from": str}
        _check_types("kernels", self, types)
        _check_title(f"kernels.{self.slug}", self.slug, self.title, "kernel")
        if not (NOTEBOOKS / f"{self.notebook}.py").is_file() or self.notebook not in (*ALL, DRIVER):
            known = ", ".join((*ALL, DRIVER))
            raise ValueError(f"kernels.{self.slug}.notebook is {self.notebook!r}; there are {known}")
        for source in self.datasets:
            if not all(NAME.fullmatch(part) for part in source.split("/")) or source.count("/") > 1:
                raise ValueError(f"kernels.{self.slug}.datasets has {source!r}; expected owner/slug or slug")

    @property
    def stages(self) -> tuple:
        """The notebooks it runs."""
        if self.notebook != DRIVER:
            return (self.notebook,)
        numbers = self.parameters.get("notebooks", "").split(",")
        return tuple(name for name in DEFAULT if name[:2] in numbers)


@dataclass(frozen=True)
class Plan:
    """The whole manifest.

    Attributes
    ----------
    owner : str
        Kaggle name of whoever pushes.
    competition : str
    preset : str
        In ``notebooks/presets.json``; for all kernels.
    library : Library
    kernels : tuple of Kernel
    push : tuple of str
        Slugs of the kernels to push, in order.
    """

    owner: str
    competition: str
    preset: str
    library: Library
    kernels: tuple
    push: tuple

    def __post_init__(self):
        types = {"owner": str, "competition": str, "preset": str, "library": Library, "kernels": tuple, "push": tuple}
        _check_types("", self, types)
        for name in ("owner", "competition"):
            if not NAME.fullmatch(getattr(self, name)) or len(getattr(self, name)) < 3:
                expected = "three or more of a–z, 0–9 and hyphens, as in its address on Kaggle"
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected {expected}")
        slugs = [self.library.slug, *(kernel.slug for kernel in self.kernels)]
        repeated = [slug for slug in slugs if slugs.count(slug) > 1]
        if repeated:
            raise ValueError(f"kernels.{repeated[0]}: the slug stands there twice")
        _check_sources(self)
        _check_push(self)
        for kernel in self.kernels:
            kernel_parameters(self, kernel)

    def kernel(self, slug: str) -> Kernel:
        """The kernel with this slug."""
        return next(kernel for kernel in self.kernels if kernel.slug == slug)


def read_plan(path: str | Path = MANIFEST) -> Plan:
    """Read and check a manifest.

    Raises
    ------
    FileNotFoundError
    ValueError
        Naming the file and the key, for everything that is missing, unknown or against a rule of Kaggle's.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run from a clone of the repository")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
        content = _keyed("", content, Plan)
        library = Library(**_keyed("library", content.pop("library"), Library))
        listed = content.pop("kernels")
        if not isinstance(listed, tuple) or not listed:
            raise ValueError("kernels: expected a list of one or more")
        names = [one.get("slug", n) if isinstance(one, dict) else n for n, one in enumerate(listed)]
        kernels = [Kernel(**_keyed(f"kernels.{name}", one, Kernel)) for name, one in zip(names, listed)]
        return Plan(**content, library=library, kernels=tuple(kernels))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def kernel_parameters(plan: Plan, kernel: Kernel) -> dict:
    """The values of a kernel's notebook that are not its defaults: the preset's, and over them the kernel's own.

    Raises
    ------
    ValueError
        If the preset or a parameter does not exist, or a value is not of its type.
    """
    own = _defaults(kernel.notebook)
    preset = read_preset(NOTEBOOKS / "presets.json", plan.preset)
    try:
        if kernel.notebook == DRIVER:
            layers = [{"preset": plan.preset}, kernel.parameters]
            run = {name: _defaults(name) for name in kernel.stages}
            resolve(run, [parse_assignments(kernel.parameters.get("assignments", "").split())])
        else:
            everywhere = {name: _defaults(name) for name in ALL}
            layers = [_of_notebook(kernel.notebook, preset, everywhere), kernel.parameters]
        resolved = resolve({kernel.notebook: own}, layers)[kernel.notebook]
    except ValueError as error:
        raise ValueError(f"kernels.{kernel.slug}.parameters: {error}") from None
    return {name: value for name, value in resolved.items() if value != own[name]}


def requirement(package: str) -> str:
    """The line of ``requirements.txt`` for a package, without its comment.

    Raises
    ------
    ValueError
        If there is none.
    """
    lines = [line.partition("#")[0].strip() for line in (REPOSITORY / "requirements.txt").read_text().splitlines()]
    found = [line for line in lines if re.split(r"[=<>~!\s]", line)[0] == package]
    if not found:
        raise ValueError(f"library.packages has {package!r}, which requirements.txt does not")
    return found[0]


def slugify(title: str) -> str:
    """The slug that Kaggle makes of a title: lower case, no accents, every run of other signs a hyphen."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def _object(pairs: list) -> dict:
    """A JSON object, its lists as tuples, no key twice."""
    keys = [key for key, _ in pairs]
    repeated = [key for key in keys if keys.count(key) > 1]
    if repeated:
        raise ValueError(f"{repeated[0]} stands twice in one object")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in pairs}


def _keyed(where: str, content, cls: type) -> dict:
    """`content` if it is an object with just the fields of `cls`."""
    prefix = f"{where}." if where else ""
    if not isinstance(content, dict):
        raise ValueError(f"{where or 'the manifest'}: expected an object, found {type(content).__name__}")
    known = {field.name for field in dataclasses.fields(cls)}
    for name in sorted(set(content) - known):
        raise ValueError(f"{prefix}{name} is unknown; there are {', '.join(sorted(known))}")
    for name in sorted(known - set(content)):
        raise ValueError(f"{prefix}{name} is missing")
    return dict(content)


def _check_types(where: str, one, types: dict) -> None:
    where = "".join(f"{part}." for part in (where, one.slug if isinstance(one, Kernel) else "") if part)
    for name, kind in types.items():
        value = getattr(one, name)
        if type(value) is not kind:
            expected = {tuple: "a list", dict: "an object", bool: "true or false"}.get(kind, "text")
            raise ValueError(f"{where}{name} is {value!r}; expected {expected}")
        item = Kernel if (type(one), name) == (Plan, "kernels") else str
        if kind is tuple and not all(type(part) is item for part in value):
            raise ValueError(f"{where}{name} is {list(value)!r}; expected a list of texts")


def _check_title(where: str, slug: str, title: str, kind: str) -> None:
    least, most = TITLE_LENGTHS[kind]
    for name, text in (("title", title), ("slug", slug)):
        if not least <= len(text) <= most:
            raise ValueError(f"{where}.{name} is {text!r}; a {kind} needs {least} to {most} characters")
    if slugify(title) != slug:
        raise ValueError(f"{where}.title is {title!r}, of which Kaggle makes {slugify(title)!r}, not the slug {slug!r}")


def _check_sources(plan: Plan) -> None:
    """Every source is a kernel of the manifest, none reads itself in the end, and the stages it needs are there."""
    known = {kernel.slug: kernel for kernel in plan.kernels}
    for kernel in plan.kernels:
        for source in (*kernel.kernels, *filter(None, [kernel.resume_from])):
            if source not in known:
                raise ValueError(f"kernels.{kernel.slug} reads {source!r}; there are {', '.join(known)}")
        if kernel.resume_from and not set(kernel.stages) & set(known[kernel.resume_from].stages):
            raise ValueError(f"kernels.{kernel.slug}.resume_from: {kernel.resume_from} runs other notebooks")
        if not kernel.stages:
            raise ValueError(f"kernels.{kernel.slug}.parameters.notebooks: expected numbers such as 02,03,05")
    try:
        TopologicalSorter({kernel.slug: kernel.kernels for kernel in plan.kernels}).prepare()
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise ValueError(f"kernels: a circle, each reads the one before: {circle}") from None
    for kernel in plan.kernels:
        held = {*kernel.stages, *(stage for source in kernel.kernels for stage in known[source].stages)}
        needed = {read: stage for stage in kernel.stages for read in READS[stage]}
        for lacking in sorted(set(needed) - held):
            raise ValueError(f"kernels.{kernel.slug}.kernels: {needed[lacking]} reads {lacking}, which none writes")


def _check_push(plan: Plan) -> None:
    known = [kernel.slug for kernel in plan.kernels]
    for place, slug in enumerate(plan.push):
        if slug not in known or slug in plan.push[:place]:
            raise ValueError(f"push has {slug!r}; expected each of {', '.join(known)} once at most")
        later = [source for source in plan.kernel(slug).kernels if source in plan.push[place:]]
        if later:
            raise ValueError(f"push: {slug} reads {later[0]}, which comes later")


@functools.cache
def _defaults(notebook: str) -> dict:
    return read_parameters(NOTEBOOKS / f"{notebook}.py")


def _of_notebook(notebook: str, preset: dict, everywhere: dict) -> dict:
    resolve(everywhere, [preset])  # raises for a name that no notebook has
    pairs = [(*key.rpartition("."), value) for key, value in preset.items()]
    return {n: v for number, _, n, v in pairs if n in everywhere[notebook] and notebook.startswith(number)}
