"""Taps: feature maps read off a network by the names of its modules, without changing it."""

import difflib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class TapError(ValueError):
    """A network has no module of that name; the message names the nearest ones."""


class Taps:
    """The outputs of some modules of a network, from its last forward pass.

    `network(images)` is called as ever; what the named modules put out meanwhile is then in
    `features()`. The hooks are taken off by `close`.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        """Listen to the named modules.

        Args:
            network: Any network.
            names: As in `network.named_modules()`, such as `layer3` or `layer4.1.conv2`.

        Raises:
            TapError: A name is not there.
        """
        modules = dict(network.named_modules())
        for name in names:
            if not name or name not in modules:
                raise TapError(_no_such_module(name, [known for known in modules if known]))
        self._outputs: dict[str, Tensor] = {}
        self._names = tuple(names)
        self._handles: list[RemovableHandle] = [
            modules[name].register_forward_hook(self._listener(name))
            for name in dict.fromkeys(names)
        ]

    def features(self) -> tuple[Tensor, ...]:
        """What the modules put out, in the order of their names; forgotten once asked for.

        Raises:
            TapError: A module took no part in the last forward pass, or put out no tensor.
        """
        for name in self._names:
            if not isinstance(self._outputs.get(name), Tensor):
                raise TapError(f"module {name} put out no feature map in the last forward pass")
        found = tuple(self._outputs[name] for name in self._names)
        self._outputs.clear()
        return found

    def close(self) -> None:
        """Stop listening."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._outputs.clear()

    def _listener(self, name: str) -> Any:
        def listen(module: nn.Module, inputs: Any, output: Any) -> None:
            self._outputs[name] = output

        return listen


def _no_such_module(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"the network has no module {name!r} to tap; did you mean {' or '.join(close)}?"
    outer = [module for module in known if "." not in module]
    return (
        f"the network has no module {name!r} to tap; choose from {', '.join(outer)}, or one inside"
    )
