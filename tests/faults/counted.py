"""A search space whose students write a line to a file whenever they begin an epoch.

What is trained is the space `cifar_blocks`; the lines count epochs that were trained and lost, too.
Where `WORKERS_TOGETHER` says how many workers are to train, none goes on before all have begun;
while there is the file that `EPOCHS_HELD` names, if it names one, none begins another epoch.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.cifar_blocks import SPACE as BLOCKS

PATIENCE_SECONDS = 120


def wait_for_others() -> None:
    together = int(os.environ.get("WORKERS_TOGETHER", "1"))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len({*Path(os.environ["EPOCHS_BEGUN"]).read_text().split()}) < together:
        assert time.monotonic() < deadline, "the other workers have not begun"
        time.sleep(0.05)


def wait_while_held() -> None:
    held = os.environ.get("EPOCHS_HELD")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while held and Path(held).exists():
        assert time.monotonic() < deadline, f"{held} is still there"
        time.sleep(0.05)


def build_student(params: Mapping[str, Any], num_classes: int, shape: tuple[int, ...]) -> Any:
    network: Any = BLOCKS.build_student(params, num_classes, shape)
    # Training follows evaluation: of the last epoch, or of the untrained student when it is timed.
    evaluated = [True]

    def before_forward(module: Any, inputs: Any) -> None:
        if not module.training:
            evaluated[0] = True
        elif evaluated[0] and len(inputs[0]) > 1:
            evaluated[0] = False
            wait_while_held()
            # One short line in one write: whole, however many workers write.
            with Path(os.environ["EPOCHS_BEGUN"]).open("a") as file:
                file.write(f"{os.getpid()}\n")
            wait_for_others()

    network.register_forward_pre_hook(before_forward)
    return network


SPACE = replace(BLOCKS, name="counted", build_student=build_student)
