"""How many workers load torch while the driver is busy with other things."""

import pytest

from cluster.forking import ForkServer
from study import driving, runner
from study.arguments import parser
from study.resolving import resolve


@pytest.mark.parametrize(
    ("cpus", "asked", "gib", "workers"),
    [
        (2, (), 24, 3),  # two trials at once, and the teacher's
        (2, ("--concurrent", "1"), 24, 2),
        (16, ("--concurrent", "3"), 24, 4),
        (16, ("--trials", "1"), 24, 2),
        (16, ("--cpus-per-trial", "4"), 24, 5),
        (16, (), 24, 0),  # 17 workers of 0.4 GiB are more than a quarter of 24 GiB
        (16, (), 64, 17),
    ],
)
def test_there_is_one_for_each_trial_at_once_and_one_for_the_teacher_where_memory_carries_them(
    monkeypatch: pytest.MonkeyPatch, cpus: int, asked: tuple[str, ...], gib: int, workers: int
) -> None:
    monkeypatch.setattr(runner, "available_cpus", lambda: cpus)
    monkeypatch.setattr(runner, "free_memory", lambda: gib * 2**30)
    arguments = ["--space", "cifar_blocks", "--data", "digits", "--name", "any", *asked]
    plan, _ = resolve(parser().parse_args(arguments))

    assert runner._workers_ahead(plan) == workers


def test_where_a_socket_has_no_place_workers_are_not_forked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: object) -> ForkServer:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(driving, "ForkServer", none)
    plan, _ = resolve(parser().parse_args(["--space", "cifar_blocks", "--data", "digits"]))
    with driving._fork_server(plan) as server:
        assert server is None
    assert "path too long" in caplog.text
