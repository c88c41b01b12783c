"""What the doctor says of Python, the packages and the machine."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from cluster.limits import Limits, read_limits
from study.doctor import CHECKS
from study.doctor.check import Check, Scope, attempt
from study.doctor.machine import (
    check_browser,
    check_gpu,
    check_shared_memory,
    check_studies,
    check_temporary,
    judge_cpus,
    judge_memory,
    judge_no_gpu,
    judge_shared_memory,
    judge_studies,
    judge_temporary,
)
from study.doctor.packages import check_packages, check_python, check_torch, required_packages

GB = 1_000_000_000


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    return Scope(tmp_path / "studies")


def test_an_error_that_a_check_did_not_expect_is_its_finding(scope: Scope) -> None:
    def broken(scope: Scope) -> Check:
        raise OSError("\nthe disk is on fire\nand more")

    assert attempt("disk", broken, scope) == Check("disk", "fail", "OSError: the disk is on fire")


def test_a_package_that_is_missing_points_to_the_check_of_packages(scope: Scope) -> None:
    def lacking(scope: Scope) -> Check:
        import no_such_package  # type: ignore[import-not-found]  # noqa: F401

        raise AssertionError

    found = attempt("data", lacking, scope)

    assert (found.state, found.mend) == ("fail", "see packages")
    assert "no_such_package" in found.text


def test_every_check_reports_under_its_own_name(scope: Scope) -> None:
    slow = {"mlflow", "ray"}  # have tests of their own
    for name, check in CHECKS:
        if name not in slow:
            assert attempt(name, check, scope).name == name


# Python and the packages


def test_here_python_packages_and_torch_fit(scope: Scope) -> None:
    for check in (check_python, check_packages, check_torch):
        assert check(scope).state == "ok", check(scope)
    assert {"torch", "ray", "optuna", "mlflow"} <= {item.name for item in required_packages()}
    assert "pytest" not in {item.name for item in required_packages()}  # an extra


def project(tmp_path: Path, *, python: str = ">=3.11", needs: tuple[str, ...] = ()) -> Path:
    """A folder with the metadata of an installed distillation-study."""
    metadata = tmp_path / "site" / "distillation_study-9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", "Name: distillation-study", "Version: 9"]
    lines += [f"Requires-Python: {python}", *(f"Requires-Dist: {need}" for need in needs)]
    metadata.write_text("\n".join(lines) + "\n")
    return metadata.parents[1]


def test_packages_that_are_missing_or_too_old_are_named(
    scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = ("no-such-thing>=1", "numpy>=999", "torch>=2", 'absent>=3; extra == "test"')
    monkeypatch.syspath_prepend(str(project(tmp_path, needs=needs)))

    found = check_packages(scope)

    assert found.state == "fail"
    assert "no-such-thing is missing" in found.text
    assert "numpy 2." in found.text
    assert "is not >=999" in found.text
    assert "torch" not in found.text
    assert "absent" not in found.text
    assert found.mend is not None
    assert "pip install" in found.mend


def test_a_python_that_is_too_old_is_refused(
    scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(project(tmp_path, python=">=4.2")))

    found = check_python(scope)

    assert found.state == "fail"
    assert ">=4.2 is needed" in found.text
    assert found.mend == "make PYTHON=/path/to/python4.2 study"


# The machine


def test_a_limit_of_cpu_time_is_told_with_what_fits_and_noted_where_no_trial_does() -> None:
    limited = judge_cpus(2, 64, 2.5)

    assert limited.state == "ok"
    assert limited.text == (
        "2 of the machine's 64, with no more time than 2.5 allowed here; as many trials at once"
    )
    starved = judge_cpus(1, 64, 0.5)
    assert starved.state == "note"
    assert "no more time than 0.5" in starved.text
    assert "at least one CPU" in str(starved.mend)
    assert judge_cpus(8, 64, 8.0).state == "ok"
    assert judge_cpus(8, 64, None).text.startswith("8 of the machine's 64;")
    assert judge_cpus(8, 8, 9.0).text == "8; as many trials at once"


def test_memory_is_judged_by_the_trials_that_fit_under_the_limit() -> None:
    assert judge_memory(16 * GB, 32 * GB, None, 8).state == "ok"
    assert judge_memory(1 * GB, 32 * GB, None, 8).state == "fail"

    limited = judge_memory(16 * GB, 32 * GB, 3 * GB, 8)
    assert limited.state == "note"
    assert "3.00 GB that are allowed here" in limited.text
    assert "--concurrent 2" in str(limited.mend)


def test_a_dev_shm_below_what_ray_wants_is_noted_with_the_size_it_needs() -> None:
    docker = judge_shared_memory(64_000_000, 16 * GB)

    assert docker.state == "note"
    assert "Ray wants 4.80 GB" in docker.text
    assert "--shm-size=5g" in str(docker.mend)
    assert judge_shared_memory(8 * GB, 16 * GB).state == "ok"
    # Ray makes no store larger than /dev/shm, but one of 10 GB it makes anywhere.
    assert judge_shared_memory(12 * GB, 400 * GB).state == "ok"
    assert judge_shared_memory(8 * GB, 400 * GB).state == "note"


def test_the_dev_shm_that_is_there_is_read(scope: Scope) -> None:
    assert "free in /dev/shm" in check_shared_memory(scope).text


def test_disks_without_room_are_named_and_full_ones_fail(tmp_path: Path) -> None:
    def judge(free: int) -> Check:
        return judge_studies(tmp_path, is_there=True, free=free)

    assert [judge(free).state for free in (GB // 2, 2 * GB, 50 * GB)] == ["fail", "note", "ok"]
    assert judge_temporary(tmp_path, 3 * GB, 100 * GB).state == "note"
    assert judge_temporary(tmp_path, 30 * GB, 100 * GB).state == "ok"


def test_a_studies_folder_is_looked_at_without_being_made(scope: Scope, tmp_path: Path) -> None:
    assert "is not there yet, and can be made" in check_studies(scope).text
    assert list(tmp_path.iterdir()) == []

    scope.studies.mkdir()
    assert "can be written" in check_studies(scope).text
    assert list(scope.studies.iterdir()) == []


def test_a_studies_folder_that_is_a_file_fails(scope: Scope) -> None:
    scope.studies.write_text("")

    found = check_studies(scope)

    assert found.state == "fail"
    assert "is a file" in found.text
    assert found.mend is not None


def test_where_ray_cannot_keep_its_sessions_is_found_out(
    scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert check_temporary(scope).text.startswith(str(tmp_path / "ray"))

    (tmp_path / "ray").write_text("not a folder")
    found = check_temporary(scope)
    assert found.state == "fail"
    assert "RAY_TMPDIR" in str(found.mend)


def test_a_machine_without_a_gpu_is_fine_but_a_gpu_that_torch_cannot_use_is_noted() -> None:
    assert judge_no_gpu([], None) == Check("gpu", "ok", "none; trials train on CPUs")
    for_cpus = judge_no_gpu(["nvidia0"], None)
    old_driver = judge_no_gpu(["nvidia0"], "13.2")

    assert for_cpus.state == old_driver.state == "note"
    assert "for CPUs alone" in str(for_cpus.mend)
    assert "CUDA 13.2" in str(old_driver.mend)


@pytest.mark.gpu
def test_a_gpu_is_named_with_its_memory(scope: Scope) -> None:
    import torch

    found = check_gpu(scope)

    assert found.state == "ok", found
    assert torch.cuda.get_device_name(0) in found.text


def test_a_browser_that_does_not_run_is_as_good_as_none(
    scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "chromium"
    stub.write_text("#!/bin/sh\necho requires the chromium snap >&2\nexit 1\n")
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin-without-browsers")

    found = check_browser(scope)

    assert shutil.which("chromium") == str(stub)
    assert found.state == "note"
    assert "any browser" in found.text


# Limits of control groups


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def test_limits_of_version_2_are_the_tightest_up_to_the_top(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/system.slice"
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/job.service",
            f"{group}/memory.max": "4000000000",
            f"{group}/cpu.max": "max 100000",
            f"{group}/job.service/memory.max": "max",
            f"{group}/job.service/cpu.max": "150000 100000",
        },
    )
    assert read_limits(root) == Limits(4_000_000_000, 1.5)


def test_limits_of_version_2_in_a_container_are_those_of_the_mount(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "2000000000"},
    )
    assert read_limits(root) == Limits(2_000_000_000, None)


def test_limits_of_version_1_are_read_and_its_largest_number_is_none(tmp_path: Path) -> None:
    lines = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc"
    files = {
        "proc/self/cgroup": lines,
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000000",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    assert read_limits(write(tmp_path, files)) == Limits(3_000_000_000, 2.0)

    files["sys/fs/cgroup/memory/memory.limit_in_bytes"] = "9223372036854771712"
    files["sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"] = "-1"
    assert read_limits(write(tmp_path, files)) == Limits()


def test_a_system_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert read_limits(tmp_path) == Limits()
