import urllib.error
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from study.distillation.teacher_network import (
    build_network,
    build_teacher,
    parameters_m,
    weights_hash,
)
from study.distillation.teacher_recipe import TeacherError, TeacherRecipe

PRETRAINED = TeacherRecipe(weights="imagenet")
FILE = "resnet50-11ad3fa6.pth"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch hub's folder of checkpoints, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_resnet_50_is_torchvisions() -> None:
    ours, theirs = build_network(TeacherRecipe(), 10, (32, 32, 3)), resnet50(num_classes=10)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes
    assert parameters_m(ours) == pytest.approx(23.528, abs=0.001)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("block", ["bottleneck", "basic"])
def test_every_member_of_the_family_answers_small_images(
    block: str, stem: str, channels: int
) -> None:
    recipe = TeacherRecipe(depths=(1, 1, 1, 1), block=block, stem=stem)  # type: ignore[arg-type]
    network = build_network(recipe, 7, (8, 8, channels)).eval()
    assert network(torch.zeros(2, channels, 8, 8)).shape == (2, 7)


def test_the_cifar_stem_keeps_the_resolution() -> None:
    network = build_network(TeacherRecipe(depths=(1, 1, 1, 1), stem="cifar"), 10, (32, 32, 3))
    stem = nn.Sequential(*list(network.children())[:4])
    assert stem(torch.zeros(1, 3, 32, 32)).shape == (1, 64, 32, 32)


def test_weights_are_identified_by_their_content_alone() -> None:
    torch.manual_seed(0)
    network = build_network(TeacherRecipe(depths=(1, 1, 1, 1), width_per_group=4), 2, (32, 32, 3))
    before = weights_hash(network)
    assert weights_hash(network.to(memory_format=torch.channels_last)) == before
    with torch.no_grad():
        next(network.parameters())[0, 0, 0, 0] += 1e-3
    assert weights_hash(network) != before


def test_without_a_network_the_ways_out_are_named(
    hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def unreachable(request: object, *_: object, **__: object) -> None:
        asked.append(request.full_url)  # type: ignore[attr-defined]
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    with pytest.raises(TeacherError) as caught:
        build_teacher(PRETRAINED, 10, (32, 32, 3))
    assert asked == [f"https://download.pytorch.org/models/{FILE}"]
    message = str(caught.value)
    assert "Name or service not known" in message
    assert "run once with a network" in message
    assert str(hub / FILE) in message
    assert "--teacher-weights none" in message
    assert "\n" not in message
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"<html>a proxy's answer</html>", b"PK\x03\x04 cut off"])
def test_a_damaged_download_is_named(content: bytes, hub: Path) -> None:
    (hub / FILE).write_bytes(content)
    with pytest.raises(TeacherError, match="delete the file to download it again") as caught:
        build_teacher(PRETRAINED, 10, (32, 32, 3))
    assert str(hub / FILE) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_imagenet_weights_are_taken_over_but_for_the_head(channels: int, hub: Path) -> None:
    torch.manual_seed(0)
    original = resnet50()
    torch.save(original.state_dict(), hub / FILE)
    teacher = build_teacher(PRETRAINED, 10, (32, 32, channels))
    state, published = teacher.state_dict(), original.state_dict()
    assert state["fc.weight"].shape == (10, 2048)
    for name in published:
        if not name.startswith(("fc.", "conv1.")):
            assert torch.equal(state[name], published[name]), name
    if channels == 3:
        assert torch.equal(state["conv1.weight"], published["conv1.weight"])
    if channels == 1:  # a grey image in three equal channels gives the same answers
        grey = torch.rand(1, 1, 32, 32)
        expected = original.conv1(grey.expand(1, 3, 32, 32))
        assert torch.allclose(teacher.conv1(grey), expected, atol=1e-4)  # type: ignore[operator]
    assert state["conv1.weight"].shape == (64, channels, 7, 7)
