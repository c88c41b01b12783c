"""Taps: feature maps read off a network by the names of its modules, without changing it."""

import difflib
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class TapError(ValueError):
    """A network has no module of that name; the message names the nearest ones."""


class Taps:
    """The outputs of some modules of a network, from its last forward pass.

    `network(images)` is called as ever; what the named modules put out meanwhile is then in
    `features()`. To be used as a context, around the passes that are listened to: outside, the
    network carries no hooks and keeps no feature maps alive.

        with Taps(network, ("layer3", "layer4")) as taps:
            logits = network(images)
            maps = taps.features()

    A module that is called several times in a pass gives its last output. Outputs are copied, as
    the module that follows may change them in place (the ReLUs of a ResNet do).
    """

    def __init__(
        self, network: nn.Module, names: Sequence[str], whose: str = "the network"
    ) -> None:
        """Listen to the named modules.

        Args:
            network: Any network.
            names: As in `network.named_modules()`, such as `layer3` or `layer4.1.conv2`.
            whose: What errors call the network.

        Raises:
            TapError: A name is not there.
        """
        modules = dict(network.named_modules()) if names else {}
        for name in names:
            if not name or name not in modules:
                known = [module for module in modules if module]
                raise TapError(f"{whose} has no module {name!r} to tap; {_instead(name, known)}")
        self._whose = whose
        self._outputs: dict[str, Any] = {}
        self._names = tuple(names)
        self._handles: list[RemovableHandle] = [
            modules[name].register_forward_hook(self._listener(name))
            for name in dict.fromkeys(names)
        ]

    def __enter__(self) -> Self:
        """Itself, listening already."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop listening."""
        self.close()

    def features(self) -> tuple[Tensor, ...]:
        """What the modules put out, in the order of their names; forgotten once asked for.

        Raises:
            TapError: A module took no part in the last forward pass, or put out no tensor.
        """
        heard, self._outputs = self._outputs, {}
        for name in self._names:
            if not isinstance(heard.get(name), Tensor):
                raise TapError(f"module {name} of {self._whose} put out no feature map")
        return tuple(heard[name] for name in self._names)

    def close(self) -> None:
        """Stop listening, and forget what was heard."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._outputs.clear()

    def _listener(self, name: str) -> Any:
        def listen(module: nn.Module, inputs: Any, output: Any) -> None:
            self._outputs[name] = output.clone() if isinstance(output, Tensor) else output

        return listen


def _instead(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    outer = [module for module in known if "." not in module]
    return f"choose from {', '.join(outer)}, or one inside"
