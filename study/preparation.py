"""Prepared once per study: the students' data, the teacher, its latency and all its answers.

The teacher works on a worker of the cluster, alone, with all of a node's CPUs; what it reports on
the way streams back to the driver.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.results import DefaultStudent, SoloLatency, TeacherResult
from cluster.connect import Cluster
from cluster.kinds import wrong_device
from cluster.limits import free_memory
from cluster.whole_node import whole_node
from search_spaces.space import Choice, SearchSpace, Value
from study.class_task import class_data
from study.cluster_tasks import ClusterTasks
from study.default_student import prepare_default_student
from study.mirror import mirror_of
from study.names import TEACHERS_FOLDER
from study.plan import PlanError, StudyPlan
from study.progress import Progress
from study.runtime_check import bound_to_cpu
from study.teacher_choice import teacher_recipe, teacher_variants
from study.teacher_worker import Array, TeacherRequest, prepare_teacher
from study.trial_context import TrialContext
from study.trial_teacher import TeacherVariant

if TYPE_CHECKING:
    from study.distillation.image_data import ImageData
    from study.distillation.teacher_recipe import TeacherRecipe
    from study.task import Data


@dataclass(frozen=True)
class Prepared:
    """All that trials share, and whom students are compared with: the teacher, if there is one.

    Attributes:
        context: What trials share.
        compared_with: The teacher, or the default student where there is none.
        curve: The teacher's epochs.
        recipe: How the teacher was trained.
    """

    context: TrialContext
    compared_with: TeacherResult | DefaultStudent
    curve: tuple[Mapping[str, Any], ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)


def check_precision(plan: StudyPlan) -> None:
    """Refuse a number format that this machine would emulate, if it is to train here.

    Raises:
        PlanError: if the format was asked for by name and the processor does not have it.
    """
    if plan.precision in ("auto", "float32") or plan.address is not None:
        return  # without torch, which takes seconds to import
    import torch

    from study.distillation.precision import PrecisionError, resolve_precision

    device = torch.device("cuda" if plan.gpus_per_trial > 0 else "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        return  # that there is no GPU is said where resources are planned
    try:
        resolve_precision(plan.precision, device)
    except PrecisionError as error:
        raise PlanError(f"--precision {plan.precision}: {error}") from None


def check_space(space: SearchSpace, data: "Data", plan: StudyPlan) -> None:
    """Refuse data, or devices, on which the space cannot work.

    Raises:
        PlanError: with the space's own words.
    """
    problem = space.refuses and space.refuses(space, data.num_classes, data.shape)
    if problem:
        raise PlanError(f"space {space.name} on {data.name}: {problem}")
    bound = None if plan.gpus_per_trial == 0 else bound_to_cpu(space)
    if bound is not None:
        raise PlanError(
            f"space {space.name}: students of {bound.value} run on processors alone; leave "
            f"--gpus-per-trial at 0{bound.instead}"
        )


def check_views(plan: StudyPlan, recipe: "TeacherRecipe", data: "ImageData") -> None:
    """Refuse ``--views all`` where the answers to all of them are more than half the free memory.

    Raises:
        PlanError: with both sizes and the mend.
    """
    if plan.number_of_views is not None or plan.teacher_outputs != "ahead":
        return
    from study.distillation.views import distinct_views

    images = len(student_data(data, plan.train_per_class).train)
    views, outputs = distinct_views(data.augmentation), data.num_classes * recipe.subclasses
    size, free = 2 * views * images * outputs, free_memory()
    if size > free / 2:
        raise PlanError(
            f"--views all: a teacher's answers to {views} crops and flips of {images} images are "
            f"{size / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free; give a number of "
            "views, such as --views 32"
        )


def find_teacher(
    plan: StudyPlan, space: SearchSpace, recipe: "TeacherRecipe", data: "ImageData", studies: Path
) -> str:
    """Return the key of the study's teacher, once it is certain that all teachers can be had.

    One's own checkpoint is read and must fit the data; ImageNet weights are downloaded unless the
    teachers they lead to are kept already.

    Args:
        plan: The plan.
        space: The space, with ``--fix`` applied.
        recipe: That of the study's own teacher.
        data: The whole data set.
        studies: The studies folder.

    Raises:
        study.distillation.teacher_recipe.TeacherError: if one cannot be had.
    """
    from study.distillation.teacher_recipe import TeacherError, check_images, teacher_key

    check_images(recipe, data.shape)
    variants = teacher_variants(plan, space, recipe)
    recipes = tuple(variants.values()) or (recipe,)
    if plan.teacher is not None:
        if len(variants) > 1:
            name, values = space.teacher_varies_with, list(map(str, variants))
            raise TeacherError(
                f"--teacher {plan.teacher} is one teacher, and space {space.name} asks one for "
                f"each of {name} {', '.join(values)}; hold it with --fix {name}={values[0]}"
            )
        from study.distillation.teacher_checkpoint import load_checkpoint

        return load_checkpoint(Path(plan.teacher), data.num_classes, data.shape, recipe).key
    for each in recipes:
        check_batches(each, data)
    keys = [teacher_key(each, data.content_hash, plan.seed) for each in recipes]
    if recipe.weights is not None:
        from study.distillation.teacher_network import imagenet_weights
        from study.distillation.teacher_store import is_stored

        if not all(is_stored(studies / TEACHERS_FOLDER / key) for key in keys):
            imagenet_weights(recipe.network)
    return keys[0]


def check_batches(recipe: "TeacherRecipe", data: "ImageData") -> None:
    """Refuse a teacher of subclasses whose batches cannot teach it any.

    Its auxiliary loss spreads the images of one batch over all subclasses, and batches of another
    size than the others are left out.

    Raises:
        study.distillation.teacher_recipe.TeacherError: naming what would help.
    """
    from study.distillation.teacher_recipe import TeacherError

    if recipe.subclasses == 1:
        return
    classes, batch = data.num_classes, recipe.batch_size
    if recipe.subclasses * classes > batch:
        most = batch // classes
        mend = f"hold them at {most} or fewer with --fix" if most > 1 else "bring fewer classes"
        raise TeacherError(
            f"{recipe.subclasses} subclasses of each of {classes} classes are more than the "
            f"{batch} images of the teacher's batch, over which it is to spread them; {mend}"
        )
    if len(data.train) < batch:
        raise TeacherError(
            f"{data.name} has {len(data.train)} training images, and a teacher of subclasses "
            f"learns from whole batches of {batch}; add images"
        )


def student_data(data: "Data", per_class: int | None) -> "Data":
    """Return the data as the students see it: the first ``per_class`` images of each class.

    Raises:
        study.distillation.image_data.DataError: if a class has fewer.
    """
    from study.distillation.image_data import first_per_class

    if per_class is None:
        return data
    whole = class_data(data)
    return replace(whole, train=first_per_class(whole.train, per_class, whole.classes))


def reduced_rows(data: "Data", space: SearchSpace, per_class: int | None) -> dict[float, Array]:
    """Return the rows that each share of ``train_share`` below 1 keeps: the first of each class.

    A share is of the class's training images before the validation split was held out, as papers
    count them (a tenth of CIFAR-10's 5,000 is 500), or of ``per_class`` where that was asked for.
    """
    shares = [p for p in space.parameters if p.name == "train_share" and isinstance(p, Choice)]
    wanted = [float(v) for p in shares for v in p.choices if isinstance(v, float) and v < 1]
    if not wanted:
        return {}
    split = class_data(data)
    rows: dict[float, Array] = {}
    for share in wanted:
        kept = []
        for label in range(data.num_classes):
            own = np.flatnonzero(split.train.labels == label)
            held_out = 0 if per_class else int((split.validation.labels == label).sum())
            kept.append(own[: max(2, round(share * (len(own) + held_out)))])
        rows[share] = np.sort(np.concatenate(kept))
    return rows


def prepare(
    plan: StudyPlan,
    space: SearchSpace,
    data: "Data",
    folder: Path,
    cluster: Cluster,
    progress: Progress,
    precision: str,
    known: TeacherResult | DefaultStudent | None = None,
) -> Prepared:
    """Get the teachers and their answers, and put together what all trials share.

    Without a teacher, the space's default student is timed in its place.

    Args:
        plan: The plan.
        space: The space, with ``--fix`` applied.
        data: The whole data set.
        folder: The study's folder.
        cluster: Where it runs.
        progress: Shows how far it is.
        precision: Of the training: ``float32``, ``bfloat16`` or, not resolved yet, ``auto``.
        known: What an earlier run of the study found of whom students are compared with.

    Raises:
        study.distillation.teacher_recipe.TeacherError: if a teacher cannot be had.
        study.cluster_tasks.WorkerLost: if whoever prepares is lost too often.
    """
    students = student_data(data, plan.train_per_class)
    if not space.taught:
        default, resolved = prepare_default_student(
            space,
            students,
            precision,
            plan.seed,
            plan.cpus_per_trial,
            cluster,
            progress,
            on_gpu=plan.gpus_per_trial > 0,
            runtime=plan.runtime,
            timing_seconds=plan.timing_seconds,
            known=known if isinstance(known, DefaultStudent) else None,
            retries=plan.retries,
        )
        context = _context(plan, space, students, folder, cluster, None, default.latency, resolved)
        return Prepared(context, default)
    import ray

    recipe, on_gpu = teacher_recipe(plan, space, data.name), plan.gpus_per_trial > 0
    # Its process, with torch loaded, confirms the front afterwards; Ray has none do a trial's work
    # that has run a task.
    tasks = ClusterTasks(
        lambda apart: whole_node(ray.nodes(), gpus=on_gpu, selector=cluster.selector, apart=apart),
        "prepares the teacher",
        retries=plan.retries,
        warn=progress.warn,
        unfit=partial(wrong_device, cluster.checked_kind, gpus=on_gpu),
    )
    request = TeacherRequest(
        recipe=recipe,
        checkpoint=plan.teacher,
        teachers=str(folder.parent.absolute() / TEACHERS_FOLDER),
        seed=plan.seed,
        views=plan.number_of_views,
        outputs=plan.teacher_outputs == "ahead",
        network=plan.teacher_outputs == "live" or space.teacher_asked == "both",
        space=space,
        precision=precision,
        asked_precision=plan.precision,
        timing_seconds=plan.timing_seconds,
        threads=tasks.cpus,
        trial_threads=plan.cpus_per_trial,
        on_gpu=plan.gpus_per_trial > 0,
        known=known if isinstance(known, TeacherResult) else None,
        runtime=plan.runtime,
        mirror=mirror_of(folder.parent),
    )
    variants = teacher_variants(plan, space, recipe)
    found, teachers = _get_teachers(
        request, variants, class_data(data), class_data(students), progress, space.score.unit, tasks
    )
    own, timed = teachers[0], found["result"].latency
    context = replace(
        _context(plan, space, students, folder, cluster, own, timed, found["students_precision"]),
        variants=dict(zip(variants, teachers, strict=True)) if variants else {},
    )
    described = {**own.recipe.to_json(), "key": found["key"]}
    return Prepared(context, found["result"], tuple(found["curve"]), described)


def _context(
    plan: StudyPlan,
    space: SearchSpace,
    students: "Data",
    folder: Path,
    cluster: Cluster,
    teacher: TeacherVariant | None,
    compared: SoloLatency,
    precision: Any,
) -> TrialContext:
    """What trials share, of one teacher or none; ``compared`` is the latency compared with."""
    mirror = mirror_of(folder.parent)
    return TrialContext(
        space=space,
        data=students,
        reduced_rows=reduced_rows(students, space, plan.train_per_class),
        teacher=teacher,
        teacher_ms=compared.latency_ms,
        teacher_over_metronome=compared.over_metronome,
        folder=str(folder.absolute()),
        epochs=plan.max_epochs,
        views=plan.number_of_views,
        seed=plan.seed,
        precision=precision,
        threads=plan.cpus_per_trial,
        on_gpu=plan.gpus_per_trial > 0,
        max_latency_ms=plan.max_latency_ms,
        max_params_m=plan.max_params_m,
        every_epoch=plan.scheduler == "pause",
        device_kind=cluster.checked_kind,
        runtime=plan.runtime,
        timing_seconds=plan.timing_seconds,
        # As it was timed: an earlier driver may have done so before networks were folded.
        folded=compared.folded,
        gpus=plan.gpus_per_trial,
        mirror=mirror,
        shared=mirror is None and cluster.address != "local",
        fuse=plan.fuse,
    )


def _get_teachers(
    request: TeacherRequest,
    variants: "Mapping[Value, TeacherRecipe]",
    data: "ImageData",
    students: "ImageData",
    progress: Progress,
    unit: str,
    tasks: ClusterTasks,
) -> tuple[dict[str, Any], list[TeacherVariant]]:
    """Have each teacher trained or loaded and asked, one after another; the first is described.

    Where a worker is lost, the next goes on from the last epoch of the teacher that it kept.

    Returns what was found of the study's own teacher, and all of them in the order of the variants.
    """
    import ray

    shared = ray.put(data), ray.put(students.train.images)
    own: dict[str, Any] = {}
    teachers = []
    for recipe in tuple(variants.values()) or (request.recipe,):
        # Students to be compared get one answer, whoever their teacher is.
        resolved = str(own["students_precision"]) if own else request.precision
        asked = replace(request, recipe=recipe, described=not own, precision=resolved)
        found, outputs = tasks.retried(partial(_follow, tasks, asked, shared, progress, unit))
        own = own or found
        teachers.append(
            TeacherVariant(found["recipe"], outputs, found["weights"], found["precision"])
        )
    return own, teachers


def _follow(
    tasks: ClusterTasks,
    request: TeacherRequest,
    shared: tuple[Any, ...],
    progress: Progress,
    unit: str,
) -> tuple[dict[str, Any], Array | None]:
    """Show what a worker streams until it has found the teacher and its outputs."""
    # What a file of one's own holds is known once it is read.
    title = "of your own" if request.checkpoint else request.recipe.title
    # The node may be another than that of the attempt before.
    asked = replace(request, threads=tasks.cpus)
    found: dict[str, Any] = {}
    outputs: Array | None = None
    with tasks.stream(prepare_teacher, asked, *shared) as answers:
        for stage, label in (("teacher", f"teacher {title}"), ("outputs", "teacher's outputs")):
            with progress.phase(label) as phase:
                for kind, value in answers.values(phase):
                    if kind == "epoch":
                        phase.update(
                            value["epoch"], value["epochs"], f"{value['val_score']:.1f} {unit}"
                        )
                    elif kind == "waits":
                        phase.update(
                            phase.done, phase.total, "waits for another study that trains it"
                        )
                    elif kind == "images":
                        phase.update(value[0], value[1], "images")
                    elif kind == "found":
                        found = value
                        phase.note = f"{value['val_score']:.2f} {unit}, {value['note']}"
                    elif kind == "answers":
                        outputs = value
                        phase.note = "asked live" if value is None else f"{phase.total} images"
                    if kind == "found" and stage == "teacher":
                        break
    return found, outputs
