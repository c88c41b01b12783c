"""`python -m study report`: a study's report, written again from its record."""

import argparse
import json
import sys

from study.verbs.arguments import add_json, add_name

HELP = "write a study's report again"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_name(parser)
    parser.add_argument(
        "--format",
        metavar="KINDS",
        help="what to write, some of html,csv,md,tex,png (default: html,csv,md)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write a study's report again."""
    from analysis.record import read_record
    from analysis.report import DEFAULT_FORMATS, ReportError, parse_formats, write_formats
    from analysis.results import REPORT_FOLDER
    from study.listing import find_study
    from study.mirror import open_studies, send_study
    from study.plan import PlanError
    from study.record import RecordError

    try:
        formats = DEFAULT_FORMATS if args.format is None else parse_formats(args.format)
    except ValueError as error:
        raise PlanError(f"--format: {error}") from None
    folder = find_study(open_studies(args.studies), args.name, "files")
    try:
        paths, not_written = write_formats(read_record(folder), folder, formats)
    except ReportError as error:
        raise RecordError(str(error)) from error
    send_study(folder, REPORT_FOLDER)
    for sentence in not_written:
        print(sentence, file=sys.stderr)
    if args.json:
        print(json.dumps({"report": [str(path.absolute()) for path in paths]}))
    else:
        for path in paths:
            print(path)
    return 0
