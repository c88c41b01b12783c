"""Start a study, or continue it.

    python -m study.launch --space cifar_blocks --data digits --budget 5m

Everything that can be wrong is found before Ray or torch is loaded, and named with the mend.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from study.arguments import parser, resolve
from study.driving import Shown, check, drive
from study.refusals import refusals, refuse


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = parser().parse_args(argv)
    studies = Path(args.studies)
    try:
        plan, space = resolve(args)
        check(plan, space, studies)
        if args.dry_run:
            from study.estimate import show_plan

            return show_plan(plan, space, studies, as_json=args.json)
        return drive(plan, space, studies, Shown(args.json, args.quiet, args.debug))
    except refusals() as error:
        return refuse(error)
    except KeyboardInterrupt:
        print("stopped before the study began", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
