"""A process's share of a GPU: how much memory it may take, and convolutions tuned to its shapes."""

import torch

# Beside what torch allocates, each process takes so much for its CUDA context and libraries.
_CONTEXT_BYTES = 600_000_000


def memory_fraction(gpus: float, total_bytes: int) -> float | None:
    """The fraction of a GPU's memory that a process with so many GPUs may allocate.

    Shares are bookkeeping to Ray, which isolates nothing: without a limit one trial's memory is
    another's failure.

    Args:
        gpus: Of a trial.
        total_bytes: What the GPU has.

    Returns:
        None for whole GPUs, and for none; half of the share at least.
    """
    if not 0 < gpus < 1:
        return None
    return max(gpus / 2, gpus - _CONTEXT_BYTES / total_bytes)


def prepare_gpu(gpus: float) -> None:
    """Have this process keep to its share of a GPU; nothing without one.

    What is over the share is refused as memory that is out, which a trial reports of itself.
    Convolutions are tuned to each shape when it is first seen, as shapes repeat for all of a
    training.
    """
    if gpus <= 0:
        return
    fraction = memory_fraction(gpus, torch.cuda.get_device_properties(0).total_memory)
    if fraction is not None:
        torch.cuda.set_per_process_memory_fraction(fraction)
    torch.backends.cudnn.benchmark = True
