"""Dropout of runs that are trained as one: each mask is drawn as the run alone would draw it."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from study.distillation.precision import Precision, autocast


class GivenMask(nn.Module):
    """Dropout by a mask that was drawn elsewhere: zeros, and 1/(1-p) for what stays."""

    def __init__(self, share: float) -> None:
        """Without a mask, which is set before each call, nothing is dropped."""
        super().__init__()
        self.share = share
        self.mask: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        """The values times the mask, of their shape."""
        return values if self.mask is None else values * self.mask


class Masks:
    """The dropout masks of every run, drawn as each would draw its own."""

    def __init__(
        self, seeds: Sequence[int], masked: Sequence[GivenMask], device: torch.device
    ) -> None:
        """Begin an epoch, of which each run has a seed."""
        self._device = device
        self._shares = [module.share for module in masked]
        self._states: list[Tensor] = []
        if self._shares:
            with torch.random.fork_rng(devices=self._gpus):
                for seed in seeds:
                    torch.manual_seed(seed)
                    self._states.append(self._state())

    def next(self, ones: Sequence[Tensor]) -> list[Tensor]:
        """Of each dropout, the masks of a step, stacked; `ones` are what it gets in one run."""
        if not self._shares:
            return []
        drawn: list[list[Tensor]] = []
        with torch.random.fork_rng(devices=self._gpus):
            for place, state in enumerate(self._states):
                self._set(state)
                pairs = zip(ones, self._shares, strict=True)
                drawn.append([functional.dropout(one, share) for one, share in pairs])
                self._states[place] = self._state()
        return [torch.stack(masks) for masks in zip(*drawn, strict=True)]

    @property
    def _gpus(self) -> list[torch.device]:
        return [self._device] if self._device.type == "cuda" else []

    def _state(self) -> Tensor:
        if self._device.type == "cuda":
            return torch.cuda.get_rng_state(self._device)
        return torch.random.get_rng_state()

    def _set(self, state: Tensor) -> None:
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state, self._device)
        else:
            torch.random.set_rng_state(state)


def dropout_inputs(student: nn.Module, pixels: Tensor, precision: Precision) -> list[Tensor] | None:
    """What each dropout of a student gets, in the order of modules: ones of that type and layout.

    None if dropouts are not called once each, in that order.
    """
    probe = copy.deepcopy(student).train()
    dropouts = [module for module in probe.modules() if type(module) is nn.Dropout]
    called: list[nn.Module] = []
    ones: list[Tensor] = []

    def listen(module: nn.Module, inputs: tuple[Tensor]) -> None:
        (values,) = inputs
        called.append(module)
        empty = torch.empty_strided(
            values.shape, values.stride(), dtype=values.dtype, device=values.device
        )
        ones.append(empty.fill_(1))

    for module in dropouts:
        module.register_forward_pre_hook(listen)
    gpus = [pixels.device] if pixels.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=gpus), autocast(precision, pixels.device):
        probe(pixels)
    return ones if called == dropouts else None
