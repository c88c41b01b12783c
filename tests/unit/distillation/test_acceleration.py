import pytest
import torch

from study.distillation.acceleration import memory_fraction, prepare_gpu


def test_trials_that_share_a_gpu_share_its_memory_and_leave_some_for_their_processes() -> None:
    large, small = 80_000_000_000, 6_000_000_000
    assert memory_fraction(0.25, large) == pytest.approx(0.2425)
    for total in (large, 16_000_000_000):
        fraction = memory_fraction(0.25, total)
        assert fraction is not None
        assert 4 * (fraction * total + 600_000_000) == pytest.approx(total)
    assert memory_fraction(0.1, small) == 0.05
    for whole in (1.0, 2.0, 0.0):
        assert memory_fraction(whole, large) is None


def test_without_a_gpu_nothing_is_set() -> None:
    before = torch.backends.cudnn.benchmark
    prepare_gpu(0.0)
    assert torch.backends.cudnn.benchmark == before


@pytest.mark.gpu
def test_what_is_over_the_share_is_refused_as_out_of_memory() -> None:
    tuned = torch.backends.cudnn.benchmark
    prepare_gpu(0.01)
    try:
        total = torch.cuda.get_device_properties(0).total_memory
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.02 * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.backends.cudnn.benchmark = tuned
