"""Students on a worker: built, loaded, measured, and how they learn."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from analysis.results import Latency, ModelSize
from study.task import task_of
from study.trial_context import TrialContext, student_file
from study.trial_teacher import teacher_network

if TYPE_CHECKING:
    import torch

    from study.distillation.serving import Served
    from study.distillation.training import TrainingSettings


# Of a latency taken while other trials run, and how long to go on while it has not settled; less
# where less is given for one on the idle device.
_SECONDS, _AT_MOST = 0.5, 1.6


def build_student(context: TrialContext, params: Mapping[str, Any]) -> "torch.nn.Module":
    """Build a student with its run's seed, so that twins start from the same weights.

    As it is trained, which may be more than what is shipped of it.
    """
    import torch

    torch.manual_seed(context.run_seed)
    student: torch.nn.Module = context.space.build_student(
        params, context.data.num_classes, context.data.shape
    )
    return student


def load_student(context: TrialContext, number: int) -> "torch.nn.Module":
    """Load the finished student of a trial, as it is shipped.

    Raises:
        study.distillation.checkpoint.CheckpointError: if it is missing or damaged.
    """
    from study.distillation.deployment import deployed

    return deployed(load_kept(context, number)).to(device_of(context))


def load_kept(context: TrialContext, number: int) -> "torch.nn.Module":
    """Load what is kept of a trial's student, which has gradients: integer kernels have none.

    Raises:
        study.distillation.checkpoint.CheckpointError: if it is missing or damaged.
        study.object_store.StoreError: if it lies in an object store that does not answer.
    """
    from study.distillation import checkpoint
    from study.distillation.deployment import kept

    path = student_file(context.place, number)
    if context.mirror is not None:
        context.mirror.bring(path)
    state = checkpoint.load(path)
    network = kept(build_student(context.of_run(state.get("run", 0)), state["params"]))
    network.load_state_dict(state["weights"])
    return network


def measure(
    context: TrialContext,
    student: "torch.nn.Module",
    *,
    idle: bool,
    seconds: float,
    at_most: float | None = None,
) -> tuple[ModelSize, Latency]:
    """Measure what is shipped of a student: its size, and its latency beside the teacher's.

    Without a teacher the default student takes its place.

    Args:
        context: What trials share.
        student: As it is trained, or shipped.
        idle: Whether its worker has a node to itself.
        seconds: Time for the latency.
        at_most: How long to go on while the ratio to the teacher is not known to 3 %.

    Raises:
        study.distillation.runtime.ServingError: if the study's runtime cannot run it.
    """
    from study.distillation.measurement import compare_latency, profile_model
    from study.distillation.runtime import as_runtime

    device = device_of(context)
    measured = task_of(context.space).measured(student)
    profile = profile_model(measured, context.data.shape)
    comparison = compare_latency(
        measured,
        compared_with(context),
        context.data.shape,
        device,
        idle=idle,
        seconds=seconds,
        at_most=at_most,
        runtime=as_runtime(context.runtime),
        fold=context.folded,
        teacher_over_metronome=context.teacher_over_metronome,
    )
    latency = Latency.from_json({**comparison.to_json(), "reference_ms": context.teacher_ms})
    return ModelSize(**asdict(profile)), latency


def measure_beside_others(
    context: TrialContext, student: "torch.nn.Module"
) -> tuple[ModelSize, Latency]:
    """Measure a student on a worker of trials, while others are trained.

    Briefly, since trials wait: whoever may be on the front is timed again at the end. Where the
    limit of the study lies within what is known of its latency it takes longer, up to the time for
    one on the idle device, since a student that is refused is not timed again.

    Raises:
        study.distillation.runtime.ServingError: as of `measure`.
    """
    most = context.timing_seconds
    brief = min(_SECONDS, most), min(_AT_MOST, most)
    size, latency = measure(context, student, idle=False, seconds=brief[0], at_most=brief[1])
    if may_be_either(latency, context.max_latency_ms):
        return measure(context, student, idle=False, seconds=brief[0], at_most=most)
    return size, latency


def may_be_either(latency: Latency, limit: float | None) -> bool:
    """Whether a limit (ms) lies within the 95 % interval of a latency."""
    reference, ratio = latency.reference_ms, latency.ratio_batch_1
    if limit is None or reference is None:
        return False
    return reference / ratio.high < limit < reference / ratio.low


_COMPARED: "dict[tuple[Any, ...], Served]" = {}


def compared_with(context: TrialContext) -> "Served":
    """Return whom students are timed beside, as it serves: brought into its form once a process.

    Workers outlive studies: those of others are let go.
    """
    who = context.space.name if context.teacher is None else context.teacher.recipe
    key = (context.folder, who, context.runtime, context.folded, context.on_gpu)
    if key not in _COMPARED:
        if context.teacher is None:
            default = build_student(context, context.space.complete({}))
            network = task_of(context.space).measured(default).eval()
        else:
            network = teacher_network(context.teacher, context.data, context.folder)
        made = served(context, network)
        _COMPARED.clear()
        _COMPARED[key] = made
    return _COMPARED[key]


def served(context: TrialContext, network: "torch.nn.Module") -> "Served":
    """Return a network in the form and the runtime in which the study takes latencies.

    Raises:
        study.distillation.runtime.ServingError: if that runtime cannot run it.
    """
    from study.distillation.runtime import as_runtime
    from study.distillation.serving import serve

    return serve(
        network,
        context.data.shape,
        device_of(context),
        runtime=as_runtime(context.runtime),
        fold=context.folded,
    )


def training_settings(
    context: TrialContext, params: Mapping[str, Any], epochs: int
) -> "TrainingSettings":
    """Return how long and how fast the student of a trial learns."""
    from study.distillation.training import TrainingSettings
    from study.distillation.transfer import transfer_of

    return TrainingSettings(
        epochs=epochs,
        batch_size=int(params["batch_size"]),
        learning_rate=float(params["learning_rate"]),
        schedule=params.get("schedule", "onecycle"),
        optimizer=params.get("optimizer", "sgd"),
        seed=context.run_seed,
        views=context.views,
        view_seed=context.seed,
        precision=context.precision,
        transfer=transfer_of(params),
        weight_decay=float(params.get("weight_decay", TrainingSettings.weight_decay)),
    )


def device_of(context: TrialContext) -> "torch.device":
    """Return the device that trials of the study run on."""
    import torch

    return torch.device("cuda" if context.on_gpu else "cpu")


def pin_threads(threads: int) -> None:
    """Hold torch to ``threads``; the OpenMP variables were set before it was imported."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
