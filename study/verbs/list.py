"""`python -m study list`: all studies of a folder."""

import argparse
import json
import sys

from study.unread import say
from study.verbs.arguments import add_json, add_studies

HELP = "list all studies"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_studies(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List all studies of the folder."""
    from rich.text import Text

    from study.console import make_console, make_view
    from study.listing import study_states, study_table
    from study.mirror import open_studies

    closed: dict[str, str] = {}
    with make_console(sys.stderr).status("reading studies …") as reading:
        studies = open_studies(args.studies)
        states = study_states(
            studies, lambda name: reading.update(Text(f"reading {name} …")), closed.__setitem__
        )
    for name, reason in closed.items():
        say(f"warning: {name} in {args.studies} may not be read ({reason})", sys.stderr)
    if args.json:
        print(json.dumps({"studies": states}))
        return 0
    if not states:
        if not closed:
            print(f"no studies in {args.studies}; start one: python -m study.launch --help")
        return 0
    console = make_view()
    console.print(study_table(states, console.width))
    for state in states:
        if "reason" in state:
            console.print(state["reason"], highlight=False, markup=False, soft_wrap=True)
    return 0
