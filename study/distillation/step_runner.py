"""Training steps on a GPU: taken one by one, or captured once as a CUDA graph and replayed.

Small students leave a GPU waiting for Python: a step is some hundred kernels of a few microseconds
each. A graph launches them all at once. It knows addresses and no Python: what changes from step to
step (the images picked, the learning rate) and from epoch to epoch (crops, the teacher's answers)
is copied into the memory it reads; whatever else an epoch's steps depend on, such as a temperature
that a schedule changes, is its `moment`, and another moment is captured anew.

Whether it pays is measured on steps of the training itself, so that nothing is done twice. On a GPU
where it does not, and wherever capture is refused, steps go on one by one, with a line in the log.

`torch.compile` is not used: on a processor it took tens of seconds an architecture, which is a
trial's length here, and every trial may be of another one. (`tests.benchmarks.gpu` times it.)
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from study.distillation.methods import Method

logger = logging.getLogger(__name__)

Step = Callable[[Tensor], Tensor]

# Steps before any is timed, and those that are, of either way.
WARM_UP = 3
TIMED = 8
# A graph that only ties is not worth the memory it holds.
_WORTHWHILE = 0.95
# What runs no Python of its own in a step, but for what is drawn on the device.
_KNOWN_NETWORKS = frozenset({"torch", "torchvision", "search_spaces"})
_BUILT_IN = "study.distillation.methods."


class Replay(Protocol):
    """A captured step."""

    def __call__(self) -> Tensor:
        """Take the step; returns its loss, in memory that the next call writes to."""
        ...


class Capture(Protocol):
    """Captures a step, which is not taken by that."""

    def warm_up(self, step: Step, picks: Tensor) -> Tensor:
        """Take a step as it will be captured; returns its loss."""
        ...

    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        """A step that reads the memory it read.

        Raises:
            RuntimeError: It does something that cannot be captured.
        """
        ...


class StepRunner:
    """Takes the steps of one training, in whichever way is faster."""

    def __init__(
        self,
        step: Step,
        device: torch.device,
        eager_because: str | None = None,
        capture: Capture | None = None,
        worthwhile: float = _WORTHWHILE,
    ) -> None:
        """Begin with steps one by one.

        Args:
            step: Takes a step on the images picked, int64 `(batch,)` on the device, and returns
                its loss, a scalar. All else that it reads keeps its place in memory while the
                moment is the same.
            device: Where it runs.
            eager_because: Why steps are not to be captured, if so.
            capture: How to; a CUDA graph by default.
            worthwhile: The share of the seconds of a step by itself that a graph's may take.
        """
        self._worthwhile = worthwhile
        self._step = step
        self._device = device
        self._eager_because = eager_because
        self._capture: Capture = capture or CudaCapture(device)
        self.forget()

    @property
    def way(self) -> str:
        """How steps are taken now: `graph`, or `eager` and why."""
        if self._replay is not None:
            return "graph"
        return f"eager ({self._eager_because or 'not measured yet'})"

    def forget(self) -> None:
        """Drop what was captured and measured: the memory that steps read has another place."""
        self._replay: Replay | None = None
        self._moment: object = None
        self._picks: Tensor | None = None
        self._eager = _Pace(self._device)
        self._graph = _Pace(self._device)
        self._replays = 0
        self._capture_seconds = 0.0

    def end_epoch(self) -> None:
        """Time no step together with what lies between two epochs."""
        self._eager.pause()
        self._graph.pause()

    def run(self, picks: Tensor, moment: object) -> Tensor:
        """Take a step.

        Args:
            picks: int64 `(batch,)`, on the device; batches of another size than the first, such
                as the last of an epoch, are taken one by one.
            moment: What the step depends on beside memory; compared by `==`.

        Returns:
            Its loss, a scalar on the device.
        """
        if self._eager_because is not None or not self._is_usual(picks):
            return self._step(picks)
        if not self._eager.known:
            return self._eager.time(lambda: self._capture.warm_up(self._step, picks))
        if self._replay is None or self._moment != moment:
            self._renew(picks, moment)
        if self._replay is None:
            return self._step(picks)
        loss = self._replayed(picks)
        if self._graph.known and self._graph.seconds > self._worthwhile * self._eager.seconds:
            self._give_up(
                f"a graph takes {1e3 * self._graph.seconds:.2f} ms a step, "
                f"{1e3 * self._eager.seconds:.2f} ms without"
            )
        return loss

    def _is_usual(self, picks: Tensor) -> bool:
        """Whether a batch is of the size that is captured: that of the first."""
        if self._picks is None:
            self._picks = picks.clone()
        return len(picks) == len(self._picks)

    def _replayed(self, picks: Tensor) -> Tensor:
        assert self._picks is not None
        assert self._replay is not None
        self._picks.copy_(picks)
        self._replays += 1
        replay = self._replay
        if self._graph.known:
            return replay().clone()
        return self._graph.time(lambda: replay().clone())

    def _renew(self, picks: Tensor, moment: object) -> None:
        """Capture the step for this moment, if the last moment repaid it."""
        assert self._picks is not None
        saved = self._replays * (self._eager.seconds - self._graph.seconds)
        if self._replay is not None and self._graph.known and saved < self._capture_seconds:
            self._give_up("every epoch needs a graph of its own, and does not repay it")
            return
        static = self._picks
        static.copy_(picks)
        self._replay, self._replays = None, 0
        start = time.perf_counter()
        try:
            self._replay = self._capture(lambda: self._step(static))
        except RuntimeError as error:
            why = f"a step cannot be captured: {str(error).splitlines()[0]}"
            self._give_up(why, logging.WARNING)
            return
        self._capture_seconds = time.perf_counter() - start
        self._moment = moment

    def _give_up(self, why: str, level: int = logging.INFO) -> None:
        self._replay = None
        self._eager_because = why
        logger.log(level, "steps are taken one by one: %s", why)


class CudaCapture:
    """Captures by `torch.cuda.graph`, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        """Wait with all that needs a GPU until there is a step."""
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._steps = 0

    def warm_up(self, step: Step, picks: Tensor) -> Tensor:
        """Take a step on the stream that will capture: what is made on first use is made there."""
        self._steps += 1
        if self._steps == WARM_UP:
            # Not of what this process did before, nor of trying algorithms in the first steps.
            torch.cuda.reset_peak_memory_stats(self._device)
        stream, current = self._own_stream(), torch.cuda.current_stream(self._device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            loss = step(picks)
        current.wait_stream(stream)
        return loss

    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        """A CUDA graph of the step.

        Raises:
            RuntimeError: CUDA refuses something in it, or memory would not suffice: a graph keeps
                what a step needs to itself, and batches of another size need as much beside it.
        """
        needed = 2 * torch.cuda.max_memory_allocated(self._device)
        _, total = torch.cuda.mem_get_info(self._device)
        # Of a device without a number torch does not tell it.
        alone = self._device == torch.device("cuda")
        own = torch.cuda.current_device() if alone else self._device
        allowed = total * torch.cuda.get_per_process_memory_fraction(own)
        if needed > allowed:
            raise RuntimeError(
                f"it may need {needed / 1e9:.1f} of {allowed / 1e9:.1f} GB of memory"
            )
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._own_stream()):
            loss = step()

        def replay() -> Tensor:
            graph.replay()
            return loss

        return replay

    def _own_stream(self) -> torch.cuda.Stream:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return self._stream


