"""The latency of a network by itself, as the record keeps it."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from analysis.results import SoloLatency, Timing

if TYPE_CHECKING:
    import torch

# Trials wait meanwhile; and how long to go on while its ratio to the metronome is not known.
_SECONDS, _AT_MOST = 1.2, 3.0


def time_alone(
    network: "torch.nn.Module",
    shape: tuple[int, int, int],
    device: "torch.device",
    threads: int,
    runtime: str = "eager",
    at_most: float = _AT_MOST,
) -> SoloLatency:
    """Time a network on a worker that has a node to itself.

    Args:
        network: On the device.
        shape: Of an image: height, width and channels.
        device: Where to.
        threads: Of torch, for as long as this takes: those of a trial.
        runtime: What runs it.
        at_most: Seconds, where less than usual are to be spent on it.

    Raises:
        study.distillation.runtime.ServingError: if that cannot run this network.
    """
    from study.distillation.answering import torch_threads
    from study.distillation.measurement import device_name, measure_alone
    from study.distillation.runtime import as_runtime
    from study.distillation.stopwatch import clock_for

    with torch_threads(threads):
        alone = measure_alone(
            *(network, shape, device, min(_SECONDS, at_most)),
            at_most=min(_AT_MOST, at_most),
            runtime=as_runtime(runtime),
        )
    return SoloLatency(
        Timing(**asdict(alone.batch_1_ms)),
        Timing(**asdict(alone.batch_64_ms)),
        device_name(device),
        threads,
        runtime,
        folded=True,
        clock=clock_for(device, threads),
        over_metronome=alone.over_metronome,
    )
