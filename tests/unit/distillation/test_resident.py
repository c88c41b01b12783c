"""What went wrong on a device, told by what torch, CUDA and its libraries say."""

import pytest
import torch

from study.distillation.resident import lost_the_gpu, ran_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=str,
)
def test_a_lack_of_memory_is_the_students_and_leaves_the_gpu_usable(error: Exception) -> None:
    assert ran_out_of_memory(error)
    assert not lost_the_gpu(error)


def test_other_errors_of_cuda_leave_a_process_without_its_gpu() -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert lost_the_gpu(error)
    assert not ran_out_of_memory(error)
    plain = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not lost_the_gpu(plain)
    assert not ran_out_of_memory(plain)
