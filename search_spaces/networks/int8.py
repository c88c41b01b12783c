"""Int8 networks: made of trained fake quantisers, and run by the processor's integer kernels.

Torchao's converted graph is a reference: it dequantises, computes in float32 and quantises again,
many times slower than either the float or the integer network. Here it is only read (its weights,
its size); what runs is its lowering to oneDNN's integer convolutions and products, which ship with
torch and need no compiler. A layer that would stay behind in float32 is refused, so that a latency
called int8 is one.
"""

import operator
import platform
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

Shape = tuple[int, int, int]

_aten = torch.ops.aten
_LAYERS = (_aten.conv2d.default, _aten.linear.default)
_KERNELS = ("onednn.qconv", "onednn.qlinear")
_X86 = ("x86_64", "AMD64")


class NoInt8KernelError(RuntimeError):
    """This processor has no integer kernel for a layer; the message says what to do instead."""


class Int8Network(nn.Module):
    """A network of int8 weights; maps float images `(batch, c, h, w)` to logits.

    Its parameters and its state dict are those that are shipped: int8 weights with a scale for
    each channel, batch normalisation folded into them. It is for inference on this processor: it
    has no gradients, and neither device nor layout of it can be changed.

    Attributes:
        reference: The same computation in float32 steps, for counting; not for timing.
    """

    def __init__(self, reference: nn.Module, lowered: nn.Module) -> None:
        """Put together what is counted and what runs."""
        super().__init__()
        self.reference = reference
        self._lowered = (lowered,)  # in a tuple, so that it is no submodule

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, classes)`, float32."""
        with torch.autocast("cpu", enabled=False):
            logits: Tensor = self._lowered[0](images.float())
        return logits

    def train(self, mode: bool = True) -> Self:
        """Note the mode, which changes nothing; exported graphs refuse to be asked."""
        self.training = mode
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Stay as it is: weights are packed for the processor they lie on.

        Raises:
            NoInt8KernelError: It was to be moved to another device.
        """
        if fn(torch.empty(0)).device.type != "cpu":
            raise NoInt8KernelError(
                "int8 networks run on x86 processors only; leave --gpus-per-trial at 0, or add "
                "--fix precision=float32"
            )
        return self


class _Logits(nn.Module):
    """The first output of a graph: without the others, what only they needed is dead."""

    def __init__(self, converted: fx.GraphModule) -> None:
        super().__init__()
        self.converted = converted  # not `graph`: an export has an attribute of that name

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.converted(images)[0]
        return logits


def has_vnni() -> bool:
    """Whether this processor adds up products of 8 bits in 32."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def convert(prepared: fx.GraphModule, shape: Shape) -> Int8Network:
    """The int8 network of a graph with trained fake quantisers, on the CPU; the graph is used up.

    Args:
        prepared: From `prepare_qat_pt2e`; its first output are the logits.
        shape: `(h, w, c)` of an image.

    Raises:
        NoInt8KernelError: This processor cannot run it.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    if platform.machine() not in _X86 or not _has_onednn():
        raise NoInt8KernelError(
            f"int8 networks are lowered to x86 kernels, and this processor is "
            f"{platform.machine()}; add --fix precision=float32"
        )
    with torch.no_grad():
        _fold_batch_norms(prepared)
        converted = convert_pt2e(prepared)
        reference = _Logits(converted)
        lowered = _lower(reference, shape)
        _keep_what_is_used(converted)
        return Int8Network(reference, lowered)


def _fold_batch_norms(graph: fx.GraphModule) -> None:
    """Put the statistics of each batch norm into the convolution before it.

    In training, a graph computes `bn(conv(x, fq(w · s)) / s)` with `s = γ / σ`. With the running
    mean μ and variance σ² that is `conv(x, fq(w · s)) + β - μ · s`. (`convert_pt2e` folds as well,
    by matching patterns that it exports anew each time, 96 of them, for half a minute.)
    """
    nodes = graph.graph
    for norm in [node for node in nodes.nodes if node.target is _aten.batch_norm.default]:
        divided, *values, _, _, eps, _ = norm.args
        gamma, beta, mean, variance = (_value(graph, node) for node in values)
        conv = divided.args[0]
        rounded = conv.args[1]
        weight = rounded.args[0].args[0]
        scale = gamma / torch.sqrt(variance + eps)
        _replace(graph, weight.target, _value(graph, weight) * scale[:, None, None, None])
        bias = f"{weight.target}_bias"
        _replace(graph, bias, beta - mean * scale)
        with nodes.inserting_before(conv):
            bias_node = nodes.get_attr(bias)
        rounded.args = (weight,)
        conv.args = (*conv.args[:2], bias_node, *conv.args[3:])
        norm.replace_all_uses_with(conv)
    nodes.eliminate_dead_code()
    graph.recompile()


def _keep_what_is_used(graph: fx.GraphModule) -> None:
    """Drop the float weights that int8 ones have replaced, and make these parameters."""
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    tensors = [*graph.named_parameters(), *graph.named_buffers()]
    for name, _ in tensors:
        if name not in used:
            owner, _, leaf = name.rpartition(".")
            delattr(graph.get_submodule(owner), leaf)
    for name, tensor in tensors:
        if name in used and tensor.dtype == torch.int8:
            _replace(graph, name, tensor)
    graph.delete_all_unused_submodules()


def _value(graph: fx.GraphModule, node: Any) -> Tensor:
    tensor: Tensor = operator.attrgetter(node.target)(graph)
    return tensor.detach()


def _replace(graph: fx.GraphModule, name: str, value: Tensor) -> None:
    """Make a value the parameter of that name."""
    owner, _, leaf = name.rpartition(".")
    module = graph.get_submodule(owner)
    if hasattr(module, leaf):
        delattr(module, leaf)
    module.register_parameter(leaf, nn.Parameter(value.clone(), requires_grad=False))


def _lower(reference: nn.Module, shape: Shape) -> fx.GraphModule:
    """The graph on oneDNN's integer kernels, weights packed, for batches of any size.

    As torchao's `lower_pt2e_quantized_to_x86`, which holds the batch at one size.
    """
    from torch._inductor.constant_folding import constant_fold
    from torch._inductor.fx_passes.freezing_patterns import freezing_passes

    height, width, channels = shape
    with torch.random.fork_rng(devices=[]):
        images = torch.randn(4, channels, height, width)
    # Composite operations alone; others would hide the patterns that the kernels are found by.
    table = torch.export.default_decompositions()
    for op in [op for op in table if not torch._export.utils._is_cia_op(op)]:
        del table[op]
    exported = torch.export.export(
        reference,
        (images,),
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        strict=True,
    )
    layers = sum(node.target in _LAYERS for node in exported.graph.nodes)
    lowered: fx.GraphModule = exported.run_decompositions(table).module()
    for node in list(lowered.graph.nodes):
        if node.target is _aten.t.default:
            with lowered.graph.inserting_before(node):
                turned = lowered.graph.call_function(_aten.permute.default, (node.args[0], [1, 0]))
            node.replace_all_uses_with(turned)
            lowered.graph.erase_node(node)
    lowered.graph.lint()
    lowered.recompile()
    freezing_passes(lowered, (images,))
    constant_fold(lowered)
    kernels = sum(str(node.target).startswith(_KERNELS) for node in lowered.graph.nodes)
    if kernels != layers:
        raise NoInt8KernelError(
            f"{kernels} of {layers} layers have an integer kernel on this processor, so that no "
            "latency would be that of int8; add --fix precision=float32"
        )
    return lowered
