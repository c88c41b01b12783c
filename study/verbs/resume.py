"""`python -m study resume`: continue a study, or extend it, without repeating its arguments."""

import argparse
from pathlib import Path

from study.verbs.arguments import add_name, add_own_code

HELP = "continue or extend a study from its stored plan"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments: those of a launch that may change between two runs."""
    from study.arguments import CHANGEABLE, shown_arguments

    add_name(parser)
    add_own_code(parser)
    changed = parser.add_argument_group("what may be changed (default: as it was)")
    for option, how in CHANGEABLE.items():
        changed.add_argument(option, **{**how, "help": how["help"].partition(" (default")[0]})
    shown_arguments(parser.add_argument_group("what is shown"))


def run(args: argparse.Namespace) -> int:
    """Continue a study to its end and return the exit code."""
    from analysis.database import absolute_uri
    from search_spaces.catalogue import load_space
    from study.driving import Shown, check, drive
    from study.exporting.source import enter_directory
    from study.listing import find_study
    from study.mirror import open_studies
    from study.plan import PlanError, StudyPlan
    from study.record import read_plan_file
    from study.resolving import changed

    studies = open_studies(args.studies).absolute()
    document = read_plan_file(find_study(studies, args.name, "students")) or {}
    stored = StudyPlan.from_json(document.get("plan", {}))
    if stored.name != args.name:
        raise PlanError(
            f"the folder {args.name} holds the study {stored.name}; give it that name again"
        )
    # Given here, so meant from here; the stored plan's own begin where the study was started.
    if args.data_dir is not None:
        args.data_dir = str(Path(args.data_dir).absolute())
    if args.tracking_uri is not None:
        args.tracking_uri = absolute_uri(args.tracking_uri, Path())
    plan = changed(stored, args)
    enter_directory(document)
    space = load_space(plan.space).with_fixed(plan.fixed).with_objectives(plan.objectives)
    check(plan, space, studies)
    return drive(plan, space, studies, Shown(args.json, args.quiet, args.debug))
