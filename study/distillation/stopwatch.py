"""Networks timed in turn: on which clock, in what order, for how long.

While other work runs, a large network loses the processor in nearly every pass and a small one
seldom, so wall times of the two slow down unequally: their ratio was found 2.7 times too large
beside eight busy processes. The processor time of one thread leaves out what others took. What is
left of them, caches found cold and memory found busy, moves the lower quartile of passes least.
"""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

Times = NDArray[np.float64]
Timed = tuple[Callable[[Any], Any], Sequence[Any]]
Clock = Literal["cpu", "wall", "events"]

SMALL_BATCH = 1
LARGE_BATCH = 64
# By batch size: fewest and most turns, warm-up passes, and inputs in rotation. The fewest hold
# even for a network that overruns the time given; above the most the quartile no longer moves.
_FEWEST = {SMALL_BATCH: 24, LARGE_BATCH: 8}
_MOST = {SMALL_BATCH: 1000, LARGE_BATCH: 100}
_WARM_UPS = {SMALL_BATCH: 50, LARGE_BATCH: 2}
INPUTS = {SMALL_BATCH: 7, LARGE_BATCH: 3}
_WARM_UP_SECONDS = 0.3
# Of a network's turn: the most passes that are timed, and the most that come before them.
_MOST_TIMED = {SMALL_BATCH: 5, LARGE_BATCH: 2}
_MOST_BEFORE = {SMALL_BATCH: 2, LARGE_BATCH: 0}


def clock_for(device: torch.device, threads: int) -> Clock:
    """Return what passes are timed by.

    One thread on a processor is timed by its own processor time, several by the wall clock (what
    they take together is no latency), a GPU by events in its stream. Between two events lie the
    gaps in which the processor has yet to launch a kernel, so at batch 1 they tell the wall time of
    a network that is bound by launches.
    """
    if device.type == "cuda":
        return "events"
    return "cpu" if threads == 1 else "wall"


class Turns:
    """Passes of some networks at one batch size, in strict alternation.

    Which network goes first changes from turn to turn: S T, T S, S T, T S. A network has as many
    timed passes in its turn, on the same images, as fit into one of the slowest, five at most (at
    batch 64 two); at batch 1 there come before them as many that are not timed, two at most: a
    network that serves finds its own weights in the caches, not those of another. Whoever keeps
    the time for all has as many passes as there may be, however long they are.

    Args:
        networks: Of each its forward pass and what it is given, a few batches in rotation, the same
            images for all.
        batch: Images a batch, 1 or 64.
        device: Where they run.
        clock: What passes are timed by.
        keeps_time: Whether the last network does.
    """

    def __init__(
        self,
        networks: Sequence[Timed],
        batch: int,
        device: torch.device,
        clock: Clock,
        *,
        keeps_time: bool = False,
    ) -> None:
        self._networks = networks
        self._batch, self._device, self._clock = batch, device, clock
        self._times: list[list[list[float]]] = [[] for _ in networks]
        warm = self._warm_up()
        self._timed = [_passes(max(warm), each, _MOST_TIMED[batch]) for each in warm]
        if keeps_time:
            self._timed[-1] = _MOST_TIMED[batch]

    @property
    def times(self) -> list[Times]:
        """Of each network its milliseconds, `(turns, passes)`."""
        return [np.array(of_network) for of_network in self._times]

    def take(self, seconds: float, fewest: int | None = None) -> bool:
        """Take turns, an even number, for so long; returns whether more would tell more.

        Overrun where the fewest turns take longer: 24 at batch 1 and 8 at batch 64, or others.
        """
        fewest = fewest or _FEWEST[self._batch]
        start = time.perf_counter()
        while (done := len(self._times[0])) < _MOST[self._batch]:
            late = time.perf_counter() - start > seconds
            if late and done >= fewest and done % 2 == 0:
                return True
            count = len(self._networks)
            for index in range(count) if done % 2 == 0 else reversed(range(count)):
                self._take_turn(index, done)
        return False

    def _take_turn(self, index: int, done: int) -> None:
        passes = self._timed[index]
        for _ in range(min(passes, _MOST_BEFORE[self._batch])):
            self._pass(index, done)
        self._times[index].append([self._pass(index, done) for _ in range(passes)])

    def _pass(self, index: int, turn: int) -> float:
        forward, inputs = self._networks[index]
        return _milliseconds(forward, inputs[turn % len(inputs)], self._device, self._clock)

    def _warm_up(self) -> list[float]:
        """Passes that do not count, in the first of which a network may be compiled.

        Returns:
            Milliseconds of each network's quickest. The last are on end, as warm as in its turns.
        """
        start = time.perf_counter()
        taken: list[list[float]] = [[] for _ in self._networks]
        for turn in range(_WARM_UPS[self._batch]):
            for index, of_network in enumerate(taken):
                of_network.append(self._pass(index, turn))
            if time.perf_counter() - start > _WARM_UP_SECONDS:
                break
        for index, of_network in enumerate(taken):
            of_network += [self._pass(index, turn) for turn in range(_MOST_BEFORE[self._batch] + 1)]
        return [min(of_network) for of_network in taken]


def _passes(slowest: float, own: float, most: int) -> int:
    """Timed passes of a network in its turn, from what one takes and one of the slowest."""
    return most if slowest >= most * own else max(1, int(slowest / own))


def _milliseconds(
    forward: Callable[[Any], Any], given: Any, device: torch.device, clock: Clock
) -> float:
    if clock == "events":
        start, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        torch.cuda.synchronize(device)
        start.record()
        forward(given)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))
    now = time.thread_time_ns if clock == "cpu" else time.perf_counter_ns
    before = now()
    forward(given)
    return (now() - before) / 1e6


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection in the midst of a measurement."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
