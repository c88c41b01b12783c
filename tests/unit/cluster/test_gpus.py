"""GPUs by the names that NVIDIA's driver or its tool has for them."""

from pathlib import Path

import pytest

from cluster import gpus
from cluster.gpus import gpu_names

PCIE, MODULE, SMALL = "NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "Tesla T4"


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs are found; there are none."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus._of_tool.cache_clear()
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def cards(folder: Path, *names: str) -> Path:
    """What the driver says of cards, whose UUIDs begin with GPU-0, GPU-1 and so on."""
    for number, name in enumerate(names):
        place = folder / "gpus" / f"0000:0{number}:00.0"
        place.mkdir(parents=True)
        about = f"Model: \t\t {name}\nIRQ:   \t\t 12{number}\nGPU UUID: \t GPU-{number}f3a-77\n"
        (place / "information").write_text(about)
    return folder / "gpus"


def test_cards_are_called_as_the_driver_calls_them_each_name_once(tmp_path: Path) -> None:
    assert gpu_names(cards(tmp_path, MODULE, PCIE, MODULE)) == (MODULE, PCIE)


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        ("GPU-1f3a-77", (PCIE,)),
        ("GPU-0f3a,GPU-2", (MODULE, SMALL)),
        ("1", (MODULE, PCIE, SMALL)),  # in an order of CUDA's own
        ("", (MODULE, PCIE, SMALL)),  # as Ray may have it for a task that holds none
        ("GPU-9", (MODULE, PCIE, SMALL)),  # the driver may not tell
    ],
)
def test_cards_that_the_environment_leaves_out_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert gpu_names(cards(tmp_path, MODULE, PCIE, SMALL)) == names


@pytest.mark.parametrize(
    ("tool", "names"),
    [
        (f"echo 'GPU-0f3a, {PCIE}'; echo 'GPU-1f3a, {PCIE}'", (PCIE,)),
        ("echo 'NVIDIA-SMI has failed, as it cannot talk to the driver'; exit 9", ()),
        ("", ()),
    ],
)
def test_where_the_driver_does_not_tell_its_tool_is_asked(
    tmp_path: Path, path: Path, tool: str, names: tuple[str, ...]
) -> None:
    if tool:
        (path / "nvidia-smi").write_text(f"#!/bin/sh\n{tool}\n")
        (path / "nvidia-smi").chmod(0o755)
    assert gpu_names(tmp_path / "gpus") == names


def test_cards_that_a_job_was_not_given_do_not_count(tmp_path: Path, path: Path) -> None:
    (path / "nvidia-smi").write_text(f"#!/bin/sh\necho 'GPU-1f3a-77, {PCIE}'\n")
    (path / "nvidia-smi").chmod(0o755)
    assert gpu_names(cards(tmp_path, MODULE, PCIE)) == (PCIE,)
