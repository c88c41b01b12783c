"""`python -m study list`: all studies of a folder."""

import argparse
import json
from pathlib import Path

from study.verbs.arguments import add_json, add_studies

HELP = "list all studies"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_studies(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List all studies of the folder."""
    from study.listing import study_lines, study_states

    states = study_states(Path(args.studies))
    if args.json:
        print(json.dumps({"studies": states}))
    elif not states:
        print(f"no studies in {args.studies}; start one: python -m study.launch --help")
    else:
        for line in study_lines(states):
            print(line)
    return 0
