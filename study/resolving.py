"""The plan that a command line means: defaults filled in, and what cannot be used refused."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cluster.connect import is_own
from search_spaces.catalogue import load_space
from search_spaces.space import Choice, SearchSpace, SpaceError, nearest
from study import parsing
from study import plan as plans
from study.arguments import CHANGEABLE
from study.budget import Budget
from study.constraints import check_min_score
from study.names import StudyName
from study.plan import StudyPlan
from study.search_choice import chosen
from study.teacher_choice import check_teacher


def resolve(args: argparse.Namespace) -> tuple[StudyPlan, SearchSpace]:
    """Return the plan that arguments mean, defaults filled in from the space, and the space.

    Raises:
        PlanError: if an argument cannot be used.
        SpaceError: if the space, or a parameter of it, cannot be.
        StudyNameError: if the name cannot be.
    """
    space = load_space(args.space)
    plans.check_preset(space, args.preset)
    fixed = parsing.parse_fixed(args.fix, space)
    if not space.taught:
        _refuse_teachers(space, args)
    elif args.teacher is not None:
        _refuse_training(args)
    data = args.data or space.preset_data.get(args.preset, space.default_data)
    short = Path(data).name or "data"
    defaults = space.defaults_for(short)
    if space.taught and "*" not in space.teachers and short not in space.teachers:
        raise SpaceError(f"space {space.name} declares no teacher for {short}; add one under '*'")
    # The seed points come first: fewer trials than those is what the user asked for, not an error.
    presets = len(space.presets[args.preset]) if args.preset else 0
    name = StudyName(f"{space.name}-{short}" if args.name is None else args.name)
    objectives = parsing.parse_objectives(args.objectives, space)
    document = _stored(name, args)
    stored = None if document is None else document.get("plan")
    sampler, scheduler = chosen(args.sampler, args.scheduler, stored)
    check_min_score(args.min_score, space)
    plan = StudyPlan(
        name=str(name),
        space=args.space,
        data=data,
        data_dir=args.data_dir,
        image_size=defaults.image_size if args.image_size is None else args.image_size,
        train_per_class=args.train_per_class,
        preset=args.preset,
        fixed=fixed,
        teacher=args.teacher,
        teacher_weights=_teacher_weights(space, short, args),
        teacher_epochs=args.teacher_epochs,
        teacher_outputs=_asked(space, args.teacher_outputs),
        views=_views(space, data, args, defaults.views, stored),
        budget=Budget(
            trials=args.trials if args.trials is not None else max(defaults.trials, presets),
            seconds=None if args.budget is None else parsing.parse_duration(args.budget),
            device_hours=args.device_hours,
        ),
        max_epochs=_max_epochs(space.with_fixed(fixed), args.max_epochs, defaults.max_epochs),
        sampler=sampler,
        scheduler=scheduler,
        seed=args.seed,
        max_latency_ms=args.max_latency,
        max_params_m=args.max_params,
        precision=args.precision,
        concurrent=args.concurrent,
        cpus_per_trial=_cpus(args, stored),
        gpus_per_trial=args.gpus_per_trial,
        retries=args.retries,
        max_failures=args.max_failures,
        storage=None if args.storage is None else _storage(args.storage, document or {}),
        tracking_uri=args.tracking_uri,
        address=_address(args.address),
        objectives=objectives,
        teacher_network=args.teacher_network,
        teacher_size=args.teacher_size,
        teacher_statistics=_teacher_statistics(space, short, args, stored),
        replicates=args.replicates,
        fuse=args.fuse,
        min_score=args.min_score,
        warm_start=args.warm_start,
        device_kind=args.device_kind,
        runtime=args.runtime,
        timing_seconds=args.timing_seconds,
    )
    space = space.with_fixed(fixed).with_objectives(plan.objectives)
    check_teacher(plan, space, short)
    return plan, space


def _stored(name: StudyName, args: argparse.Namespace) -> Mapping[str, Any] | None:
    """The plan file of the study that has this name already, if one does."""
    from study.mirror import bring_study
    from study.record import read_plan_file

    bring_study(Path(args.studies), name.text, "students")
    return read_plan_file(name.folder(Path(args.studies)))


def _storage(asked: str, document: Mapping[str, Any]) -> str:
    """The record's database; the path of a SQLite file absolute: it is read from anywhere.

    A plan of before may have it relative. Where that is the same file it stays as it is, for
    otherwise the plan would be another.
    """
    from analysis.database import absolute_uri, seen_from_here

    here = absolute_uri(asked, Path())
    same = (document.get("plan") or {}).get("storage") == asked
    return asked if same and seen_from_here(asked, document) == here else here


def _address(asked: str | None) -> str | None:
    """Where it runs; None is a Ray of its own, which a plan with an address is brought back to."""
    return None if is_own(asked) else asked


def _teacher_weights(space: SearchSpace, data: str, args: argparse.Namespace) -> str:
    """What the teacher starts from: as given, else as the space declares."""
    if args.teacher_weights is not None:
        return str(args.teacher_weights)
    declared = None if args.teacher or not space.taught else space.teacher_for(data).weights
    return declared or "none"


def _teacher_statistics(
    space: SearchSpace, data: str, args: argparse.Namespace, stored: Mapping[str, Any] | None
) -> Any:
    """By what the teacher's images are normalised: as given, as before, or as it was trained."""
    if args.teacher_statistics is not None:
        return args.teacher_statistics
    if stored is not None:
        return stored.get("teacher_statistics", "data")
    return "imagenet" if _teacher_weights(space, data, args) == "imagenet" else "data"


