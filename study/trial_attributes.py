"""What the record notes of a trial when it is added: as one set of attributes, so in one line."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from analysis import results
from analysis.results import EpochResult, Latency, ModelSize, Outcome, TrialResult

Attributes = dict[str, Any]


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def of_trial(
    source: str, label: str | None, architecture: str, epochs: int, control_of: int | None = None
) -> Attributes:
    """Return the attributes of a trial that is yet to be trained."""
    attributes = {
        results.ATTR_SOURCE: source,
        results.ATTR_LABEL: label,
        results.ATTR_ARCHITECTURE: architecture,
        results.ATTR_EPOCHS: epochs,
        results.ATTR_STARTED_AT: now(),
    }
    return attributes if control_of is None else {**attributes, results.ATTR_CONTROL_OF: control_of}


def of_replicate(first: TrialResult, run: int) -> Attributes:
    """Return the attributes of another run of a trial's configuration."""
    plain = of_trial("replicate", None, first.architecture, first.epochs)
    return {**plain, results.ATTR_REPLICATE: [first.number, run]}


def of_exit(
    trained_with: TrialResult,
    first: int | None,
    *,
    architecture: str,
    model: ModelSize,
    latency: Latency,
    outcome: Outcome,
    curve: Sequence[EpochResult],
) -> Attributes:
    """Return the attributes of another exit of a trial's student, which has been trained with it.

    What a trial was asked for as, its exits are too: those of a replicate are replicates.

    Args:
        trained_with: The trial that trained it.
        first: Of a replicate's exit, the exit that it is another run of.
        architecture: What the student is called, left there.
        model: Its size.
        latency: Its timing.
        outcome: How it ended.
        curve: Its score after each epoch of the shared training.
    """
    attributes: Attributes = {
        results.ATTR_SOURCE: "exit",
        results.ATTR_TRAINED_WITH: trained_with.number,
        results.ATTR_ARCHITECTURE: architecture,
        results.ATTR_EPOCHS: trained_with.epochs,
        results.ATTR_STARTED_AT: trained_with.started_at,
        results.ATTR_MODEL: model.to_json(),
        results.ATTR_LATENCY: latency.to_json(),
        results.ATTR_OUTCOME: outcome.to_json(),
        **{results.epoch_attribute(e.epoch): e.to_json() for e in curve},
    }
    if trained_with.control_of is not None:
        attributes[results.ATTR_CONTROL_OF] = trained_with.control_of
    if first is not None:
        attributes[results.ATTR_SOURCE] = "replicate"
        attributes[results.ATTR_REPLICATE] = [first, trained_with.run]
    return attributes
