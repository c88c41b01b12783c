"""`python -m study status`: how far a study is, and its front."""

import argparse
import json
from pathlib import Path
from typing import Any

from study.verbs.arguments import add_json, add_name

HELP = "show how far a study is"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_name(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Show how far a study is."""
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
