"""Transfer learning: what is frozen stays as it was, and each phase resumes exactly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from search_spaces.networks import mobilenet
from study.distillation import checkpoint, methods
from study.distillation.image_data import Augmentation, Split
from study.distillation.training import StudentTrainer, TrainingData, TrainingSettings
from study.distillation.transfer import (
    Part,
    Phase,
    Transfer,
    TransferError,
    freeze_but,
    learning_modules,
    transfer_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")

GENERATOR = np.random.default_rng(0)
SPLIT = Split(
    GENERATOR.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), GENERATOR.integers(0, 2, 12)
)
DATA = TrainingData(SPLIT, SPLIT, (0.5,) * 3, (0.3,) * 3, Augmentation(2, True))
SETTINGS = TrainingSettings(
    4, 6, 1e-3, "constant", "adam", transfer=Transfer("layer4", 0.5, 0.1), views=2
)


def residual() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2)
    return network


def mobile() -> nn.Module:
    torch.manual_seed(0)
    return mobilenet.build(2, width=0.35)


def trainer(settings: TrainingSettings = SETTINGS) -> StudentTrainer:
    method = methods.build({"method": "none"})
    return StudentTrainer(mobile(), method, DATA, None, settings, torch.device("cpu"))


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before: dict[str, torch.Tensor], network: nn.Module) -> set[str]:
    """The modules whose state is another: `classifier`, or `features.14` and the like."""
    names = [n for n, value in network.state_dict().items() if not torch.equal(value, before[n])]
    return {".".join(n.split(".")[: 2 if n.startswith("features") else 1]) for n in names}


LAST_STAGE = {f"features.{number}" for number in range(14, 19)}


# The phases, as numbers.


@pytest.mark.parametrize(
    ("epochs", "head"), [(35, 10), (70, 20), (7, 2), (4, 1), (3, 1), (2, 1), (1, 0)]
)
def test_shorter_and_longer_trainings_keep_the_proportion_of_the_phases(
    epochs: int, head: int
) -> None:
    transfer = Transfer("all", 10 / 35, 0.1)
    phases = [transfer.phase(epoch, epochs) for epoch in range(epochs)]

    assert transfer.head_epochs(epochs) == head
    rate = 0.1 if head else 1.0  # a head that never learnt alone learns at the whole rate
    assert phases == [Phase("fc", 1.0)] * head + [Phase("all", rate)] * (epochs - head)


def test_by_default_nothing_is_frozen() -> None:
    assert not Transfer().freezes
    assert Transfer().phase(0, 3) == Phase("all", 1.0)
    assert Transfer("layer4").phase(0, 3) == Phase("layer4", 1.0)


def test_a_trials_parameters_are_read_by_name() -> None:
    asked = {"unfreeze": "fc", "head_share": 0.25, "width": 1.0}
    assert transfer_of(asked) == Transfer("fc", 0.25, 1.0)
    assert transfer_of({}) == Transfer()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"unfreeze": "layer3"}, "unfreeze 'layer3' is unknown; choose fc, layer4, all"),
        ({"head_share": 1.5}, "head_share 1.5"),
        ({"rate_after_head": 0.0}, "rate_after_head 0"),
    ],
)
def test_what_is_no_transfer_learning_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(TransferError, match=named):
        Transfer(**wrong)


# The parts of networks.


def test_parts_are_the_head_and_the_stage_at_a_32nd_of_the_side() -> None:
    for network, head in ((residual(), "fc"), (mobile(), "classifier")):
        assert learning_modules(network, "fc") == (network.get_submodule(head),)
        assert learning_modules(network, "all") == (network,)
        sizes: dict[int, torch.Size] = {}
        for module in learning_modules(network, "layer4")[1:]:
            module.register_forward_hook(
                lambda module, _, out, sizes=sizes: sizes.update({id(module): out.shape[2:]})
            )
        network.eval()(torch.zeros(1, 3, 64, 64))
        assert set(sizes.values()) == {torch.Size([2, 2])}


def test_a_network_of_other_names_is_refused() -> None:
    with pytest.raises(TransferError, match="a Sequential has no part 'fc': known are ResNets"):
        learning_modules(nn.Sequential(nn.Linear(2, 2)), "fc")


@pytest.mark.parametrize("part", ["fc", "layer4", "all"])
def test_what_is_frozen_asks_for_no_gradient_and_is_in_eval_mode(part: Part) -> None:
    network = residual()
    for first in ("fc", "all", part):
        freeze_but(network, first)  # type: ignore[arg-type]
    learning = {
        "fc": {"fc"},
        "layer4": {"fc", "layer4"},
        "all": {name for name, _ in network.named_children()},
    }[part]
    for name, child in network.named_children():
        assert all(module.training == (name in learning) for module in child.modules())
        assert all(p.requires_grad == (name in learning) for p in child.parameters())


# Training.


def test_the_head_learns_alone_and_then_with_the_last_stage() -> None:
    run = trainer()
    before = snapshot(run.student)
    epochs = [run.run_epoch() for _ in range(2)]
    assert changed(before, run.student) == {"classifier"}  # and no statistics of batches
    middle = snapshot(run.student)
    epochs += [run.run_epoch() for _ in range(2)]
    assert changed(middle, run.student) == {"classifier"} | LAST_STAGE
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


@pytest.mark.parametrize(("unfreeze", "learns"), [("fc", {"classifier"}), ("all", None)])
def test_the_chosen_part_learns_after_the_head(unfreeze: Part, learns: set[str] | None) -> None:
    run = trainer(replace(SETTINGS, epochs=2, transfer=Transfer(unfreeze, 0.5, 0.1)))
    run.run_epoch()
    before = snapshot(run.student)
    run.run_epoch()
    everything = {f"features.{number}" for number in range(19)} | {"classifier"}
    assert changed(before, run.student) == (learns or everything)


def moments(state: dict[str, Any]) -> int:
    """Weights that the optimiser of a checkpoint remembers something of."""
    optimizer = state["optimizer"]
    numbers = [number for group in optimizer["param_groups"] for number in group["params"]]
    assert set(optimizer["state"]) <= set(numbers)
    return len(numbers)


def test_what_is_frozen_has_no_gradient_and_no_state_in_the_optimiser() -> None:
    run = trainer()
    run.run_epoch()
    frozen = run.student.get_submodule("features")
    assert all(p.grad is None for p in frozen.parameters())
    assert moments(run.state()) == 2  # weight and bias of the head
    run.run_epoch()
    run.run_epoch()
    last = [run.student.get_submodule(name) for name in LAST_STAGE]
    assert moments(run.state()) == 2 + sum(len(list(module.parameters())) for module in last)
    assert all(p.grad is None for p in run.student.get_submodule("features.13").parameters())


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_training_resumed_in_either_phase_or_between_takes_the_very_same_steps(
    cut: int, tmp_path: Path
) -> None:
    whole = trainer()
    curve = [whole.run_epoch() for _ in range(4)]

    first = trainer()
    for _ in range(cut):
        first.run_epoch()
    checkpoint.save(tmp_path / "last.pt", first.state())
    second = trainer()
    second.load_state(checkpoint.load(tmp_path / "last.pt"))
    resumed = [second.run_epoch() for _ in range(4 - cut)]

    for then, now in zip(curve[cut:], resumed, strict=True):
        assert replace(then, seconds=0.0) == replace(now, seconds=0.0)
    final = second.student.state_dict()
    assert all(torch.equal(value, final[n]) for n, value in whole.student.state_dict().items())


def test_a_state_of_other_phases_is_not_resumed() -> None:
    run = trainer()
    run.run_epoch()
    other = trainer(replace(SETTINGS, transfer=Transfer("all", 0.5, 0.1)))
    with pytest.raises(ValueError, match="reached with transfer"):
        other.load_state(run.state())
