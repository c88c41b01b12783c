"""Adding a trial to a study's storage once, also where the answer of a database is lost.

Optuna's storage for databases asks again for what was not answered: a trial that was added, and
whose answer was lost, is then there twice. So every trial bears a mark of its own; of those with
one mark the first stands, the one that the driver goes on with, and the others are closed.
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from analysis import results
from analysis.results import Outcome, trial_name
from study.trial_attributes import now

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def add_once(
    study: "optuna.Study",
    params: Mapping[str, Any],
    distributions: "Mapping[str, optuna.distributions.BaseDistribution]",
    attributes: Mapping[str, Any],
    violations: Mapping[str, float] | None = None,
) -> int:
    """Add a running trial, whole, and return its number.

    Args:
        study: The study, to which nobody else adds trials.
        params: The trial's configuration.
        distributions: Of its parameters.
        attributes: What is recorded of it.
        violations: Of each constraint, as Optuna counts them: above 0 it is broken.
    """
    from optuna.trial import TrialState, create_trial

    number, mark = len(study.get_trials(deepcopy=False)), uuid.uuid4().hex
    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            constraints=dict(violations or {}),
            user_attrs={**attributes, results.ATTR_ADDED_AS: mark},
        )
    )
    for later in _numbered_after(study, number):
        if later.user_attrs.get(results.ATTR_ADDED_AS) == mark:
            _close(study, later, number)
    return number


def close_twins(study: "optuna.Study") -> None:
    """Close what a driver that ended meanwhile left of trials that were added twice."""
    first: dict[str, int] = {}
    for frozen in study.get_trials(deepcopy=False):
        mark = frozen.user_attrs.get(results.ATTR_ADDED_AS)
        if mark is None:
            continue
        number = first.setdefault(mark, frozen.number)
        if number != frozen.number and not frozen.state.is_finished():
            _close(study, frozen, number)


def _numbered_after(study: "optuna.Study", number: int) -> "Iterator[FrozenTrial]":
    """Yield the trials of higher numbers, looking at no others."""
    storage = study._storage
    while True:
        number += 1
        try:
            found = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        except KeyError:
            return
        yield storage.get_trial(found)


def _close(study: "optuna.Study", twin: "FrozenTrial", number: int) -> None:
    """End a trial that is another one, by number, as one that was never begun."""
    from optuna.trial import TrialState

    ended = Outcome(
        status="stopped",
        reason=f"it is {trial_name(number)}, recorded twice as a database's answer was lost",
        epochs_done=0,
        val_score=None,
        latency_ms=None,
        train_seconds=0.0,
        finished_at=now(),
    )
    learnt = [name for name in twin.user_attrs if name.startswith(results.EPOCH_PREFIX)]
    for name in learnt:  # of an exit, which is added with its curve
        study._storage.set_trial_user_attr(twin._trial_id, name, None)
    study._storage.set_trial_user_attr(twin._trial_id, results.ATTR_OUTCOME, ended.to_json())
    study.tell(twin.number, state=TrialState.FAIL)
