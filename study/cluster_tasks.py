"""What the driver has the cluster do outside trials: one task after another, each seen through.

Another study may hold what a task needs, which is said; a worker or its node may be lost, and the
task is asked for again, on what there is then.
"""

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from cluster.connect import ClusterError
from cluster.fetching import Loss, fetch, loss
from cluster.own_ray import own_ray_logs
from cluster.whole_node import NodeShare

if TYPE_CHECKING:
    from study.progress import Phase

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 3.0
_SAY_AGAIN_SECONDS = 60.0
# A worker may take so long to start and to load torch; who waits longer waits for another study.
_STARTED_WITHIN = 12.0

T = TypeVar("T")


class WorkerLost(ClusterError):
    """A task's worker was lost more often than it is asked for again; the message says how."""


class Asked(NamedTuple):
    """A task that was asked for: its result to come, and a key of Ray's that is there once it runs.

    The key, whose value is the node, tells as much of a task as of a stream, which says nothing
    before its first value. ``nodes`` are those that Ray may have asked.
    """

    result: Any
    begun: bytes
    asked: tuple[Any, ...]
    nodes: frozenset[str]


class _LostWhileWaiting(Exception):
    """A node is gone that Ray may have asked for a task that has not begun."""


def always(share: NodeShare) -> Callable[[Collection[str]], NodeShare]:
    """Return what finds the same share each time; a ClusterError once no node has room for it."""

    def find(_: Collection[str]) -> NodeShare:
        import ray

        share.check(ray.nodes())
        return share

    return find


class ClusterTasks:
    """Has tasks run on a share of a node, and sees them through.

    Args:
        find: Looks for the share, away from the nodes that have proved no good; asked again when a
            node is lost.
        what: What the worker does, as in "prepares the teacher".
        retries: How often a task is asked for again whose worker was lost.
        warn: Hears of each loss.
        say_after: Seconds that a task may take to begin before it is said to wait.
        unfit: Says on a node, before each task, why it is no good, or nothing.
    """

    def __init__(
        self,
        find: Callable[[Collection[str]], NodeShare],
        what: str,
        *,
        retries: int = 2,
        warn: Callable[[str], None] = logger.warning,
        say_after: float = _STARTED_WITHIN,
        unfit: Callable[[], str | None] | None = None,
    ) -> None:
        self._find, self._what, self._retries = find, what, retries
        self._warn, self._say_after, self._unfit = warn, say_after, unfit
        self._no_good: set[str] = set()
        self._look()

    def _look(self) -> None:
        self._nodes = frozenset(_alive())
        self._share = self._find(self._no_good)

    @property
    def cpus(self) -> int:
        """CPUs of the share."""
        return self._share.cpus

    def run(self, phase: "Phase", task: Any, *arguments: Any) -> Any:
        """Run a task; says so while it has to wait.

        Raises:
            WorkerLost: if its worker is lost too often.
        """
        return self.wait(self.begin(task, *arguments), phase)

    def begin(self, task: Any, *arguments: Any) -> Asked:
        """Ask for a task to be run."""
        return self._ask((task, *arguments))

    def wait(self, asked: Asked, phase: "Phase") -> Any:
        """Return the result of a task that was asked for.

        Raises:
            WorkerLost: if its worker is lost too often.
        """
        first = [asked]

        def attempt() -> Any:
            current = first.pop() if first else self._ask(asked.asked)
            try:
                self._until_ready(current, phase)
                return fetch(current.result)
            finally:
                _forget(current)

        return self.retried(attempt)

    def stream(self, task: Any, *arguments: Any) -> "Stream":
        """Ask for a generator to be run; to be read in :meth:`retried`, for its worker may die.

        The stream is a context, to be left by whoever reads it.
        """
        return Stream(self, self._ask((task, *arguments), streaming=True))

    def retried(self, attempt: Callable[[], T]) -> T:
        """Return what an attempt does, made again where its worker or node was lost meanwhile.

        A worker that says itself that it is unfit is as good as lost.

        Raises:
            WorkerLost: if that happens too often, or nothing is left to ask.
        """
        import ray

        from study.death import UnfitWorker

        lost = 0
        while True:
            try:
                return attempt()
            except _LostWhileWaiting:
                reason = "its node is gone"
            except (ray.exceptions.RayError, UnfitWorker) as error:
                if isinstance(error, UnfitWorker):
                    if error.whole_node:
                        self._no_good.add(error.node)
                    found: Loss | None = Loss(error.reason, mend="mend that first")
                else:
                    found = loss(error)
                if found is None:
                    raise
                reason, lost = found.reason, lost + 1
                if lost > self._retries or not found.retry:
                    times = f" {lost} times" if lost > 1 else ""
                    told = self._told(f"{times} ({reason}); {_mend(found)}")
                    raise WorkerLost(told) from error
                self._warn(self._told(f" ({reason}); retry {lost} of {self._retries}"))
            try:
                self._look()
            except ClusterError as error:
                raise WorkerLost(self._told(f" ({reason}), and {error}")) from None

    def _told(self, how: str) -> str:
        return f"the worker that {self._what} was lost{how}"

    def _ask(self, asked: tuple[Any, ...], *, streaming: bool = False) -> Asked:
        import ray

        key = f"study-begun-{uuid.uuid4().hex}".encode()
        # Asked for again from here, where it is known what the cluster still has: Ray would ask for
        # all of a node that is gone.
        options = {**self._share.options(), "max_retries": 0}
        if streaming:
            options["num_returns"] = "streaming"
        worker = ray.remote(_streamed if streaming else _run).options(**options)
        # Those that the share was found among, too: it may be that of a node that has gone since.
        nodes = self._nodes | _alive()
        return Asked(worker.remote(key, self._unfit, *asked), key, asked, nodes)

    def _until_ready(self, asked: Asked, phase: "Phase") -> None:
        """Wait for a result, or for the next value of a stream; says so while there is no room.

        Raises:
            _LostWhileWaiting: if Ray may have asked a node that answers no more.
            ray.exceptions.NodeDiedError: if the task's own node is gone.
        """
        import ray
        from ray.experimental.internal_kv import _internal_kv_get

        note, gone, nodes = phase.note, False, asked.nodes
        say_at = time.monotonic() + self._say_after
        while not ray.wait([asked.result], timeout=_LOOK_SECONDS)[0]:
            phase.wait()
            node: bytes | None = _internal_kv_get(asked.begun)
            if node is not None:
                phase.note = note
                if node.decode() in _alive():
                    continue
                if gone:
                    raise ray.exceptions.NodeDiedError("the node of a task has died")
                gone = True  # Ray, which knows as well, has till the next look to say so
                continue
            if time.monotonic() >= say_at:
                say_at = time.monotonic() + _SAY_AGAIN_SECONDS
                waits = f"waits until {self._share} are free at once"
                phase.update(phase.done, phase.total, waits)
            alive = _alive()
            if nodes - alive:
                # Ray may have asked that node, which answers no more, and would wait for ever.
                ray.cancel(asked.result, force=True)
                raise _LostWhileWaiting
            nodes = nodes | alive
        phase.note = note