def _cpus(args: argparse.Namespace, stored: Mapping[str, Any] | None) -> int:
    """CPUs a trial: as given, or as they were measured; 0 where that is still to be done."""
    cpus = parsing.parse_cpus(args.cpus_per_trial)
    if cpus == plans.TO_BE_MEASURED and args.gpus_per_trial > 0:
        raise plans.PlanError(
            "--cpus-per-trial auto is measured for trials on CPUs; give a number beside "
            "--gpus-per-trial"
        )
    return int((stored or {}).get("cpus_per_trial", cpus)) if cpus == 0 else cpus


def _views(
    space: SearchSpace,
    data: str,
    args: argparse.Namespace,
    default: int,
    stored: Mapping[str, Any] | None,
) -> int | Literal["all"]:
    """The views: as given, as before, else as the space declares, or all where a GPU is quick."""
    if args.views is not None:
        return parsing.parse_views(args.views)
    if stored is not None and "views" in stored:
        known: int | Literal["all"] = stored["views"]
        return known
    ahead = _asked(space, args.teacher_outputs) == "ahead"
    if args.gpus_per_trial > 0 and ahead and data in plans.FEW_VIEWS and args.image_size is None:
        return plans.ALL_VIEWS
    return default


def _refuse_teachers(space: SearchSpace, args: argparse.Namespace) -> None:
    weights = None if args.teacher_weights == "none" else args.teacher_weights
    for option, value in (
        ("teacher", args.teacher),
        ("teacher-network", args.teacher_network),
        ("teacher-size", args.teacher_size),
        ("teacher-weights", weights),
        ("teacher-statistics", args.teacher_statistics),
        ("teacher-epochs", args.teacher_epochs),
        ("teacher-outputs", args.teacher_outputs),
    ):
        if value is not None:
            raise plans.PlanError(
                f"--{option} {value}: no teacher teaches in space {space.name}; "
                "leave the option out"
            )


def _refuse_training(args: argparse.Namespace) -> None:
    """Refuse what says how to train a teacher, beside one that is trained already."""
    if args.teacher_epochs is not None:
        raise plans.PlanError(
            f"--teacher-epochs {args.teacher_epochs}: the teacher of --teacher {args.teacher} is "
            "not trained any further; leave one of the two out"
        )
    if args.teacher_weights == "imagenet":
        raise plans.PlanError(
            f"--teacher-weights imagenet: --teacher {args.teacher} has its own; leave one of the "
            "two out (--teacher-statistics imagenet if it was trained on images normalised so)"
        )


def _asked(space: SearchSpace, asked: str | None) -> str:
    """How the teacher is asked: as given, else as the space declares."""
    if asked is not None and asked not in plans.TEACHER_OUTPUTS:
        raise plans.PlanError(
            f"--teacher-outputs {asked!r} is unknown{nearest(asked, plans.TEACHER_OUTPUTS)}"
        )
    if asked == "ahead" and space.teacher_asked == "live":
        raise plans.PlanError(
            f"--teacher-outputs ahead: space {space.name} compares what no table of answers holds; "
            "leave the option out"
        )
    if not space.taught:
        return plans.NO_TEACHER
    if asked is not None:
        return asked
    return "live" if space.teacher_asked == "live" else "ahead"


def _max_epochs(space: SearchSpace, asked: int | None, default: int) -> int:
    """The epochs of the longest trial."""
    most = space.most_epochs()
    if most is None:
        return default if asked is None else asked
    if asked is not None and asked < most:
        raise plans.PlanError(
            f"--max-epochs {asked} is less than the {most} epochs that space {space.name} tries; "
            f"give {most} or more, or hold them with --fix epochs={_nearest_epochs(space, asked)}"
        )
    return most


def _nearest_epochs(space: SearchSpace, asked: int) -> int:
    """The number of epochs of a space that is nearest to one asked for."""
    epochs = space.parameter("epochs")
    if isinstance(epochs, Choice):
        return min(map(int, epochs.choices), key=lambda each: abs(each - asked))
    return max(asked, int(epochs.low))


def changed(plan: StudyPlan, args: argparse.Namespace) -> StudyPlan:
    """Return a stored plan with what a run of ``python -m study resume`` changes in it.

    Raises:
        PlanError: if a value cannot be used.
    """
    budget = {
        "trials": args.trials,
        "seconds": None if args.budget is None else parsing.parse_duration(args.budget),
        "device_hours": args.device_hours,
    }
    others = {
        name: getattr(args, name)
        for option in CHANGEABLE
        if (name := option[2:].replace("-", "_")) not in ("trials", "budget", "device_hours")
    }
    changes = {name: value for name, value in others.items() if value is not None}
    return replace(
        plan,
        budget=replace(plan.budget, **{k: v for k, v in budget.items() if v is not None}),
        **{**changes, "address": _address(changes.get("address", plan.address))},
    )
