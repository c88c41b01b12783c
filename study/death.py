"""Why a trial's worker is gone, in one line, and whether another may try."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.cloudpickle
from ray.exceptions import RayActorError

OUT_OF_MEMORY = "out of memory"


class UnfitWorker(RuntimeError):
    """A worker that would fail whatever it is given: it has to go, and its trial on elsewhere.

    Attributes:
        reason: Why, in one line.
        whole_node: Whether every worker of its node would.
        node: Ray's name of its node; empty where that is not known.
    """

    def __init__(self, reason: str, whole_node: bool = False, node: str = "") -> None:
        super().__init__(reason)
        self.reason, self.whole_node, self.node = reason, whole_node, node

    def __reduce__(self) -> tuple[type, tuple[str, bool, str]]:
        """Rebuild with all that is known."""
        return type(self), (self.reason, self.whole_node, self.node)


class LostToMemory(RayActorError):
    """Ray killed a trial's worker, for its node ran out of memory; ``str()`` is Ray's account."""

    def __init__(self, account: str) -> None:
        super().__init__(error_msg=account)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        """Rebuild from the account alone."""
        return type(self), (self.error_msg,)


@dataclass(frozen=True)
class Death:
    """Why a worker is gone; ``retry`` is whether the trial may go on from its last checkpoint.

    ``node`` is to be kept off then, by that trial, or by all where it is the ``whole_node``.
    """

    reason: str
    retry: bool
    node: str = ""
    whole_node: bool = False


def described(error: BaseException) -> str:
    """Return an error's type and the first line of its message."""
    first = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def cut_off(error: BaseException) -> UnfitWorker:
    """Return what is to be raised of a worker whose files are out of its reach."""
    return UnfitWorker(f"its files are out of reach: {described(error)}")


def error_of(trial: Any) -> BaseException | None:
    """Return what ended a trial of Ray's, as soon as its callbacks hear of it.

    Ray has it in a file on this machine then; ``get_error`` looks where that is copied to later.
    """
    kept = trial.pickled_error_file
    if kept is None or not Path(kept).exists():
        error: BaseException | None = trial.get_error()
        return error
    with Path(kept).open("rb") as file:
        unpickled: BaseException = ray.cloudpickle.load(file)
        return unpickled


def death_of(error: BaseException | None) -> Death:
    """Return why a worker is gone, from what Ray says of it.

    A trial reports what its own code raises, so all that is left here has to do with where it ran.
    A node out of memory would be so again: such a trial is not tried once more.
    """
    # What a task raised is the cause of an error of Ray's, which tells its whole traceback.
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, UnfitWorker):
        return Death(cause.reason, True, cause.node, cause.whole_node)
    account = str(error or "")
    if isinstance(error, LostToMemory):
        return Death(f"{OUT_OF_MEMORY}: Ray ended its worker to save the node", retry=False)
    if "its node has died" in account or "node that" in account:
        return Death("its node was lost", retry=True)
    if error is None or isinstance(error, RayActorError):
        return Death("its worker died", retry=True)
    return Death(f"its worker died: {_last_line(account) or type(error).__name__}", retry=True)


def _last_line(account: str) -> str:
    """The end of Ray's long accounts, where the cause is."""
    lines = [line.strip() for line in account.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
