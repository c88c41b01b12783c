"""What a user asked for that cannot be done: errors that become one line and an exit code.

Before a study has begun it is a mistake of its command line, unless workers were lost. Once it has
begun, the study ends as one that failed: see :meth:`study.session.Session.run`.
"""

import sys

from study.unread import say

FAILED, USAGE, LOCKED, INTERRUPTED = 1, 2, 4, 130


def refusals() -> tuple[type[Exception], ...]:
    """Return the errors whose message is meant for the user as it stands."""
    from analysis.record import RecordReadError
    from cluster.connect import ClusterError
    from search_spaces.space import SpaceError
    from study.distillation.image_data import DataError
    from study.distillation.runtime import ServingError
    from study.distillation.teacher_recipe import TeacherError
    from study.inputs import DifferentPlanError
    from study.lock import LockedError
    from study.names import StudyNameError
    from study.object_store import StoreError
    from study.plan import PlanError
    from study.record import RecordError

    return (
        PlanError,
        SpaceError,
        StudyNameError,
        ClusterError,
        DataError,
        ServingError,
        TeacherError,
        DifferentPlanError,
        LockedError,
        RecordError,
        RecordReadError,
        StoreError,
    )


def refuse(error: Exception) -> int:
    """Print a refusal's line on standard error and return the exit code."""
    from study.cluster_tasks import WorkerLost
    from study.lock import LockedError

    say(f"error: {error}", sys.stderr)
    if isinstance(error, LockedError):
        return LOCKED
    return FAILED if isinstance(error, WorkerLost) else USAGE
