"""A driver that kills itself at a named point: `python dying_driver.py POINT LAUNCH-ARGUMENTS`.

It is `python -m study.launch` with one function wrapped, which sends SIGKILL to its own process, or
raises an error (`in its search`).
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from cluster.connect import set_ray_defaults

# The trial, and the epoch of it, that the points below mean.
TRIAL, EPOCH = int(os.environ.get("DYING_TRIAL", "1")), 2


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError("not reached")


def wrap(owner: Any, name: str, made: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    setattr(owner, name, made(getattr(owner, name)))


def before_the_first_trial() -> None:
    # What is wrapped here loads Ray, which must be told where to listen first.
    set_ray_defaults(None)
    from study import execution

    wrap(execution, "run_trials", lambda original: lambda *args, **kwargs: die())


def after_ask() -> None:
    from study import record

    def made(original: Callable[..., Any]) -> Callable[..., Any]:
        def add(*args: Any, **kwargs: Any) -> int:
            number: int = original(*args, **kwargs)
            if number == TRIAL:
                die()
            return number

        return add

    wrap(record, "add_once", made)


def after_epoch(then: Callable[[Any], None]) -> None:
    from study.record import StudyRecord

    def made(original: Callable[..., Any]) -> Callable[..., Any]:
        def epoch(record: Any, number: int, result: Any) -> None:
            original(record, number, result)
            if (number, result.epoch) == (TRIAL, EPOCH):
                then(record)

        return epoch

    wrap(StudyRecord, "epoch", made)


def mid_epoch() -> None:
    """Dies when another epoch has been begun, which is held there until then."""
    begun, held = Path(os.environ["EPOCHS_BEGUN"]), Path(os.environ["EPOCHS_HELD"])

    def watch(size: int) -> None:
        while begun.stat().st_size == size:
            time.sleep(0.01)
        held.unlink()
        die()

    def then(record: Any) -> None:
        # The worker begins no other before it is asked to.
        held.touch()
        threading.Thread(target=watch, args=(begun.stat().st_size,), daemon=True).start()

    after_epoch(then)


def while_a_checkpoint_is_written() -> None:
    """Workers die with their driver, as they do with their machine: the file stays half written."""
    import psutil

    held = Path(os.environ["EPOCHS_HELD"]).with_suffix(".writes")
    os.environ["WRITES_HELD"] = str(held)

    def watch(folder: Path) -> None:
        workers = psutil.Process().children(recursive=True)
        workers.sort(key=lambda process: not process.name().startswith("ray::"))
        while not any(folder.glob("last.pt.*.partial")):
            time.sleep(0.01)
        for worker in workers:
            worker.kill()
        die()

    def then(record: Any) -> None:
        held.touch()
        folder = record.folder / "checkpoints" / f"t{TRIAL:04d}"
        threading.Thread(target=watch, args=(folder,), daemon=True).start()

    after_epoch(then)


def after_report_before_tell() -> None:
    from study.record import StudyRecord

    def made(original: Callable[..., Any]) -> Callable[..., Any]:
        def tell(record: Any, number: int, outcome: Any) -> None:
            if number == TRIAL:
                die()
            original(record, number, outcome)

        return tell

    wrap(StudyRecord, "_tell", made)


def during_mlflow_logging() -> None:
    """The trial's figures are in MLflow, its end is not."""
    from mlflow import MlflowClient

    ended = 0

    def made(original: Callable[..., Any]) -> Callable[..., Any]:
        def set_terminated(*args: Any, **kwargs: Any) -> None:
            nonlocal ended
            ended += 1
            if ended == 1 + 1 + TRIAL:  # the teacher's run, the trials before, this one
                die()
            original(*args, **kwargs)

        return set_terminated

    wrap(MlflowClient, "set_terminated", made)


def during_the_confirmation_of_the_front() -> None:
    from study.record import StudyRecord

    confirmed = 0

    def made(original: Callable[..., Any]) -> Callable[..., Any]:
        def confirm(*args: Any, **kwargs: Any) -> None:
            nonlocal confirmed
            confirmed += 1
            if confirmed == 2:
                die()
            original(*args, **kwargs)

        return confirm

    wrap(StudyRecord, "confirm", made)


def during_the_report() -> None:
    def made(original: Callable[..., Any]) -> Callable[..., Any]:
        def write_bytes(path: Path, *args: Any, **kwargs: Any) -> int:
            written: int = original(path, *args, **kwargs)
            if path.name.startswith(".results.md"):
                die()
            return written

        return write_bytes

    wrap(Path, "write_bytes", made)


def in_its_search() -> None:
    """What is asked for the next trial fails, once so many trials have begun."""
    set_ray_defaults(None)
    from study.searcher import TrialQueue

    def made(original: Callable[..., Any]) -> Callable[..., Any]:
        def next_task(queue: Any) -> Any:
            task = original(queue)
            if task is not None and task.number == TRIAL:
                raise RuntimeError("the search cannot go on")
            return task

        return next_task

    wrap(TrialQueue, "next_task", made)


POINTS: dict[str, Callable[[], None]] = {
    "before the first trial": before_the_first_trial,
    "after ask": after_ask,
    "mid-epoch": mid_epoch,
    "while a checkpoint is written": while_a_checkpoint_is_written,
    "after report before tell": after_report_before_tell,
    "during MLflow logging": during_mlflow_logging,
    "during the confirmation of the front": during_the_confirmation_of_the_front,
    "during the report": during_the_report,
}

if __name__ == "__main__":
    from study.launch import main

    {**POINTS, "in its search": in_its_search}[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
