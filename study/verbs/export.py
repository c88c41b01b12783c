"""`python -m study export`: a trial's student alone, as ONNX, pt2 or TorchScript.

Normalisation is inside: the file takes images as they were decoded. It is asked again from the
disk and compared with the student on test images before it comes to its place.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.unread import say
from study.verbs.arguments import add_json, add_name, add_own_code

if TYPE_CHECKING:
    from study.distillation.export import Format
    from study.exporting.exporting import Exported
    from study.progress import Progress

HELP = "take a trial's student out of a study, to be used elsewhere"
_FORMATS = ("onnx", "pt2", "torchscript")
_FAILED = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_name(parser)
    add_own_code(parser)
    parser.add_argument(
        "--trial", required=True, metavar="N", help="whose student: a number, or a name like t0007"
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        help="onnx for ONNX Runtime and others; pt2, torch's own; torchscript, for old programs "
        "(default: onnx, and pt2 with --register)",
    )
    parser.add_argument(
        "--input",
        choices=("uint8", "float32"),
        default="uint8",
        help="what images come as: uint8 from 0 to 255, or float32 from 0 to 1 (default: uint8)",
    )
    parser.add_argument(
        "--direction",
        choices=("x_to_y", "y_to_x"),
        help="of students of image pairs: which translation (default: x_to_y)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder to write to (default: STUDY/exports)"
    )
    parser.add_argument(
        "--register",
        metavar="MODEL",
        help="also make it the next version of this model in MLflow's registry",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Export a student and return the exit code: 1 if it does not agree, or is not registered."""
    from study.exporting.exporting import DisagreementError
    from study.progress import make_progress
    from study.tracking.registry import RegistryError

    progress = make_progress(sys.stderr, quiet=args.json)
    try:
        exported, model = _export(args, progress)
    except (DisagreementError, RegistryError) as error:
        say(f"error: {error}", sys.stderr)
        return _FAILED
    if args.json:
        print(json.dumps({**exported.to_json(), "registered": model}))
    else:
        _show(exported, model)
    return 0


def _export(
    args: argparse.Namespace, progress: "Progress"
) -> "tuple[Exported, dict[str, Any] | None]":
    """Find what is asked for, refuse what cannot be had before torch is loaded, and export it."""
    from analysis.record import read_record
    from search_spaces.catalogue import load_space
    from study.exporting.choice import EXPORTS_FOLDER, check_installed, chosen_trial, trial_number
    from study.exporting.exporting import Asked, export_student
    from study.exporting.source import enter_directory, find_images
    from study.listing import find_study
    from study.mirror import open_studies, send_study
    from study.plan import StudyPlan
    from study.record import read_plan_file
    from study.tracking.registry import check_registry, register_student

    number, form = trial_number(args.trial), _format(args)
    check_installed(form)
    studies = open_studies(args.studies).absolute()
    folder = find_study(studies, args.name, "students")
    results = read_record(folder)
    trial = chosen_trial(folder, results, number)
    direction = _direction(args, of_pairs=results.plan.space.of_pairs)
    output = (folder / EXPORTS_FOLDER if args.output is None else Path(args.output)).absolute()
    where = args.register and check_registry(results, trial, args.register, studies)
    document = read_plan_file(folder) or {}
    plan = StudyPlan.from_json(document["plan"])
    enter_directory(document)
    space = load_space(plan.space).with_fixed(plan.fixed).with_objectives(plan.objectives)
    images = find_images(plan, results.plan, space, studies, progress)
    asked = Asked(trial, form, args.input, direction, output)
    exported = export_student(folder, results, space, asked, images, progress)
    send_study(folder, EXPORTS_FOLDER)
    if not where:
        return exported, None
    with progress.phase(f"registering {args.register}"):
        return exported, register_student(
            results, trial, exported.file, args.input, direction, args.register, where
        )


def _format(args: argparse.Namespace) -> "Format":
    from study.plan import PlanError

    if args.register is None:
        form: Format = args.format or "onnx"
        return form
    if args.format not in (None, "pt2"):
        raise PlanError(
            f"--register {args.register} keeps students as pt2, not as {args.format}; leave "
            "--format out, or export and register one after the other"
        )
    return "pt2"


def _direction(args: argparse.Namespace, *, of_pairs: bool) -> str:
    from study.plan import PlanError

    if args.direction is not None and not of_pairs:
        raise PlanError(
            f"--direction {args.direction}: students of {args.name} name classes and translate "
            "nothing; leave it out"
        )
    direction: str = args.direction or "x_to_y"
    return direction


def _show(exported: "Exported", model: "dict[str, Any] | None") -> None:
    evidence = exported.evidence
    found = evidence.agreement
    same = "" if found.same_class is None else f", {100 * found.same_class:.2f} % of the same class"
    print(
        f"checked   on {evidence.checked_on}: largest difference "
        f"{found.largest_difference:.2g} of {found.largest_answer:.3g}{same}"
    )
    for each in evidence.timings:
        print(
            f"batch {each.batch:<4}{each.file_ms.median:.3g} ms in {evidence.runtime}, "
            f"{each.eager_ms.median:.3g} ms in eager torch: {each.ratio.median:.2f} times as fast "
            f"({evidence.threads} thread{'s' * (evidence.threads != 1)})"
        )
    print(f"file      {exported.file} ({exported.bytes:,} bytes)")
    print(f"card      {exported.card}")
    if model is not None:
        print(f"MLflow    {model['uri']}")
