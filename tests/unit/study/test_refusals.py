"""Which exit code a refusal has."""

import pytest

from cluster.connect import ClusterError
from study.cluster_tasks import WorkerLost
from study.lock import LockedError
from study.plan import PlanError
from study.refusals import refusals, refuse


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PlanError("--epochs 0: less than 1"), 2),
        (ClusterError("--address: nobody there"), 2),
        (WorkerLost("the worker that checks the methods was lost 3 times"), 1),
        (LockedError("locked by another driver"), 4),
    ],
)
def test_what_is_refused_is_a_line_and_a_mistake_of_usage_unless_workers_were_lost(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(error, refusals())
    assert refuse(error) == code
    assert capsys.readouterr().err == f"error: {error}\n"
