"""How many trials run at once, and on how many CPUs and GPUs each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.connect import ClusterError
from cluster.kinds import Node


@dataclass(frozen=True)
class TrialResources:
    """What one trial holds, how many of them run at once, and labels of the nodes they run on."""

    cpus: int
    gpus: float
    concurrent: int
    selector: Mapping[str, str] = field(default_factory=dict)


def plan_resources(
    nodes: Sequence[Node],
    *,
    cpus_per_trial: int,
    gpus_per_trial: float,
    concurrent: int | None,
    selector: Mapping[str, str] | None = None,
) -> TrialResources:
    """Return what each trial gets; as many run at once as fit, unless ``concurrent`` says fewer.

    Trials never share a CPU: over-subscribed threads run two to five times slower. Nor does one
    run on two nodes, or have parts of two GPUs.

    Args:
        nodes: Those that trials may run on.
        cpus_per_trial: CPUs, and so threads, of a trial.
        gpus_per_trial: GPUs of a trial; a fraction lets several share one.
        concurrent: Trials at once that were asked for, or None.
        selector: Labels of the nodes that trials run on.

    Raises:
        ClusterError: if not even one trial fits, or not as many as were asked for.
    """
    most_cpus, most_gpus = max(n.cpus for n in nodes), max(n.gpus for n in nodes)
    one_node = "a trial runs on one node, and the largest has"
    if cpus_per_trial > most_cpus:
        why = " is more than the cluster has" if len(nodes) == 1 else f": {one_node} {most_cpus}"
        raise ClusterError(f"--cpus-per-trial {cpus_per_trial}{why}; give at most {most_cpus}")
    if gpus_per_trial > most_gpus and len(nodes) > 1:
        raise ClusterError(
            f"--gpus-per-trial {gpus_per_trial:g}: {one_node} {most_gpus}; give at most {most_gpus}"
        )
    if gpus_per_trial > most_gpus:
        raise ClusterError(
            f"--gpus-per-trial {gpus_per_trial:g} is more than the cluster's {most_gpus}; "
            "leave it out to train on CPUs"
        )
    fit = sum(_fit(node, cpus_per_trial, gpus_per_trial) for node in nodes)
    if fit < 1:
        most = max(node.cpus for node in nodes if node.gpus >= gpus_per_trial)
        raise ClusterError(
            f"--cpus-per-trial {cpus_per_trial}: a trial runs on one node, and of those with "
            f"{_gpus(gpus_per_trial)} the largest has {most}; give at most {most}"
        )
    if concurrent is not None and concurrent > fit:
        raise ClusterError(
            f"--concurrent {concurrent}: only {fit} {_trials(fit, cpus_per_trial, gpus_per_trial)} "
            f"at once; give {fit} or fewer"
        )
    return TrialResources(cpus_per_trial, gpus_per_trial, concurrent or fit, selector or {})


def _fit(node: Node, cpus: int, gpus: float) -> int:
    """How many trials a node has room for."""
    by_cpu = node.cpus // cpus
    if gpus == 0:
        return by_cpu
    # Rounded: a tenth of a GPU, ten times, is one.
    by_gpu = node.gpus * int(1 / gpus + 1e-9) if gpus < 1 else int(node.gpus / gpus + 1e-9)
    return min(by_cpu, by_gpu)


def _gpus(gpus: float) -> str:
    return f"{gpus:g} GPU{'s' * (gpus != 1)}"


def _trials(fit: int, cpus: int, gpus: float) -> str:
    """As in `trials of 2 CPUs and 0.5 GPUs fit`."""
    held = f"{cpus} CPU{'s' * (cpus > 1)}"
    if gpus > 0:
        held += f" and {_gpus(gpus)}"
    return f"trial of {held} fits" if fit == 1 else f"trials of {held} fit"
