"""A small network in every measurement on one thread, whose passes tell the processor's pace.

How fast a core computes changes from second to second, with its clock and with what shares its
units, and all passes alike. How long it waits for memory changes more, with what its neighbours
leave of caches and buses, and only the passes of a network whose weights do not lie in the core's
own caches. A teacher of 10 MB took 0.20 to 0.83 ms while its students' passes changed by a
hundredth: their ratio to it told of the teacher alone. So such students are timed beside a network
as small as they are, and what the teacher takes of its passes is found once, on the idle device.
The README beside this file has what that was measured to be worth.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from study.distillation.stopwatch import Clock, Timed

# Students up to here (bytes of weights) were found to keep the metronome's pace better than that
# of a teacher of 94 MB (4.9 MB: as well; 45 MB: worse).
MOST_BYTES = 8_000_000
_SIDE, _CHANNELS, _INPUTS = 8, 3, 7


def keeps_pace(network: nn.Module, clock: Clock) -> bool:
    """Whether a network is to be timed by the metronome's pace, and not by its teacher's.

    On a GPU and on several threads it is not: what changes there are launches and other programs.

    Args:
        network: As it serves.
        clock: What its passes are timed by.
    """
    tensors = itertools.chain(network.parameters(), network.buffers())
    return clock == "cpu" and sum(tensor.nbytes for tensor in tensors) <= MOST_BYTES


@functools.cache
def metronome() -> Timed:
    """Its forward pass and what it is given: 17,000 weights, 0.1 ms a pass, in PyTorch.

    In whatever runtime others serve: it is the processor's pace that is asked for.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(_CHANNELS, 16, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
        )
        images = [torch.randn(1, _CHANNELS, _SIDE, _SIDE) for _ in range(_INPUTS)]
    network = network.eval().to(memory_format=torch.channels_last)
    forward: Callable[[Tensor], Any] = network
    return forward, [image.contiguous(memory_format=torch.channels_last) for image in images]
