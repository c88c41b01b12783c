"""Nothing of the cluster runs beside a final measurement."""

import io
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from cluster.connect import connect, disconnect
from study.confirmation import WholeNodeWorker
from study.progress import Phase, Progress

pytestmark = pytest.mark.end_to_end
Span = tuple[float, float]


def work(seconds: float) -> Span:
    """Take a CPU for so long; returns when that was, on the machine's monotonic clock."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        pass
    return begun, time.monotonic()


def work_until(end: Path) -> Span:
    """The same until there is a file; leaves one beside it as it begins."""
    begun = time.monotonic()
    end.with_name(f"begun-{uuid.uuid4()}").touch()
    while not end.exists():
        time.sleep(0.01)
    return begun, time.monotonic()


def measure(context: object, seconds: float) -> tuple[object, Span]:
    """Stand where a student is timed; the context is what trials share."""
    return context, work(seconds)


@pytest.fixture
def own_ray() -> Iterator[None]:
    """A Ray with the CPUs of this machine."""
    connect(None, env={"OMP_NUM_THREADS": "1"}, gpus=False)
    try:
        yield
    finally:
        disconnect()


class Said(io.StringIO):
    """What is said; leaves a file once there is something in it that was waited for."""

    def __init__(self, awaited: str, then: Path) -> None:
        super().__init__()
        self._awaited, self._then = awaited, then

    def write(self, text: str) -> int:
        if self._awaited in text:
            self._then.touch()
        return super().write(text)


def test_a_final_measurement_waits_for_what_runs_and_holds_off_what_comes(
    own_ray: None, tmp_path: Path
) -> None:
    cpus = int(ray.cluster_resources()["CPU"])
    end = tmp_path / "end"
    said = Said(f"waits until {cpus} CPU", then=end)
    compete, occupy = (ray.remote(num_cpus=1)(each) for each in (work, work_until))
    before = [occupy.remote(end) for _ in range(cpus)]
    deadline = time.monotonic() + 300
    while len([*tmp_path.glob("begun-*")]) < cpus:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    worker = WholeNodeWorker(ray.put(SimpleNamespace(on_gpu=False)), on_gpu=False)
    phase = Phase(Progress(said), "confirming the front")
    phase.begun = phase._last_line = 0.0  # says at once what it would within seconds
    waiting = worker.begin(measure, 1.0)
    after = [compete.remote(0.2) for _ in range(3 * cpus)]
    context, (begun, ended) = worker.wait(waiting, phase)

    assert context == SimpleNamespace(on_gpu=False)
    assert ended - begun == pytest.approx(1.0, abs=0.5)
    others = ray.get([*before, *after])
    assert not [span for span in others if span[0] < ended and begun < span[1]]
    assert all(end <= begun for _, end in others[:cpus])
    assert end.exists()
