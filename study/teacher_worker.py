"""On a worker, alone on its node: train or load the teacher, time it, let it answer."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.results import TeacherResult
from study.atomic import write_atomically
from study.distillation.teacher_recipe import DESCRIPTION_FILE
from study.mirror import Mirror
from study.names import TEACHERS_FOLDER
from study.timing import time_alone

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace
    from study.distillation.image_data import ImageData
    from study.distillation.teacher_recipe import TeacherRecipe

Array = np.ndarray[Any, Any]
# In a kept teacher's folder: what it scores on the test split.
TESTED_FILE = "tested.json"


@dataclass(frozen=True)
class TeacherRequest:
    """What is asked of the worker that prepares the teacher.

    ``outputs`` and ``network`` say in which form trials ask the teacher: its answers computed
    ahead, its weights, or both. ``described`` asks for it to be scored on the test split and timed;
    ``known`` is what an earlier run of the study found of it: that is done once a study.
    ``precision`` is that of the students, to be resolved by the default one of ``space`` where it
    is ``auto``; ``asked_precision`` is what was asked for, which each teacher is resolved by.
    ``runtime`` runs it while it is timed. ``mirror`` is the studies folder in an object
    store, if it is in one; teachers are then kept there, and ``teachers`` is another machine's.
    """

    recipe: "TeacherRecipe"
    checkpoint: str | None
    teachers: str
    seed: int
    views: int | None
    outputs: bool
    network: bool
    space: "SearchSpace"
    precision: str
    asked_precision: str
    threads: int
    trial_threads: int
    on_gpu: bool
    described: bool = True
    known: TeacherResult | None = None
    runtime: str = "eager"
    timing_seconds: float = 6.0
    mirror: Mirror | None = None

    @property
    def folder(self) -> Path:
        """Where teachers are kept on this machine."""
        return Path(self.teachers) if self.mirror is None else self.mirror.folder / TEACHERS_FOLDER


def prepare_teacher(
    request: TeacherRequest, data: "ImageData", images: Array
) -> Iterator[tuple[str, Any]]:
    """Stream what happens, then the results.

    ``epoch``, ``images``, and ``waits`` while another study trains this teacher; then ``found``
    and ``answers``.

    Raises:
        study.death.UnfitWorker: if teachers are out of its reach, for another to go on.
    """
    import queue
    import threading

    import torch

    from study.death import cut_off
    from study.distillation.checkpoint import out_of_reach

    torch.set_num_threads(request.threads)
    # Training reports by callback, a generator by yielding: a queue stands between them.
    events: queue.Queue[tuple[str, Any] | None] = queue.Queue()
    failure: list[BaseException] = []

    def work() -> None:
        try:
            _teach(request, data, images, lambda kind, value: events.put((kind, value)))
        except BaseException as error:
            failure.append(error)
        finally:
            events.put(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while (event := events.get()) is not None:
        yield event
    for error in failure:
        if out_of_reach(error):
            raise cut_off(error) from error
        raise error


def _teach(
    request: TeacherRequest,
    data: "ImageData",
    images: Array,
    emit: Callable[[str, Any], None],
) -> None:
    import torch

    from study.distillation import teacher as teachers
    from study.distillation.acceleration import prepare_gpu
    from study.distillation.evaluation import evaluate
    from study.precision import precision_of_students, precision_of_teacher

    device = torch.device("cuda" if request.on_gpu else "cpu")
    prepare_gpu(1.0 if request.on_gpu else 0.0)
    torch.set_num_threads(request.trial_threads)
    students = precision_of_students(
        request.space, request.precision, data.num_classes, data.shape, device
    )
    precision = precision_of_teacher(
        request.recipe, request.asked_precision, data.num_classes, data.shape, device
    )
    torch.set_num_threads(request.threads)
    folder = request.folder
    curve: list[dict[str, Any]] = []
    if request.checkpoint is not None:
        own = teachers.load_checkpoint(
            Path(request.checkpoint), data.num_classes, data.shape, request.recipe
        )
        model, recipe, key, seconds = own.model.to(device), own.recipe, own.key, 0.0
        _bring(request, key)
        _, score = evaluate(
            model,
            data.validation,
            *recipe.normalization(data.mean, data.std),
            device,
            precision,
            classes=data.num_classes,
            by=request.recipe.score,
        )
        source = note = request.checkpoint
    else:
        recipe = request.recipe
        key = teachers.teacher_key(recipe, data.content_hash, request.seed)
        _bring(request, key)
        unfinished = f"{key}.training"
        _bring(request, unfinished)

        def on_epoch(epoch: Any) -> None:
            emit("epoch", {**asdict(epoch), "epochs": recipe.epochs})
            _send(request, unfinished)

        kept, source = teachers.obtain_teacher(
            folder,
            recipe,
            data,
            device,
            request.seed,
            on_epoch,
            precision,
            on_wait=_now_and_then(lambda: emit("waits", None)),
        )
        _send(request, key)
        _forget_training(request, unfinished)
        model, seconds = kept.model.to(device), kept.train_seconds
        score, curve = kept.val_score, [asdict(epoch) for epoch in kept.curve]
        note = "trained" if source == "trained" else "kept from an earlier study"
    result = request.known
    if request.described and (result is None or result.key != key):
        result = _describe(request, data, model, recipe, key, seconds, score, source, len(curve))
    weights = None
    if request.network:
        weights = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    emit(
        "found",
        {
            "result": result,
            "key": key,
            "val_score": score,
            "recipe": recipe,
            "precision": precision,
            "students_precision": students,
            "curve": curve,
            "weights": weights,
            "note": note,
        },
    )
    answers = None
    if request.outputs:
        asked = teachers.ViewedImages(
            images,
            data.augmentation,
            *recipe.normalization(data.mean, data.std),
            request.views,
            request.seed,
        )
        answers = teachers.cached_teacher_outputs(
            folder / key,
            model,
            asked,
            device,
            precision,
            progress=lambda done, total: emit("images", (done, total)),
        )
        answers = np.ascontiguousarray(answers)
    _send(request, key)
    emit("answers", answers)


def _now_and_then(act: Callable[[], None], seconds: float = 60.0) -> Callable[[], None]:
    """Return what acts at most once in so many seconds, however often it is called."""
    due = 0.0

    def called() -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + seconds
            act()

    return called


def _bring(request: TeacherRequest, key: str) -> None:
    """Bring a teacher, and its answers, from an object store that has them.

    Its description comes last, which says that the teacher is there.
    """
    if request.mirror is None:
        return
    description = f"/{DESCRIPTION_FILE}"
    request.mirror.bring_all(request.folder / key, lambda path: not path.endswith(description))
    request.mirror.bring_all(request.folder / key, lambda path: path.endswith(description))


def _send(request: TeacherRequest, key: str) -> None:
    """Keep a teacher, and its answers, in the object store of the studies, if there is one.

    Its description goes last. Where another machine was first, its teacher stays.
    """
    mirror = request.mirror
    if mirror is None:
        return
    folder = request.folder / key
    there = mirror.store.digests(f"{mirror.key(folder)}/")
    description = folder / DESCRIPTION_FILE
    settled = mirror.key(description) in there

    def wanted(path: Path) -> bool:
        if path == description or path.name == "lock" or path.name.endswith(".previous"):
            return False
        return not settled or path.parent != folder or mirror.key(path) not in there

    mirror.send_all(folder, wanted)
    if description.exists() and not settled:
        mirror.send(description)


def _forget_training(request: TeacherRequest, unfinished: str) -> None:
    """Remove what an object store has of a training that is done."""
    mirror = request.mirror
    if mirror is not None:
        mirror.remove(mirror.store.digests(f"{mirror.key(request.folder / unfinished)}/"))


def _describe(
    request: TeacherRequest,
    data: "ImageData",
    model: Any,
    recipe: "TeacherRecipe",
    key: str,
    seconds: float,
    score: float,
    source: str,
    epochs: int,
) -> TeacherResult:
    import torch

    from study.distillation.measurement import profile_model

    device = torch.device("cuda" if request.on_gpu else "cpu")
    profile = profile_model(model, data.shape)
    test_score = _test_score(request, data, model, key, device)
    return TeacherResult(
        key=key,
        name=recipe.title,
        params_m=profile.params_m,
        flops_m=profile.flops_m,
        val_score=score,
        test_score=test_score,
        train_seconds=seconds,
        epochs=epochs,
        latency=time_alone(
            model,
            data.shape,
            device,
            request.trial_threads,
            request.runtime,
            request.timing_seconds,
        ),
        source=source,
    )


def _test_score(
    request: TeacherRequest, data: "ImageData", model: Any, key: str, device: Any
) -> float:
    """Score the teacher on the test split, once for all studies: it is kept beside its weights.

    A large teacher takes longer over a test split than a study takes to start.
    """
    from study.distillation.evaluation import evaluate

    path = request.folder / key / TESTED_FILE
    recipe = request.recipe
    before: dict[str, Any] = {"statistics": "data"}  # where it was kept without
    asked = {
        "data": data.content_hash,
        "by": recipe.score,
        "classes": data.num_classes,
        "statistics": recipe.statistics,
    }
    try:
        kept = {**before, **json.loads(path.read_text())}
        if {name: kept.get(name) for name in asked} == asked:
            return float(kept["test_score"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass  # not kept yet, or not whole: scored again
    _, score = evaluate(
        model,
        data.test,
        *recipe.normalization(data.mean, data.std),
        device,
        classes=data.num_classes,
        by=recipe.score,
    )
    if path.parent.is_dir():
        with contextlib.suppress(OSError):
            write_atomically(path, json.dumps({**asked, "test_score": score}))
    return score
