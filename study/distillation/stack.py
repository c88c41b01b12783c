"""Networks of one shape as a stack: what `torch.func` calls at once, and each of them alone."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import stack_module_state

from study.distillation.dropout_masks import GivenMask


class CannotFuse(ValueError):
    """These trainings cannot be one; the message says why."""


class _GlobalMean(nn.Module):
    """`AdaptiveAvgPool2d(1)`, which has no batched form for channels-last memory."""

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, channels, 1, 1)`."""
        return images.mean((2, 3), keepdim=True)


def template_of(student: nn.Module) -> nn.Module:
    """A copy to be called with the weights of any run, whose dropout is told its masks.

    Raises:
        CannotFuse: It drops whole channels, or otherwise than `nn.Dropout` does.
    """
    template = copy.deepcopy(student)
    for name, module in list(template.named_modules()):
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
            instead: nn.Module = _GlobalMean()
        elif type(module) is nn.Dropout:
            instead = GivenMask(module.p)
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            raise CannotFuse(f"{name} is {type(module).__name__}, whose masks are not drawn here")
        else:
            continue
        template.set_submodule(name, instead)
    return template


def stack(students: Sequence[nn.Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The students' parameters and buffers, stacked; from now on theirs are slices of those."""
    parameters, buffers = stack_module_state(list(students))
    for place, student in enumerate(students):
        for name, parameter in student.named_parameters():
            parameter.data = parameters[name].detach()[place]
        for name, buffer in student.named_buffers():
            buffer.data = buffers[name][place]
    return parameters, buffers


def member_of(stacked: dict[str, Any], place: int) -> dict[str, Any]:
    """One run's part of the state of the stack's optimiser; counts of steps are common to all."""
    state = {
        index: {
            name: value[place] if isinstance(value, Tensor) and value.ndim else value
            for name, value in kept.items()
        }
        for index, kept in stacked["state"].items()
    }
    return {"state": state, "param_groups": stacked["param_groups"]}


def stacked_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The state of the stack's optimiser, from those of the runs."""

    def together(values: Sequence[Any]) -> Any:
        first = values[0]
        return torch.stack(list(values)) if isinstance(first, Tensor) and first.ndim else first

    state = {
        index: {name: together([one["state"][index][name] for one in states]) for name in kept}
        for index, kept in states[0]["state"].items()
    }
    return {"state": state, "param_groups": copy.deepcopy(states[0]["param_groups"])}
