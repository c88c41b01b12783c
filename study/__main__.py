"""Looking at studies and spaces: `python -m study spaces|list|status|report`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_EPILOG = """\
examples:
  python -m study spaces                 the built-in search spaces
  python -m study spaces cifar_blocks    one of them, with its parameters and presets
  python -m study list                   all studies of the folder
  python -m study status NAME            how far one is, and its front
  python -m study report NAME            write its report again, and say where it is

To start or continue a study: python -m study.launch --help
"""


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m study",
        description="Look at search spaces and studies.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    spaces = verbs.add_parser("spaces", help="list the search spaces, or show one")
    spaces.add_argument("space", nargs="?", help="a name, FILE.py or module:ATTRIBUTE")
    listing = verbs.add_parser("list", help="list all studies")
    status = verbs.add_parser("status", help="show how far a study is")
    report = verbs.add_parser("report", help="write a study's report again")
    for verb in (status, report):
        verb.add_argument("name", help="the study's name")
    for verb in (listing, status, report):
        verb.add_argument("--studies", default="studies", metavar="DIR", help="folder of studies")
    for verb in (spaces, listing, status, report):
        verb.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    args = _parser().parse_args(argv)
    verbs = {"spaces": _spaces, "list": _list, "status": _status, "report": _report}
    try:
        return verbs[args.verb](args)
    except ValueError as error:
        # Every refusal of this project is a ValueError with a line for the user.
        if not type(error).__module__.startswith(("study", "analysis", "search_spaces")):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def _spaces(args: argparse.Namespace) -> int:
    from search_spaces.catalogue import BUILT_IN, load_space
    from study.plan_view import parameter_rows
    from study.progress import make_console

    if args.space is None:
        spaces = [load_space(name) for name in BUILT_IN]
        if args.json:
            print(json.dumps({"spaces": [space.to_json() for space in spaces]}))
            return 0
        width = max(len(space.name) for space in spaces) + 2
        for space in spaces:
            presets = f" (presets: {', '.join(space.presets)})" if space.presets else ""
            print(f"{space.name:<{width}}{space.title}{presets}")
        return 0
    space = load_space(args.space)
    if args.json:
        print(json.dumps(space.to_json(next(iter(space.presets), None))))
        return 0
    console = make_console()
    console.print(f"{space.name}: {space.title}", style="bold", highlight=False)
    console.print(space.description, highlight=False)
    rows = parameter_rows(space)
    width = max(len(name) for name, _ in rows) + 2
    console.print("\nParameters", style="bold")
    for name, text in rows:
        console.print(f"  {name:<{width}}{text}", highlight=False, markup=False)
    for preset, members in space.presets.items():
        console.print(f"\nPreset {preset}", style="bold")
        for row in members:
            figures = ", ".join(f"{key} {value:g}" for key, value in row.published.items())
            console.print(f"  {row.label}: published {figures}", highlight=False, markup=False)
    return 0


def _list(args: argparse.Namespace) -> int:
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


def _status(args: argparse.Namespace) -> int:
    from study.listing import find_study, state_of
    from study.progress import duration, front_table, make_console, trial_line
    from study.summary import summarise

    folder = find_study(Path(args.studies), args.name)
    summary = summarise(folder)
    state = state_of(folder, summary)
    if args.json:
        body: dict[str, Any] = {**summary.to_json(), "state": state}
        print(json.dumps(body))
        return 0
    console = make_console()
    counts = ", ".join(f"{n} {status}" for status, n in summary.counts.items() if n)
    planned = summary.results.plan.plan.get("trials")
    console.print(f"{args.name}: {state}", style="bold", highlight=False)
    console.print(
        f"{len(summary.trials)} of {planned} trials ({counts or 'none yet'}), "
        f"{duration(summary.seconds)}",
        highlight=False,
    )
    for trial in summary.trials:
        if trial.status not in ("complete", "running"):
            console.print(f"  {trial_line(trial)}", highlight=False, markup=False, soft_wrap=True)
    if summary.front:
        console.print(front_table(summary.front, title="front"))
    return 0


def _report(args: argparse.Namespace) -> int:
    from analysis.report import write_report
    from study.listing import find_study

    paths = write_report(find_study(Path(args.studies), args.name))
    if args.json:
        print(json.dumps({"report": [str(path.absolute()) for path in paths]}))
    else:
        for path in paths:
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
