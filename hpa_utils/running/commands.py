"""The command line: ``python -m hpa_utils simulate | run | score | validate | kaggle-stage``."""

import argparse
import sys
from pathlib import Path

DESCRIPTION = "From Human Protein Atlas fields with image-level labels to the organelles of each single cell."


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 1 for an error, which is printed in one line."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"hpa_utils {options.name}: {error}", file=sys.stderr)
        return 1


def _simulate(options) -> int:
    from hpa_simulator import write_dataset

    size = int(options.size) if options.size.isdigit() else options.size
    call = (options.out, options.train, options.test, size, options.seed, options.weakness, options.rare)
    root = write_dataset(*call)
    print(f"simulated data set: {root}")
    return 0


def _run(options) -> int:
    from hpa_utils.paths import find_out
    from hpa_utils.running.notebooks import run_notebooks

    page = run_notebooks(
        data=options.data,
        out=str(find_out(options.out)),
        notebooks=options.notebooks,
        preset=options.preset,
        segmenter=options.segmenter,
        model=options.model,
        folds=options.folds,
        rounds=options.rounds,
        runs=options.runs,
        force=options.force,
        assignments=tuple(options.parameter),
    )
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
    print(f"staged in {options.out}: {', '.join(folder.name for folder in folders)}")
    print(*kaggle.push_commands(plan, options.out), sep="\n", flush=True)
    if options.push:
        kaggle.push(plan, options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hpa_utils", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="name", required=True)

    simulate = commands.add_parser("simulate", help="write a simulated data set in Kaggle's layout")
    simulate.add_argument("out", metavar="OUT")
    simulate.add_argument("--train", type=int, default=160, help="train fields")
    simulate.add_argument("--test", type=int, default=40, help="test fields")
    simulate.add_argument("--size", default="512", metavar="PX", help="side of a field, px, or mixed, as on Kaggle")
    simulate.add_argument("--seed", type=int, default=0)
    simulate.add_argument("--weakness", type=float, default=1.0, help="0: each cell shows all labels, 1: as graded")
    simulate.add_argument("--rare", default="floor", choices=("floor", "natural"), help="give rare classes a minimum")
    simulate.set_defaults(command=_simulate)

    run = commands.add_parser("run", help="run the notebooks in order through papermill")
    run.add_argument("--data", default="", metavar="ROOT", help="data set root")
    run.add_argument("--out", default="", metavar="OUT", help="output root, a folder a stage")
    run.add_argument("--preset", default="", help="named set of parameters, from notebooks/presets.json")
    run.add_argument("--notebooks", default="", metavar="02,03", help="only these")
    run.add_argument("--segmenter", default="", choices=("auto", "hpacellseg", "watershed", "masks"))
    run.add_argument("--model", default="", metavar="DIR", help="model folder, or a folder of them, to use")
    run.add_argument("--folds", default="", metavar="0,1", help="folds of 04 that get a model")
    run.add_argument("--rounds", type=int, default=0, metavar="N", help="rounds of 04; from the second, soft labels")
    run.add_argument("--runs", default="", metavar="NAME,…", help="only the runs of these names")
    run.add_argument("--force", action="store_true", help="make finished runs anew")
    run.add_argument("-p", dest="parameter", action="append", default=[], metavar="NAME=VALUE")
    run.set_defaults(command=_run)

    score = commands.add_parser("score", help="score a submission against a truth file")
    score.add_argument("--truth", required=True, metavar="T.csv")
    score.add_argument("--submission", required=True, metavar="S.csv")
    score.add_argument("--absent", default="false_positive", choices=("false_positive", "ignored"))
    score.add_argument("--json", default="", metavar="OUT.json")
    score.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="rounds of the 95 %% interval; 0: none")
    score.add_argument("--against", default="", metavar="OTHER.csv", help="submission to compare with")
    score.add_argument("--diagnose", action="store_true", help="say where the score is lost")
    score.set_defaults(command=_score)

    validate = commands.add_parser("validate", help="check a submission before it is sent")
    validate.add_argument("--submission", required=True, metavar="S.csv")
    validate.add_argument("--sample", default="", metavar="sample_submission.csv")
    validate.set_defaults(command=_validate)

    staging = commands.add_parser("kaggle-stage", help="write the folders that Kaggle's command line uploads")
    staging.add_argument("--out", required=True, metavar="DIR")
    staging.add_argument("--push", action="store_true", help="upload them, too, and wait for each kernel")
    staging.set_defaults(command=_kaggle_stage)
    return parser
