"""How many trials run at once, and on how many CPUs and GPUs each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.connect import ClusterError


@dataclass(frozen=True)
class TrialResources:
    """What one trial holds, how many of them run at once, and labels of the nodes they run on."""

    cpus: int
    gpus: float
    concurrent: int
    selector: Mapping[str, str] = field(default_factory=dict)


def plan_resources(
    *,
    cpus: int,
    gpus: int,
    cpus_per_trial: int,
    gpus_per_trial: float,
    concurrent: int | None,
    largest: int | None = None,
    selector: Mapping[str, str] | None = None,
) -> TrialResources:
    """Return what each trial gets; as many run at once as fit, unless ``concurrent`` says fewer.

    Trials never share a CPU: over-subscribed threads run two to five times slower.

    Args:
        cpus: CPUs of the cluster.
        gpus: GPUs of the cluster.
        cpus_per_trial: CPUs, and so threads, of a trial.
        gpus_per_trial: GPUs of a trial; a fraction lets several share one.
        concurrent: Trials at once that were asked for, or None.
        largest: CPUs of the largest node, if that is not the whole cluster.
        selector: Labels of the nodes that trials run on.

    Raises:
        ClusterError: if not even one trial fits, or not as many as were asked for.
    """
    fit = cpus // cpus_per_trial
    if fit < 1:
        raise ClusterError(
            f"--cpus-per-trial {cpus_per_trial} is more than the cluster has; give at most {cpus}"
        )
    if largest is not None and cpus_per_trial > largest:
        raise ClusterError(
            f"--cpus-per-trial {cpus_per_trial}: a trial runs on one node, and the largest has "
            f"{largest}; give at most {largest}"
        )
    if gpus_per_trial > 0:
        by_gpu = int(gpus / gpus_per_trial + 1e-9)
        if by_gpu < 1:
            raise ClusterError(
                f"--gpus-per-trial {gpus_per_trial:g} is more than the cluster's {gpus}; "
                "leave it out to train on CPUs"
            )
        fit = min(fit, by_gpu)
    if concurrent is not None and concurrent > fit:
        raise ClusterError(
            f"--concurrent {concurrent}: only {fit} {_trials(fit, cpus_per_trial, gpus_per_trial)} "
            f"at once; give {fit} or fewer"
        )
    return TrialResources(cpus_per_trial, gpus_per_trial, concurrent or fit, selector or {})


def _trials(fit: int, cpus: int, gpus: float) -> str:
    """As in `trials of 2 CPUs and 0.5 GPUs fit`."""
    held = f"{cpus} CPU{'s' * (cpus > 1)}"
    if gpus > 0:
        held += f" and {gpus:g} GPU{'s' * (gpus != 1)}"
    return f"trial of {held} fits" if fit == 1 else f"trials of {held} fit"
