"""`python -m study sync`: bring MLflow up to what a study's record says."""

import argparse
import json
import sys

from study.unread import say
from study.verbs.arguments import add_json, add_name, add_own_code

HELP = "bring MLflow up to a study's record"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_name(parser)
    add_own_code(parser)
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="the MLflow to bring up to date (default: the plan's)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="give up once MLflow has answered nothing for so long (default: 30)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Bring MLflow up to the record, and return the exit code."""
    from analysis.results import REPORT_FOLDER
    from study.exporting.programs import PROGRAMS_FOLDER
    from study.listing import find_study
    from study.mirror import open_studies, send_study
    from study.plan import PlanError
    from study.progress import make_progress
    from study.tracking.synchronise import synchronise
    from study.tracking.tracker import where_to_look

    if not args.timeout > 0:
        raise PlanError(f"--timeout {args.timeout:g} is not above 0; give a number of seconds")
    folder = find_study(open_studies(args.studies), args.name, "students")
    # With --json standard output is for the object alone.
    progress = make_progress(sys.stderr if args.json else sys.stdout, quiet=False)
    try:
        report = synchronise(folder, args.tracking_uri, progress, args.timeout)
    except KeyboardInterrupt:
        say("stopped; give the same command again to finish", sys.stderr)
        return 130
    send_study(folder, REPORT_FOLDER, PROGRAMS_FOLDER)
    if args.json:
        print(json.dumps(report.to_json()))
    elif report.mlflow is not None and report.problem is None:
        progress.say(f"{report.study}: {report.trials} trials are in MLflow as in the record")
        for label, text in where_to_look(report.mlflow):
            progress.say(f"{label:<9}{text}")
    if report.problem is not None:
        say(f"error: {report.problem}", sys.stderr)
        return 1
    return 0
