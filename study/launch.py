"""Start a study, or continue it.

    python -m study.launch --space cifar_blocks --data digits --budget 5m

Everything that can be wrong is found before Ray or torch is loaded, and named with the mend.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.arguments import parser
from study.driving import Shown, check, drive
from study.mirror import check_shared, open_studies
from study.plan import PlanError, StudyPlan
from study.refusals import INTERRUPTED, refusals, refuse
from study.resolving import resolve
from study.unread import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = parser().parse_args(argv)
    try:
        check_shared(args.studies, args.storage)
        if args.submit:
            plan, _ = resolve(args)
            return _submit(plan, args, sys.argv[1:] if argv is None else argv)
        studies = open_studies(args.studies, write=not args.dry_run)
        args.studies = str(studies)
        plan, space = resolve(args)
        check(plan, space, studies)
        if args.dry_run:
            from study.estimate import show_plan

            return show_plan(plan, space, studies, as_json=args.json)
        return drive(plan, space, studies, Shown(args.json, args.quiet, args.debug))
    except refusals() as error:
        return refuse(error)
    except KeyboardInterrupt:
        say("stopped before the study began", sys.stderr)
        return INTERRUPTED


def _submit(plan: StudyPlan, args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Have the cluster of ``--submit`` run this command; what lies there is checked there."""
    from search_spaces.catalogue import BUILT_IN
    from study.submission import Submission, check_paths, data_beside, run_there, without_option

    words = without_option(argv)
    check_paths(args)
    if plan.space.endswith(".py") and not Path(plan.space).resolve().is_relative_to(Path.cwd()):
        raise PlanError(
            f"--space {plan.space}: with --submit the Python files of the working directory go "
            "along; give the command in the folder of your space"
        )
    if plan.space.endswith(".py") and Path(plan.space).is_absolute():
        raise PlanError(
            f"--space {plan.space}: with --submit, write it from the working directory: "
            f"--space {Path(plan.space).relative_to(Path.cwd())}"
        )
    if args.address is None:
        words = (*words, "--address", "auto")
    if args.data_dir is None and Path(plan.data).name == plan.data != "digits":
        words = (*words, *data_beside(args.studies))
    own = plan.space not in BUILT_IN
    return run_there(Submission(args.submit, "study.launch", words, args.studies, own, args.json))


if __name__ == "__main__":
    sys.exit(main())
