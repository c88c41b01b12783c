"""What runs a network where it serves: torch as it is, torch compiled, or ONNX Runtime.

Latencies are those of one of them. Names and what each needs, without importing any.
"""

import importlib.util
import shutil
from collections.abc import Mapping
from textwrap import shorten
from typing import Literal, get_args

Runtime = Literal["eager", "compiled", "onnx"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
# As a person reads them.
RUNTIME_TITLES: Mapping[str, str] = {
    "eager": "PyTorch, as it is",
    "compiled": "PyTorch, compiled by torch.compile once an architecture and worker",
    "onnx": "ONNX Runtime, exported once an architecture",
}
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_COMPILERS = ("c++", "g++", "clang++")
_LONGEST_REASON = 200


class ServingError(RuntimeError):
    """A network cannot be brought into the runtime that was asked for; says why."""


def as_runtime(name: str) -> Runtime:
    """Return a runtime by its name.

    Raises:
        ValueError: There is none of that name.
    """
    for runtime in RUNTIMES:
        if runtime == name:
            return runtime
    raise ValueError(f"no runtime {name!r}; there are {', '.join(RUNTIMES)}")


def unavailable(runtime: str, *, on_gpu: bool) -> str | None:
    """Say why a runtime cannot be used on this machine, and the mend; None where it can."""
    if runtime == "onnx":
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            return (
                f"{', '.join(missing)} cannot be imported; "
                "`pip install '.[export]'`, or leave it at eager"
            )
        if on_gpu:
            return "its sessions run on processors here; leave --gpus-per-trial at 0, or ask eager"
    if runtime == "compiled" and not on_gpu and not any(map(shutil.which, _COMPILERS)):
        return "torch.compile needs a C++ compiler; install g++, or leave it at eager"
    return None


def reason_of(error: BaseException) -> str:
    """The first line of what an exporter or a runtime stumbled over, at its root."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shorten(lines[0] if lines else type(error).__name__, _LONGEST_REASON, placeholder=" …")
