"""`python -m study status`: how far a study is, its front, and what it takes."""

import argparse
import contextlib
import json
import sys
from typing import TYPE_CHECKING

from study.verbs.arguments import add_json, add_name

if TYPE_CHECKING:
    from study.listing import StudyStatus

HELP = "show how far a study is"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_name(parser)
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on showing it until it stops running (Ctrl-C ends the watching, not the study)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Show how far a study is."""
    with contextlib.ExitStack() as stack:
        if args.watch:
            stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        _show(args)
    return 0


def _show(args: argparse.Namespace) -> None:
    from analysis.record import RecordReader
    from study.console import make_console, make_view
    from study.listing import find_study, status_of
    from study.mirror import open_studies
    from study.status_view import print_status, watch
    from study.summary import StudySummary

    folder = find_study(open_studies(args.studies), args.name)
    reader = RecordReader(folder)

    def look() -> "StudyStatus":
        return status_of(StudySummary(reader.read(), folder))

    # A large record takes seconds to read, the first time.
    with make_console(sys.stderr).status(f"reading the record of {args.name} …"):
        status = look()
    if args.watch:
        watch(status, look, as_json=args.json)
    elif args.json:
        print(json.dumps(status.to_json()))
    else:
        print_status(status, make_view())
