"""The residual students: torchvision's network where there is one, and real empty stages."""

import itertools

import pytest
import torch
import torchvision
from torch import nn

from search_spaces.networks.resnet import ResidualSpec, build


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shapes_after_stages(model: nn.Module, images: torch.Tensor) -> list[tuple[int, ...]]:
    shapes = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output: shapes.append(tuple(output.shape[1:]))
        )
    model(images)
    return shapes


def test_two_blocks_a_stage_is_torchvisions_resnet18() -> None:
    torch.manual_seed(0)
    ours = build(ResidualSpec((2, 2, 2, 2), "imagenet", 2), num_classes=10).eval()
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10).eval()

    assert parameters(ours) == parameters(theirs)
    state = theirs.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.state_dict().items())
    assert set(state) == set(ours.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(images), theirs(images))


def test_the_strides_and_stems_leave_the_parameters_of_the_stages_alone() -> None:
    counts = {
        (stem, stride): parameters(build(ResidualSpec((1, 1, 1, 1), stem, stride), 10))
        for stem in ("imagenet", "cifar")
        for stride in (1, 2, 4)
    }
    assert counts["imagenet", 1] == counts["imagenet", 2] == counts["imagenet", 4]
    assert counts["imagenet", 1] - counts["cifar", 1] == 64 * 3 * (7 * 7 - 3 * 3)


def test_an_empty_stage_is_not_one_block() -> None:
    empty = build(ResidualSpec((2, 2, 0, 0), "imagenet", 1), num_classes=10)
    one_block = build(ResidualSpec((2, 2, 1, 1), "imagenet", 1), num_classes=10)

    # Stem 9408 + 128; a basic block of width w 18 w² + 4 w; the second stage's first block has
    # 64 channels in, and a projection of 64 · 128 + 256; the head 128 · 10 + 10.
    stage_1 = 2 * (18 * 64**2 + 4 * 64)
    stage_2 = 2 * (18 * 128**2 + 4 * 128) - 9 * 64 * 128 + 64 * 128 + 2 * 128
    assert parameters(empty) == 9408 + 128 + stage_1 + stage_2 + 1290
    assert parameters(one_block) > 5 * parameters(empty)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ((2, 2, 0, 0), [(64, 16, 16), (128, 8, 8), (128, 8, 8), (128, 8, 8)]),
        ((0, 1, 0, 1), [(64, 16, 16), (128, 8, 8), (128, 8, 8), (512, 4, 4)]),
        ((0, 0, 0, 0), [(64, 16, 16)] * 4),
        ((1, 1, 1, 1), [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]),
    ],
)
def test_an_empty_stage_neither_downsamples_nor_widens(
    blocks: tuple[int, int, int, int], expected: list[tuple[int, ...]]
) -> None:
    model = build(ResidualSpec(blocks, "imagenet", 1), num_classes=7)
    assert shapes_after_stages(model, torch.randn(2, 3, 32, 32)) == expected


def test_every_combination_trains_at_32_pixels() -> None:
    images = torch.randn(2, 3, 32, 32)
    for stem, stride in itertools.product(("imagenet", "cifar"), (1, 2, 4)):
        for blocks in itertools.product((0, 1, 2), repeat=4):
            model = build(ResidualSpec(blocks, stem, stride, width=8), num_classes=5)
            logits = model(images)
            assert logits.shape == (2, 5)
            logits.square().mean().backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("size", [1, 2, 8])
def test_images_of_any_size_and_one_channel_are_taken(size: int) -> None:
    model = build(ResidualSpec((1, 1, 1, 1), "imagenet", 4, width=8), num_classes=10, channels=1)
    assert model(torch.randn(3, 1, size, size)).shape == (3, 10)


def test_the_width_scales_every_stage() -> None:
    model = build(ResidualSpec((1, 1, 1, 1), "cifar", 1, width=16), num_classes=10)
    widths = [shape[0] for shape in shapes_after_stages(model, torch.randn(2, 3, 8, 8))]
    assert widths == [16, 32, 64, 128]


def test_a_spec_names_itself() -> None:
    assert str(ResidualSpec((1, 1, 0, 0), "imagenet", 2)) == "[1,1,0,0] stride 2 imagenet w64"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 1, -1, 1), "imagenet", 1, 64), "blocks"),
        (((1, 1, 1, 1), "vgg", 1, 64), "imagenet, cifar"),
        (((1, 1, 1, 1), "cifar", 0, 64), "stem_stride"),
        (((1, 1, 1, 1), "cifar", 1, 0), "width"),
    ],
)
def test_an_impossible_spec_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResidualSpec(*arguments)  # type: ignore[arg-type]
