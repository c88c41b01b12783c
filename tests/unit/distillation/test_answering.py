"""Batches answered by several threads, against the same one after another."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from study.distillation.answering import Answering, torch_threads

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 4], ids=lambda count: f"{count} threads")
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    with torch_threads(request.param):
        yield request.param


class Notes(nn.Module):
    """Keeps its activations on itself between two layers, and meets another thread there."""

    def __init__(self, meeting: "threading.Barrier | None" = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3)
        self._meeting = (meeting,)

    def __deepcopy__(self, memo: dict[int, object]) -> "Notes":
        copied = Notes(*self._meeting)
        copied.first, copied.second = self.first, self.second
        return copied

    def forward(self, images: Tensor) -> Tensor:
        self.noted = self.first(images).relu()
        if self._meeting[0] is not None:
            self._meeting[0].wait(timeout=20)
        answer: Tensor = self.second(self.noted)
        return answer


def ask(network: nn.Module, batch: Tensor) -> Tensor:
    answer: Tensor = network(batch)
    return answer


def test_answers_are_those_of_each_batch_in_order(threads: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    batches = torch.split(torch.randn(23, 3, 8, 8), 2)
    answering = Answering(network, CPU)
    assert answering.at_once == threads
    answers = [*answering.about(batches, ask)]
    with torch.inference_mode():
        for batch, answer in zip(batches, answers, strict=True):
            torch.testing.assert_close(answer, network(batch))
    assert all(answer.is_inference() for answer in answers)
    assert torch.get_num_threads() == threads


def test_what_a_network_notes_on_itself_stays_with_its_batch() -> None:
    with torch_threads(2):
        network = Notes(threading.Barrier(2))
        batches = torch.split(torch.randn(8, 8), 1)
        answers = [*Answering(network, CPU).about(batches, ask)]
    alone = Notes()
    for batch, answer in zip(batches, answers, strict=True):
        torch.testing.assert_close(answer, alone(batch))


def test_copies_share_weights() -> None:
    with torch_threads(4):
        network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
        batches = torch.split(torch.randn(8, 4), 2)
        weights = Answering(network, CPU).about(batches, lambda asked, _: asked.state_dict())
        held = [[*of_copy.values()] for of_copy in weights]
    own = [tensor.data_ptr() for tensor in network.state_dict().values()]
    assert all([tensor.data_ptr() for tensor in tensors] == own for tensors in held)


def test_a_network_that_cannot_be_copied_answers_alone(threads: int) -> None:
    network = nn.Linear(4, 2)
    network.lock = threading.Lock()  # type: ignore[assignment]
    batches = torch.split(torch.randn(6, 4), 1)
    answering = Answering(network, CPU)
    answers = [*answering.about(batches, ask)]
    torch.testing.assert_close(torch.cat(answers), network(torch.cat(batches)))
    assert answering.at_once == 1


def test_an_error_is_raised_and_threads_are_as_before(threads: int) -> None:
    def fail(network: nn.Module, batch: Tensor) -> Tensor:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        [*Answering(nn.Linear(4, 2), CPU).about(torch.split(torch.randn(6, 4), 1), fail)]
    assert torch.get_num_threads() == threads
