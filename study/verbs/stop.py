"""`python -m study stop`: have a study's driver stop, from any machine that shares the folder."""

import argparse
import json
import sys

from study.unread import say
from study.verbs.arguments import add_json, add_name

HELP = "stop a running study; it can be resumed"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_name(parser)
    parser.add_argument(
        "--timeout",
        type=float,
        default=300.0,
        metavar="S",
        help="seconds to wait for the driver to end (default: 300)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Ask the driver to stop, wait for it, and return the exit code."""
    from study.commands import command
    from study.console import make_console
    from study.listing import find_study
    from study.lock import is_live, read_holder
    from study.mirror import open_studies
    from study.plan import PlanError
    from study.watch import request_stop, wait_for_stop

    if not args.timeout > 0:
        raise PlanError(f"--timeout {args.timeout:g} is not above 0; give a number of seconds")
    folder = find_study(open_studies(args.studies), args.name)
    holder = read_holder(folder)
    if holder is None or not is_live(folder):
        return _answer(args, stopped=False, text=f"{args.name} is not running")
    try:
        request_stop(folder, holder)
    except OSError as error:
        say(
            f"error: the request to stop {args.name} cannot be written in {folder} "
            f"({error.strerror}); mend that, or end {holder}",
            sys.stderr,
        )
        return 1
    console = make_console(sys.stderr)
    with console.status(f"waiting for {holder} to stop …"):
        ended = wait_for_stop(folder, holder, args.timeout)
    if not ended:
        say(
            f"error: {holder} has not stopped within {args.timeout:g} s; its trials may be in a "
            "long epoch: wait, or end that process",
            sys.stderr,
        )
        return 1
    text = f"{args.name} has stopped; to go on: {command('resume', folder)}"
    return _answer(args, stopped=True, text=text)


def _answer(args: argparse.Namespace, *, stopped: bool, text: str) -> int:
    print(json.dumps({"study": args.name, "stopped": stopped}) if args.json else text)
    return 0
