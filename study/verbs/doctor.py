"""`python -m study doctor`: what works here, what does not, and the mend."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from study.unread import say
from study.verbs.arguments import add_json, add_studies

if TYPE_CHECKING:
    from study.doctor.check import Check

HELP = "say what works here, what does not, and the mend"
_MARKS = {"ok": ("✓", "32"), "note": ("·", "33"), "fail": ("✗", "31")}
_WIDTH = 15


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments, those of a launch that name what it uses."""
    from study.arguments import CHANGEABLE

    add_studies(parser)
    parser.add_argument(
        "--data", metavar="NAME|FOLDER", help="a data set to look for (default: the built-in ones)"
    )
    for option in ("--data-dir", "--tracking-uri", "--address"):
        parser.add_argument(option, **CHANGEABLE[option])
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run every check; 0 if none fails."""
    from study.doctor import CHECKS
    from study.doctor.check import Scope, attempt
    from study.logs import output_to_log
    from study.mirror import open_studies

    scope = Scope(
        studies=open_studies(args.studies, write=True),
        data=args.data,
        data_dir=Path(args.data_dir) if args.data_dir else None,
        tracking_uri=args.tracking_uri,
        address=args.address,
    )
    found: list[Check] = []
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with output_to_log() as terminal:
            # With --json standard output is for the object alone.
            shown = terminal.err if args.json else terminal.out
            try:
                for name, examine in CHECKS:
                    _show_begun(name, shown)
                    found.append(attempt(name, examine, scope))
                    _show(found[-1], shown)
            finally:
                terminal.log.unlink(missing_ok=True)
    except KeyboardInterrupt:
        say("\nstopped", sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    failed = [check.name for check in found if check.state == "fail"]
    if args.json:
        print(json.dumps({"ok": not failed, "checks": [check.to_json() for check in found]}))
    elif failed:
        print(f"{len(failed)} of {len(found)} fail: {', '.join(failed)}")
    else:
        print("a study can run here")
    return 1 if failed else 0


def _show_begun(name: str, stream: TextIO) -> None:
    """On a terminal, say what is being looked at until it has been."""
    if stream.isatty():
        stream.write(f"… {name}")
        stream.flush()


def _show(check: "Check", stream: TextIO) -> None:
    mark, colour = _MARKS[check.state]
    if stream.isatty():
        if not os.environ.get("NO_COLOR"):
            mark = f"\x1b[{colour}m{mark}\x1b[0m"
        mark = f"\r\x1b[K{mark}"
    print(f"{mark} {check.name:<{_WIDTH}}{check.text}", file=stream)
    if check.mend is not None:
        print(f"{'':<{_WIDTH + 2}}→ {check.mend}", file=stream, flush=True)
