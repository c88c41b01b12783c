"""`python -m study report`: a study's report, written again from its record."""

import argparse
import json

from study.verbs.arguments import add_json, add_name

HELP = "write a study's report again"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_name(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write a study's report again."""
    from analysis.report import ReportError, write_report
    from analysis.results import REPORT_FOLDER
    from study.listing import find_study
    from study.mirror import open_studies, send_study
    from study.record import RecordError

    folder = find_study(open_studies(args.studies), args.name, "files")
    try:
        paths = write_report(folder)
    except ReportError as error:
        raise RecordError(str(error)) from error
    send_study(folder, REPORT_FOLDER)
    if args.json:
        print(json.dumps({"report": [str(path.absolute()) for path in paths]}))
    else:
        for path in paths:
            print(path)
    return 0