class _Pace:
    """Seconds of a step: the mean of some, the device waited for where timing begins and ends.

    Epochs of a few steps add up: no training is too short of them to be measured.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._warm = 0
        self._timed = 0
        self._spent = 0.0
        self._since: float | None = None

    @property
    def known(self) -> bool:
        """Whether enough steps were timed."""
        return self._timed >= TIMED

    @property
    def seconds(self) -> float:
        """Of a step; 0 before any was timed."""
        return self._spent / self._timed if self._timed else 0.0

    def pause(self) -> None:
        """Stop the clock until the next step."""
        if self._since is not None:
            self._spent += self._now() - self._since
            self._since = None

    def time(self, step: Callable[[], Tensor]) -> Tensor:
        """Take a step, as one of those that are timed."""
        if self._warm < WARM_UP:
            self._warm += 1
            return step()
        if self._since is None:
            self._since = self._now()
        loss = step()
        self._timed += 1
        if self.known:
            self.pause()
        return loss

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def no_capture_because(
    student: nn.Module,
    method: Method,
    mixup: float,
    device: torch.device,
    teacher: nn.Module | None = None,
) -> str | None:
    """Why the steps of a training are not to be captured; None if they may be.

    A graph would freeze, silently, what Python computes anew in every step. So only networks and
    methods of this project are captured, which are known to compute nothing so.

    Args:
        student: What is trained.
        method: What computes the loss.
        mixup: Of the method; 0 where it mixes no images.
        device: Where it is trained.
        teacher: The network that is asked in every step, if one is.
    """
    if device.type != "cuda":
        return "not on a GPU"
    if mixup > 0:
        return "images are mixed anew in every step"
    if getattr(student, "begin_epoch", None) is not None:
        return "the student's training has stages of its own"
    if not _is_built_in(method):
        return f"the method {method.name} is the space's own"
    for whose, network in (("network", student), ("teacher", teacher)):
        if foreign := _foreign_modules(network):
            return f"the {whose} has modules of {', '.join(foreign)}"
    return None


def _foreign_modules(network: nn.Module | None) -> list[str]:
    """Packages, not known here, of which a network has modules."""
    modules = () if network is None else network.modules()
    packages = {type(module).__module__.partition(".")[0] for module in modules}
    return sorted(packages - _KNOWN_NETWORKS)


def _is_built_in(method: Method) -> bool:
    """Whether a method, and those it is made of, are this project's."""
    inner = [value for value in vars(method).values() if hasattr(value, "loss")]
    return type(method).__module__.startswith(_BUILT_IN) and all(map(_is_built_in, inner))
