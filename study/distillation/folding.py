"""Batch norms folded into the layers before them, as a network is shipped.

In eval mode a batch norm scales and shifts each channel by constants, which the convolution or
linear layer before it can do itself (`torch.nn.utils.fusion`). Which layers those are is seen in a
forward pass, so networks need not be traceable, and the result is tried before it is believed.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fusion
from torch.nn.utils.parametrize import is_parametrized

from study.distillation.precision import every_digit
from study.distillation.resident import lost_the_gpu, ran_out_of_memory

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)
# Outputs are of about size 1 here: float32 leaves errors a hundred times smaller.
_TOLERANCE = 1e-4

Pairs = list[tuple[str, str]]


def fold_batch_norms(network: nn.Module, image: Tensor) -> nn.Module:
    """Return a copy in eval mode whose batch norms are folded into the layers before them.

    A batch norm is left where it is if it does not follow a layer right away, or if either of them
    is called more than once. Where the whole does not give the same outputs (some network uses what
    lies between the two) or cannot be folded at all, all are left. A network without batch norms,
    or one that cannot be copied, is returned as it is.

    Args:
        network: In any mode; it is not changed.
        image: `(1, c, h, w)`, on the network's device and in its number format.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return network
    try:
        folded = copy.deepcopy(network).eval()
    except Exception as error:
        _raise_for_want_of_a_device(error)
        return network
    pairs = _foldable(folded, image)
    if not pairs or not _can_be_folded(folded, pairs, image):
        return folded
    return _fold(folded, pairs)


def batch_norms(network: nn.Module) -> int:
    """How many batch norms a network has."""
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


def _foldable(network: nn.Module, image: Tensor) -> Pairs:
    """Names of layers and of the batch norms that take just what those put out."""
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _LAYERS) and not is_parametrized(module)
    }
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    calls: dict[str, int] = dict.fromkeys((*layers, *norms), 0)
    outputs: dict[str, Tensor] = {}  # held, so that no two have one identity
    inputs: dict[str, Tensor] = {}

    def leaves(name: str, output: Tensor) -> None:
        calls[name] += 1
        outputs[name] = output

    def enters(name: str, given: tuple[Any, ...]) -> None:
        calls[name] += 1
        if given:  # not by keyword
            inputs[name] = given[0]

    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: leaves(name, out))
        for name, module in layers.items()
    ]
    hooks += [
        module.register_forward_pre_hook(lambda _m, given, name=name: enters(name, given))
        for name, module in norms.items()
    ]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (layer, norm)
        for norm, given in inputs.items()
        for layer, output in outputs.items()
        if output is given and calls[layer] == calls[norm] == 1
    ]


def _fold(network: nn.Module, pairs: Pairs) -> nn.Module:
    for name, norm_name in pairs:
        layer, norm = network.get_submodule(name), network.get_submodule(norm_name)
        assert isinstance(norm, _BatchNorm)
        if isinstance(layer, nn.Linear):
            fused: nn.Module = fusion.fuse_linear_bn_eval(layer, norm)
        else:
            transposed = isinstance(layer, _TRANSPOSED)
            fused = fusion.fuse_conv_bn_eval(layer, norm, transpose=transposed)  # type: ignore[type-var]
        network.set_submodule(name, fused)
        network.set_submodule(norm_name, nn.Identity())
    return network


def _can_be_folded(network: nn.Module, pairs: Pairs, image: Tensor) -> bool:
    """Whether folding works out; a network's own code may fail without its batch norms."""
    try:
        return _gives_the_same(network, pairs, image)
    except Exception as error:
        _raise_for_want_of_a_device(error)
        return False


def _raise_for_want_of_a_device(error: Exception) -> None:
    """Raise an error again that tells of the device or its memory, and not of the network."""
    if ran_out_of_memory(error) or lost_the_gpu(error):
        raise error


def _gives_the_same(network: nn.Module, pairs: Pairs, image: Tensor) -> bool:
    """Whether the folded network answers as the other does, with statistics that matter.

    Those of an untrained batch norm change nothing, and would hide a mistake.
    """
    tried = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), every_digit():
        torch.manual_seed(0)
        for module in tried.modules():
            if isinstance(module, _BatchNorm):
                _drawn_anew(module)
        before = _tensors(tried(image))
        after = _tensors(_fold(tried, pairs)(image))
    scale = max((float(t.abs().max()) for t in before), default=0.0) or 1.0
    limit = max(_TOLERANCE, 10 * torch.finfo(image.dtype).eps) * scale
    return len(before) == len(after) and all(
        one.shape == other.shape and float((one - other).abs().max()) <= limit
        for one, other in zip(before, after, strict=True)
    )


def _drawn_anew(norm: _BatchNorm) -> None:
    for values, low, high in (
        (norm.running_mean, -0.5, 0.5),
        (norm.running_var, 0.5, 2.0),
        (norm.weight, 0.5, 1.5),
        (norm.bias, -0.5, 0.5),
    ):
        if isinstance(values, Tensor):
            values.copy_(torch.empty(values.shape).uniform_(low, high))


def _tensors(answer: Any) -> list[Tensor]:
    """The tensors of what a network answers, in order."""
    if isinstance(answer, Tensor):
        return [answer]
    parts = answer.values() if isinstance(answer, dict) else answer
    return [tensor for part in parts for tensor in _tensors(part)]
