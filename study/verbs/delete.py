"""`python -m study delete`: remove a study, after asking."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from study.unread import say
from study.verbs.arguments import add_json, add_name

if TYPE_CHECKING:
    from study.delete import Removal

HELP = "delete a study"
_STAYS = "its MLflow runs, and the teachers and data sets that studies share, stay"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_name(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Delete a study."""
    from study.commands import command
    from study.delete import DeleteError, RemnantError, find_removal, finish_earlier, remove
    from study.mirror import open_studies

    studies, name = open_studies(args.studies, write=True), args.name
    # With --json standard output is for the object alone.
    shown = sys.stderr if args.json else sys.stdout
    try:
        if finish_earlier(studies, name):
            return _conclude(args, {"name": name, "deleted": True}, f"deleted the rest of {name}")
        removal = find_removal(studies, name)
        print(*_description(removal), sep="\n", file=shown)
        if not args.yes:
            if not sys.stdin.isatty():
                raise DeleteError(
                    f"study {name} is kept: without a terminal to ask on, a deletion needs --yes"
                )
            if not _confirmed(name):
                return _conclude(args, {**removal.to_json(), "deleted": False}, f"kept {name}")
        print(f"deleting {name} …", file=shown, flush=True)
        remove(
            removal,
            lambda holder: print(f"waiting for a sign of life of {holder} …", file=shown),
        )
    except RemnantError as error:
        say(f"error: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = command("delete", studies / name)
        say(f"\nstopped; `{again}` again to go on", sys.stderr)
        return 130
    return _conclude(args, {**removal.to_json(), "deleted": True}, f"deleted {name}")


def _description(removal: "Removal") -> list[str]:
    from analysis.formatting import NBSP, counted, size, without_password
    from study.mirror import mirror_of, shown

    trials = "trials unknown" if removal.trials is None else counted(removal.trials, "trial")
    lines = [f"study {removal.name}: {trials}, {size(removal.size)} in {removal.folder}"]
    studies = removal.folder.parent
    if mirror_of(studies) is not None:
        lines.append(f"what lies in {shown(studies)}/{removal.name} goes too")
    if removal.damage is not None:
        lines.append(f"it is damaged: {removal.damage}")
    if removal.storage is not None:
        lines.append(f"its record in {without_password(removal.storage)} goes too")
    if removal.stays is not None:
        lines.append(removal.stays)
    return [line.replace(NBSP, " ") for line in (*lines, _STAYS)]


def _confirmed(name: str) -> bool:
    """Ask on the terminal; no answer is a no."""
    print(f"Delete study {name}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _conclude(args: argparse.Namespace, body: dict[str, object], line: str) -> int:
    print(json.dumps(body) if args.json else line)
    return 0
