"""A search space whose distilled students have a fault; its controls are sound.

FAULT names the fault of them all. Without it the temperature tells: 2, 3 and 5, which the preset
`faults` has, and no other. With FAULT_WHILE students are sound while there is no file of that name.

`cuda` is a worker whose GPU is lost: it fails whatever it is given, and no other worker does.
`stale` is one to which the study's folder does not answer when it writes a checkpoint.
`nan` has the loss turn into NaN, `raise` fails in set-up, `allocate` asks for more memory than any
machine has, and `memory` takes memory until Ray ends its worker.
"""

import errno
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.cifar_blocks import SPACE as BLOCKS
from search_spaces.space import Preset

_FAULTS = {2.0: "nan", 3.0: "raise", 5.0: "allocate"}
_BATCHES_BEFORE_NAN = 30
_GIB = 2**30


def _is_in_a_worker() -> bool:
    import ray  # not sooner: a driver sets first what Ray reads as it is imported

    return ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None


def _stale(descriptor: Any) -> None:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def build_student(params: Mapping[str, Any], num_classes: int, shape: tuple[int, ...]) -> Any:
    import torch

    network: Any = BLOCKS.build_student(params, num_classes, shape)
    if params["terms"] == "ce":
        return network
    fault = os.environ.get("FAULT") or _FAULTS.get(params["temperature"])
    awaited = os.environ.get("FAULT_WHILE")
    if awaited is not None and not Path(awaited).exists():
        return network
    if fault == "raise":
        raise RuntimeError("no such layer")
    if fault in ("cuda", "stale") and _is_in_a_worker():
        lost = Path(os.environ["LOST_WORKER"])
        if not lost.exists():
            lost.write_text(str(os.getpid()))
        if lost.read_text() == str(os.getpid()):
            if fault == "cuda":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            os.fsync = _stale
    if fault == "allocate":
        torch.empty(2**50)
    if fault == "memory":
        taken = []
        while len(taken) < 64:
            taken.append(torch.ones(_GIB // 16))  # a quarter of a GiB
            time.sleep(0.05)
    if fault == "nan":
        batches = 0

        def after_forward(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            nonlocal batches
            batches += module.training
            spared = _BATCHES_BEFORE_NAN if awaited is None else 0
            return output * float("nan") if batches > spared else output

        network.register_forward_hook(after_forward)
    return network


SPACE = replace(
    BLOCKS,
    name="faulty",
    build_student=build_student,
    presets={"faults": tuple(Preset(name, {"temperature": t}) for t, name in _FAULTS.items())},
    published={},
)
