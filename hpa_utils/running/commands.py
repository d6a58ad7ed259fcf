"""The command line: ``python -m hpa_utils simulate | run | score | validate | kaggle-stage``."""

import argparse
import errno
import os
import re
import sys
from os.path import expanduser
from pathlib import Path

from hpa_utils.checks import did_you_mean, parse_json

DESCRIPTION = "From Human Protein Atlas fields with image-level labels to the organelles of each single cell."
EXAMPLES = """examples:
  python -m hpa_utils run --preset demo                          the simulated competition of `make demo`
  python -m hpa_utils run --data ~/hpa --out ~/runs/a -p epochs=30
  python -m hpa_utils run --data ~/hpa --out ~/runs/a --notebooks 04 --folds 1,2
  python -m hpa_utils run --data ~/new --out ~/runs/b --model ~/runs/a/04_train    predict with trained models

presets:
"""
REMEDIES = {  # codes of the operating system → what to do
    (errno.EACCES, errno.EPERM, errno.EROFS): "change the rights of the folder, or choose another place",
    (errno.ENOSPC, errno.EDQUOT): "make room, or choose another place; what is finished stays",
    (errno.ENOTDIR, errno.EEXIST): "a file stands where a folder is to be: move it away, or choose another place",
    (errno.ENAMETOOLONG,): "choose shorter names",
}


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, with the nearest name of what was misspelt; `epilog` is made when it is read."""

    def format_help(self):
        self.epilog = self.epilog() if callable(self.epilog) else self.epilog
        return super().format_help()

    def error(self, message):
        wrong = re.search(r"(.*): invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if wrong:
            names = [name.strip(" '") for name in wrong[3].split(",")]
            message = f"{wrong[1]}: there is no {wrong[2]}{did_you_mean(wrong[2], names)}"
        self.exit(2, f"{self.prog}: {message}; --help shows what there is\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 1 for an error, which is printed in one line."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except OSError as error:
        print(f"hpa_utils {options.name}: {_of_system(error)}", file=sys.stderr)
    except (ValueError, ImportError, RuntimeError) as error:
        print(f"hpa_utils {options.name}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"hpa_utils {options.name}: interrupted; what is finished stays", file=sys.stderr)
    return 1


def _of_system(error: OSError) -> str:
    """What the operating system refused, where, and what to do; the library's own errors say it themselves."""
    if error.errno is None:
        return str(error)
    text = error.strerror or str(error)
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    plain = text == os.strerror(error.errno)
    remedies = [f"; {remedy}" for codes, remedy in REMEDIES.items() if plain and error.errno in codes]
    return "".join([place, text, *remedies])


def _simulate(options) -> int:
    from hpa_simulator import write_dataset

    size = int(options.size) if options.size.isdigit() else options.size
    given = (options.out, options.train, options.test, size, options.seed, options.weakness, options.rare)
    print(f"simulated data set: {write_dataset(*given)}")
    return 0


def _run(options) -> int:
    from hpa_utils.paths import find_out
    from hpa_utils.running.notebooks import SOURCES, numbered, run_notebooks
    from hpa_utils.running.parameters import describe_parameters

    if options.help_parameters:
        for notebook in numbered(options.help_parameters):
            print(f"{notebook}, by -p NAME=VALUE or -p {notebook[:2]}.NAME=VALUE:")
            print(*(f"  {line}" for line in describe_parameters(SOURCES / f"{notebook}.py")), sep="\n")
        return 0
    names = ("data", "notebooks", "runs", "force", "preset", "segmenter", "model", "folds", "rounds")
    given = {name: getattr(options, name) for name in names}
    page = run_notebooks(out=str(find_out(options.out)), assignments=tuple(options.parameter), **given)
    print(f"results: {page}")
    return 0


def _score(options) -> int:
    from hpa_utils.paths import write_json
    from hpa_utils.scoring import report_lines, score_report

    call = (options.absent, options.bootstrap, options.against, options.diagnose)
    scores = score_report(options.truth, options.submission, *call)
    print(*report_lines(scores), sep="\n")
    if options.json:
        write_json(Path(options.json), scores)
    return 0


def _validate(options) -> int:
    from hpa_utils.scoring import validate_submission

    findings = validate_submission(options.submission, options.sample)
    print(*findings, f"{options.submission}: {len(findings) or 'no'} findings", sep="\n")
    return 1 if any(finding.level in ("error", "warning") for finding in findings) else 0


