import pytest
import torch

from study.distillation.acceleration import memory_fraction, prepare_gpu


def test_trials_that_share_a_gpu_share_its_memory_and_leave_some_for_their_processes() -> None:
    assert memory_fraction(0.25) == pytest.approx(0.2375)
    assert 4 * (memory_fraction(0.25) or 1.0) < 1
    assert memory_fraction(1.0) is None
    assert memory_fraction(2.0) is None
    assert memory_fraction(0.0) is None


def test_without_a_gpu_nothing_is_set() -> None:
    before = torch.backends.cudnn.benchmark
    prepare_gpu(0.0)
    assert torch.backends.cudnn.benchmark == before


@pytest.mark.gpu
def test_what_is_over_the_share_is_refused_as_out_of_memory() -> None:
    prepare_gpu(0.01)
    try:
        total = torch.cuda.get_device_properties(0).total_memory
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.02 * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
