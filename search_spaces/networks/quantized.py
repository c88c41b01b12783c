"""Students that are trained to be shipped in eight bits: quantisation-aware training by torchao.

PT2E (`torchao.quantization.pt2e`): a network is exported to a graph, every weight and activation
that will be an integer gets a fake quantiser (rounded forwards, passed through backwards), the
graph is trained, and `int8.convert` makes the integer network of it. Batch normalisation is folded
into the convolutions from the start, so that what is rounded is what will be shipped.
"""

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

from search_spaces.networks import int8

# The largest weight, of eight bits and of seven.
_EIGHT_BITS, _SEVEN_BITS = 127, 63

Shape = tuple[int, int, int]

STAGES = ("layer1", "layer2", "layer3", "layer4")

# Activations: an average over some 20 steps, as a training on little data has few. A weight's
# range is known and needs no average.
_ACTIVATION_AVERAGE = 0.05
_WEIGHT_AVERAGE = 1.0
_SMALLEST_SCALE = 2**-12
_TRAINING = 5  # the argument of aten.batch_norm


class QuantizedStudent(nn.Module):
    """A network with fake quantisers, as it is trained; `deployed` is the int8 network.

    In eval mode it always answers as the int8 network would. In train mode `begin_epoch` says
    whether it rounds yet, and whether ranges still move. Its arithmetic is
    float32 under any autocast: bfloat16, with a mantissa of eight bits, would bring in a rounding
    of its own that no int8 network has.

    Feature maps can be tapped under the names of the stages, as in the float network.

    How many bits its weights have depends on the processor that it is trained for, and is part of
    its state: loaded on another one it is the network that was trained.

    Attributes:
        largest_weight: The largest integer that a weight becomes; the smallest is -1 minus it.
    """

    largest_weight: Tensor
    deployed_anew = True  # its scales are known only then

    def __init__(
        self, network: nn.Module, shape: Shape, *, start: float = 0.0, freeze: float = 0.0
    ) -> None:
        """Export a network and put in the fake quantisers. Takes about five seconds.

        Args:
            network: Whose weights it starts from; left as it is.
            shape: `(h, w, c)` of an image.
            start: Share of the epochs, the first ones, in which ranges are observed and nothing is
                rounded; the last epoch always rounds.
            freeze: Share of the epochs, the last ones, in which ranges stand still; not before a
                first epoch has rounded. Statistics of batch normalisation move to the end: recipes
                that freeze them fine-tune, and at the rates of a training from scratch float and
                int8 students alike diverge without.
        """
        super().__init__()
        self._shape = shape
        self._start, self._freeze = start, freeze
        self._rounds, self._frozen = True, False
        largest = _largest_weight()
        with torch.random.fork_rng(devices=[]):
            self.graph = _prepare(network, shape, largest)
        self.register_buffer("largest_weight", torch.tensor(largest))
        for name in STAGES:
            self.add_module(name, nn.Identity())
        self.train(self.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, classes)`."""
        with torch.autocast(images.device.type, enabled=False):
            logits, *features = self.graph(images.float())
            for name, feature in zip(STAGES, features, strict=True):
                self.get_submodule(name)(feature)
        answer: Tensor = logits
        return answer

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Round or not, observe or not, as an epoch (from 0) of a training of `epochs` asks."""
        start = min(int(self._start * epochs), epochs - 1)
        self._rounds = epoch >= start
        self._frozen = epoch >= max(epochs - int(self._freeze * epochs), start + 1)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Train or eval mode. Validation images are not observed.

        Torchao's own switch, `move_exported_model_to_eval`, rewrites the graph by patterns, in
        1.5 s; two are needed an epoch. The same is said by one argument of each batch_norm.
        """
        from torchao.quantization.pt2e import FakeQuantizeBase

        self.training = mode
        for node in self.graph.graph.nodes:
            if node.target is torch.ops.aten.batch_norm.default:
                node.update_arg(_TRAINING, mode)
        self.graph.recompile()
        for module in self.graph.modules():
            if isinstance(module, FakeQuantizeBase):
                module.enable_observer(mode and not self._frozen)
                module.enable_fake_quant(self._rounds or not mode)
        return self

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take over how many bits the weights have, with all else.

        A state of an earlier version does not tell, and is taken for one of this processor.
        """
        state.setdefault(f"{prefix}largest_weight", self.largest_weight)
        super()._load_from_state_dict(state, prefix, *rest)
        largest = int(self.largest_weight)
        for quantizer in _weight_quantizers(self.graph):
            for one in (quantizer, quantizer.activation_post_process):
                one.quant_min, one.quant_max = -largest - 1, largest

    def deployed(self) -> "int8.Int8Network":
        """The int8 network that these weights and ranges make; it shares nothing with this one.

        Raises:
            int8.NoInt8KernelError: This processor has no integer kernel for one of its layers, or
                none for weights of as many bits as these have.
        """
        if int(self.largest_weight) > _largest_weight():
            raise int8.NoInt8KernelError(
                "its weights have eight bits, and this processor, which lacks VNNI, adds up "
                "products of seven alone; use a processor like the one it was trained on"
            )
        return int8.convert(copy.deepcopy(self.graph).cpu(), self._shape)


class _WithFeatures(nn.Module):
    """A network that also returns its stages' feature maps: modules of an export have no hooks."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = []
        for name, module in self.network.named_children():
            images = module(images)
            if name in STAGES:
                features.append(images)
        return images, *features


def _largest_weight() -> int:
    """The largest weight whose products this processor adds up without overflow.

    Those without VNNI add pairs of products of eight bits up in 16, which seven bits of weight do
    not overflow. (Nor would seven of activation, but no kernel clips to those.)
    """
    return _EIGHT_BITS if int8.has_vnni() else _SEVEN_BITS


def _weight_quantizers(graph: fx.GraphModule) -> Iterator[Any]:
    from torchao.quantization.pt2e import FakeQuantizeBase

    for module in graph.modules():
        if isinstance(module, FakeQuantizeBase) and module.dtype == torch.int8:
            yield module


def _prepare(network: nn.Module, shape: Shape, largest_weight: int) -> fx.GraphModule:
    """The exported graph with its fake quantisers; they have seen random images."""
    with _quiet_import():
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

    height, width, channels = shape
    images = torch.randn(4, channels, height, width)
    # Strict, as the quantiser finds additions by what dynamo notes of them.
    exported = torch.export.export(
        _WithFeatures(copy.deepcopy(network).train()),
        (images,),
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        strict=True,
    ).module()
    graph: fx.GraphModule = prepare_qat_pt2e(exported, _quantizer(largest_weight))
    for node in list(graph.graph.nodes):
        # Counters of batches, which count in eval mode too and which nothing reads.
        if node.target is torch.ops.aten.add_.Tensor and _is_counter(node.args[0]):
            graph.graph.erase_node(node)
    graph.recompile()
    # Ranges take their shapes, and an untrained int8 network its scales, from a first pass.
    # Statistics of the batch norms are put back to where they were.
    before = {name: value.clone() for name, value in exported.state_dict().items()}
    with torch.no_grad():
        graph(images)
    graph.load_state_dict(
        {name: value for name, value in before.items() if "activation_post_process" not in name},
        strict=False,
    )
    return graph


def _is_counter(node: Any) -> bool:
    return isinstance(node, fx.Node) and str(node.target).endswith("num_batches_tracked")


def _quantizer(largest_weight: int) -> Any:
    """Torchao's quantiser for x86: activations uint8 a tensor, weights int8 a channel.

    Its ready-made configuration observes weights by a fused kernel that trains with scales 1/255
    smaller than those the conversion then takes; so weights have the plain fake quantiser, which
    agrees with it.
    """
    from torchao.quantization.pt2e import FakeQuantize, FusedMovingAvgObsFakeQuantize
    from torchao.quantization.pt2e.observer import MovingAveragePerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationConfig, QuantizationSpec
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer

    activation = QuantizationSpec(
        dtype=torch.uint8,
        quant_min=0,
        quant_max=255,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=FusedMovingAvgObsFakeQuantize.with_args(
            averaging_constant=_ACTIVATION_AVERAGE, eps=_SMALLEST_SCALE
        ),
    )
    weight = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-largest_weight - 1,
        quant_max=largest_weight,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=FakeQuantize.with_args(
            observer=MovingAveragePerChannelMinMaxObserver,
            averaging_constant=_WEIGHT_AVERAGE,
            eps=_SMALLEST_SCALE,
        ),
    )
    return X86InductorQuantizer().set_global(
        QuantizationConfig(activation, activation, weight, None, is_qat=True)
    )


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Without torchao's remark that it registers an enum in a way torch is going to drop."""
    speaker = logging.getLogger("torch.utils._pytree")
    level = speaker.level
    speaker.setLevel(logging.ERROR)
    try:
        yield
    finally:
        speaker.setLevel(level)


def quantized(network: nn.Module, shape: Shape, *, start: float, freeze: float) -> nn.Module:
    """A quantised student of a network.

    On torch's meta device, where only shapes are asked for, it is the network itself.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return network
    return QuantizedStudent(network, shape, start=start, freeze=freeze)


__all__: Sequence[str] = ("STAGES", "QuantizedStudent", "quantized")
