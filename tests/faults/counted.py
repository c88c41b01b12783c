"""A search space whose students write a line to a file whenever they begin an epoch.

What is trained is the space `cifar_blocks`; the lines count epochs that were trained and lost, too.
While there is the file that `EPOCHS_HELD` names, each worker waits in the midst of an epoch: of
its so manieth, by the number in the file, or of any, if there is none. While there is the file that
`WRITES_HELD` names, checkpoints of trainings are not written to their end.
"""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.cifar_blocks import SPACE as BLOCKS

PATIENCE_SECONDS = 600


def wait_while_held() -> None:
    """Wait until the file that holds workers is gone, or holds them at a later epoch."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (allowed := _epochs_allowed()) is not None and _begun_here() >= allowed:
        assert time.monotonic() < deadline, "the epochs are still held"
        time.sleep(0.02)


def _epochs_allowed() -> int | None:
    """The epoch in which a worker waits; None for none."""
    try:
        return int(Path(os.environ["EPOCHS_HELD"]).read_text() or 0)
    except (KeyError, FileNotFoundError):
        return None


def _begun_here() -> int:
    lines = Path(os.environ["EPOCHS_BEGUN"]).read_text().splitlines()
    return lines.count(_worker())


def _worker() -> str:
    return f"{platform.node()} {os.getpid()}"


def hold_writes() -> None:
    """Have checkpoints wait before they are flushed to the disk, while the file is there."""
    flush, held = os.fsync, Path(os.environ["WRITES_HELD"])

    def slowly(descriptor: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        written = Path(f"/proc/self/fd/{descriptor}").readlink()
        while written.match("last.pt.*.partial") and held.exists():
            assert time.monotonic() < deadline, "the writes are still held"
            time.sleep(0.02)
        flush(descriptor)

    os.fsync = slowly


def build_student(params: Mapping[str, Any], num_classes: int, shape: tuple[int, ...]) -> Any:
    network: Any = BLOCKS.build_student(params, num_classes, shape)
    if "WRITES_HELD" in os.environ and os.fsync.__name__ == "fsync":
        hold_writes()
    # Training follows evaluation: of the last epoch, or of the untrained student when it is timed.
    evaluated = [True]

    def before_forward(module: Any, inputs: Any) -> None:
        if not module.training:
            evaluated[0] = True
        elif evaluated[0] and len(inputs[0]) > 1:
            evaluated[0] = False
            # One short line in one write: whole, however many workers write.
            with Path(os.environ["EPOCHS_BEGUN"]).open("a") as file:
                file.write(f"{_worker()}\n")
            wait_while_held()

    network.register_forward_pre_hook(before_forward)
    return network


SPACE = replace(BLOCKS, name="counted", build_student=build_student)
