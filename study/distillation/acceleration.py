"""A process's share of a GPU: how much memory it may take, and convolutions tuned to its shapes."""

import torch

# Beside what torch allocates, each process takes some hundred megabytes for its CUDA context.
_OF_ITS_SHARE = 0.95


def memory_fraction(gpus: float) -> float | None:
    """The fraction of a GPU's memory that a process with so many GPUs may allocate.

    Shares are bookkeeping to Ray, which isolates nothing: without a limit one trial's memory is
    another's failure.

    Returns:
        None for whole GPUs, and for none.
    """
    return _OF_ITS_SHARE * gpus if 0 < gpus < 1 else None


def prepare_gpu(gpus: float) -> None:
    """Have this process keep to its share of a GPU; nothing without one.

    What is over the share is refused as memory that is out, which a trial reports of itself.
    Convolutions are tuned to each shape when it is first seen, as shapes repeat for all of a
    training.
    """
    if gpus <= 0:
        return
    fraction = memory_fraction(gpus)
    if fraction is not None:
        torch.cuda.set_per_process_memory_fraction(fraction)
    torch.backends.cudnn.benchmark = True