class Stream:
    """The values of a generator that runs on the cluster; a context, which tidies up after it.

    Args:
        tasks: Whose it is.
        asked: The generator.
    """

    def __init__(self, tasks: ClusterTasks, asked: Asked) -> None:
        self._tasks, self._asked = tasks, asked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _forget(self._asked)

    def values(self, phase: "Phase") -> Iterator[Any]:
        """Yield the values that have not been yet, as they come.

        To be read to its end: to cancel a task that is just ending aborts the process that asked.
        """
        while True:
            self._tasks._until_ready(self._asked, phase)
            try:
                reference = next(self._asked.result)
            except StopIteration:
                return
            yield fetch(reference)


def _mend(lost: Loss) -> str:
    """What to do about a worker that was lost; a Ray of one's own ends with the study."""
    if lost.mend is not None:
        return lost.mend
    logs = own_ray_logs()
    if logs is None:
        return "see `ray status`"
    return f"look at this machine's memory, and at what Ray logged in {logs}"


def _alive() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _begin(begun: bytes, unfit: Callable[[], str | None] | None) -> None:
    """Say that a task has begun, unless its node is no good.

    Raises:
        study.death.UnfitWorker: if it is not.
    """
    import ray
    from ray.experimental.internal_kv import _internal_kv_put

    node = ray.get_runtime_context().get_node_id()
    if unfit is not None and (reason := unfit()) is not None:
        from study.death import UnfitWorker

        raise UnfitWorker(reason, whole_node=True, node=node)
    _internal_kv_put(begun, node.encode())


def _forget(asked: Asked) -> None:
    from ray.experimental.internal_kv import _internal_kv_del

    _internal_kv_del(asked.begun)


def _run(begun: bytes, unfit: Callable[[], str | None] | None, task: Any, *arguments: Any) -> Any:
    _begin(begun, unfit)
    return task(*arguments)


def _streamed(
    begun: bytes, unfit: Callable[[], str | None] | None, task: Any, *arguments: Any
) -> Iterator[Any]:
    _begin(begun, unfit)
    yield from task(*arguments)
