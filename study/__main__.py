"""Looking after studies: `python -m study VERB`."""

import argparse
import importlib
import select
import sys
from collections.abc import Sequence

from study.command_line import Parser
from study.unread import drop, say

_EPILOG = """\
examples:
  python -m study spaces                 the built-in search spaces
  python -m study spaces cifar_blocks    one of them, with its parameters and presets
  python -m study list                   all studies of the folder
  python -m study status NAME            how far one is, and its front
  python -m study stop NAME              stop it, from any terminal; it can be resumed
  python -m study resume NAME            go on with it, without repeating its arguments
  python -m study sync NAME              bring MLflow up to its record
  python -m study report NAME            write its report again, and say where it is
  python -m study export NAME --trial 7  take a student out of it, as ONNX, pt2 or TorchScript
  python -m study delete NAME            remove it, after asking
  python -m study doctor                 what works here, what does not, and the mend
  python -m study status NAME --studies /shared --submit http://127.0.0.1:8265
                                         the same on a cluster, by its Ray dashboard

To start or continue a study: python -m study.launch --help
"""

VERBS = (
    "spaces",
    "list",
    "status",
    "stop",
    "resume",
    "report",
    "export",
    "sync",
    "delete",
    "doctor",
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m study`."""
    made = Parser(
        prog="python -m study",
        description="Look at search spaces and studies.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        verb = importlib.import_module(f"study.verbs.{name}")
        # A module's docstring begins with its usage, which argparse has said already.
        _, _, about = (verb.__doc__ or "").partition(": ")
        about = about[:1].upper() + about[1:]
        parser = verbs.add_parser(name, help=verb.HELP, description=about)
        verb.configure(parser)
        parser.set_defaults(run=verb.run)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    from study.refusals import INTERRUPTED, refusals, refuse

    args = make_parser().parse_args(argv)
    try:
        if getattr(args, "submit", None):
            return _run_there(args, sys.argv[1:] if argv is None else argv)
        if getattr(args, "own_code", False):
            from study.plan import PlanError

            return refuse(PlanError("--own-code goes with --submit URL; here it is found anyway"))
        code: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return 1
    except refusals() as error:
        return refuse(error)
    except KeyboardInterrupt:
        say(f"{args.verb} was interrupted; give the same command again", sys.stderr)
        return INTERRUPTED
    return code


def _nobody_reads() -> bool:
    """Whether what was printed has no reader any more; nothing more is told to it then."""
    stdout, poll = sys.stdout.fileno(), select.poll()
    poll.register(stdout, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    drop(sys.stdout)
    return True


def _run_there(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Have the cluster of ``--submit`` run the verb."""
    from study.submission import Submission, check_paths, data_beside, run_there, without_option

    check_paths(args)
    as_json = getattr(args, "json", False)
    words = without_option(argv)
    if args.verb == "doctor" and args.data_dir is None:
        words = (*words, *data_beside(args.studies))
    # Which space a study is of, its plan says, which lies there.
    own = getattr(args, "own_code", False)
    return run_there(
        Submission(args.submit, "study", words, args.studies, own_code=own, as_json=as_json)
    )


if __name__ == "__main__":
    sys.exit(main())