def _kaggle_stage(options) -> int:
    import tempfile

    from hpa_utils.running import kaggle

    plan = kaggle.read_plan()
    with tempfile.TemporaryDirectory() as wheels:
        folders = kaggle.stage(plan, options.out, kaggle.build_wheels(plan, wheels))
    print(f"staged in {options.out}: {', '.join(folder.name for folder in folders)}", flush=True)
    only = tuple(filter(None, options.only.split(",")))
    if options.push or options.start or only or options.no_run:
        kaggle.push(plan, options.out, options.start, only, not options.no_run)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m hpa_utils", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def command(name: str, function, what: str, epilog=None) -> argparse.ArgumentParser:
        plain = argparse.RawDescriptionHelpFormatter
        added = commands.add_parser(name, help=what, description=what, epilog=epilog, formatter_class=plain)
        added.set_defaults(command=function)
        return added

    simulate = command("simulate", _simulate, "write a simulated data set in Kaggle's layout")
    simulate.add_argument("out", metavar="OUT", type=expanduser, help="folder of the data set")
    simulate.add_argument("--train", type=int, default=160, help="train fields (default: 160)")
    simulate.add_argument("--test", type=int, default=40, help="test fields (default: 40)")
    simulate.add_argument("--size", default="512", metavar="PX", help="side of a field, px, or mixed (default: 512)")
    simulate.add_argument("--seed", type=int, default=0, help="same seed, same files (default: 0)")
    simulate.add_argument("--weakness", type=float, default=1.0, help="0: cells show all labels (default: 1)")
    rare = "how often rare classes are (default: floor)"
    simulate.add_argument("--rare", default="floor", choices=("floor", "natural"), help=rare)

    run = command("run", _run, "run the notebooks in order through papermill", _examples)
    run.add_argument("--data", default="", metavar="ROOT", help="data set root (default: HPA_DATA, else the demo's)")
    run.add_argument("--out", default="", metavar="OUT", help="output root (default: HPA_OUT, else the demo's)")
    run.add_argument("--preset", default="", metavar="NAME", help="named set of parameters, see below")
    run.add_argument("--notebooks", default="", metavar="02,03", help="only these (default: 01,02,03,04,05)")
    segmenters = ("auto", "hpacellseg", "watershed", "masks")
    run.add_argument("--segmenter", default="", choices=segmenters, help="what finds the cells (default: auto)")
    run.add_argument("--model", default="", metavar="DIR", help="model folder, or a folder of them, to use")
    run.add_argument("--folds", default="", metavar="0,1", help="folds of 04 that get a model (default: the preset's)")
    run.add_argument("--rounds", type=int, default=0, metavar="N", help="rounds of 04 (default: the preset's)")
    run.add_argument("--runs", default="", metavar="NAME,…", help="only the runs of these names (default: all)")
    run.add_argument("--force", action="store_true", help="make finished runs anew")
    assignment = "parameter of all notebooks that have it, or of one: 04.NAME=VALUE; may be repeated"
    run.add_argument("-p", dest="parameter", action="append", default=[], metavar="NAME=VALUE", help=assignment)
    run.add_argument("--help-parameters", default="", metavar="04", help="list the parameters of notebooks, and stop")

    score = command("score", _score, "score a submission against a truth file")
    score.add_argument("--truth", required=True, type=expanduser, metavar="T.csv", help="the true cells")
    score.add_argument("--submission", required=True, type=expanduser, metavar="S.csv", help="the predicted cells")
    absent = "what a detection of a class is in a field without it (default: false_positive)"
    score.add_argument("--absent", default="false_positive", choices=("false_positive", "ignored"), help=absent)
    score.add_argument("--json", default="", type=expanduser, metavar="OUT.json", help="write the scores there, too")
    score.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="for the interval (default: 1000)")
    score.add_argument("--against", default="", type=expanduser, metavar="OTHER.csv", help="submission to compare with")
    score.add_argument("--diagnose", action="store_true", help="say where the score is lost")

    validate = command("validate", _validate, "check a submission before it is sent")
    validate.add_argument("--submission", required=True, type=expanduser, metavar="S.csv", help="the predicted cells")
    validate.add_argument("--sample", default="", type=expanduser, metavar="SAMPLE.csv", help="its fields")

    staging = command("kaggle-stage", _kaggle_stage, "write the folders that Kaggle's command line uploads")
    staging.add_argument("--out", required=True, type=expanduser, metavar="DIR", help="folder of these folders")
    staging.add_argument("--push", action="store_true", help="upload them, too, and wait for each kernel; goes on")
    staging.add_argument("--from", dest="start", default="", metavar="KERNEL", help="push from this one on")
    staging.add_argument("--only", default="", metavar="KERNEL,…", help="push only these, even if they are complete")
    staging.add_argument("--no-run", action="store_true", help="push, but run nothing: press Run in the editor")
    return parser


def _examples() -> str:
    """Calls of `run`, and a line a preset with its values, from notebooks/presets.json."""
    path, lines = Path(__file__).parents[2] / "notebooks" / "presets.json", []
    for name, preset in (parse_json(path) if path.is_file() else {}).items():
        values = [f"{key}={value}" for key, value in preset.items() if not isinstance(value, list)]
        members = [(key, one) for key in ("03", "04") for one in preset.get(key, [])]
        values += [f"{key}: " + ", ".join(f"{own}={value}" for own, value in one.items()) for key, one in members]
        lines.append(f"  {name:6s}  {'; '.join(values)}")
    return EXAMPLES + "\n".join(lines)
