"""The machine: CPUs, memory, disk, the GPU, a browser."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster.limits import free_memory, read_limits
from study.doctor.check import Check, Scope, first_line, in_units

# A study on CIFAR-10 keeps some hundred MB: the data, a teacher and its answers, the report.
_LEAST_FREE, _GOOD_FREE = 1e9, 5e9
# The driver with Ray's own processes, and a worker in training, as resident memory.
_BASE_MEMORY, _TRIAL_MEMORY = 1.5e9, 0.75e9
# Ray's object store is by default this share of free memory, and no larger than /dev/shm or this.
_STORE_SHARE, _STORE_CAP = 0.3, 10e9
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def check_cpus(scope: Scope) -> Check:
    """Say how many trials the CPUs take at once."""
    from cluster.connect import available_cpus

    return judge_cpus(available_cpus(), os.cpu_count() or 1, read_limits().cpus)


def judge_cpus(usable: int, machine: int, quota: float | None) -> Check:
    """Judge the CPUs that a study takes here, of those of the machine.

    Args:
        usable: CPUs that trials get, by affinity and quota.
        machine: CPUs of the machine.
        quota: CPUs' worth of time that the container is allowed, if that is limited.
    """
    text = f"{usable} of the machine's {machine}" if usable < machine else f"{usable}"
    if quota is not None and quota < machine:
        text += f", with no more time than {quota:g} allowed here"
    if quota is not None and quota < usable:
        return Check(
            "cpus",
            "note",
            f"{text}: a trial is held up again and again, and latencies are noise",
            "give the container at least one CPU",
        )
    return Check("cpus", "ok", f"{text}; as many trials at once")


def check_memory(scope: Scope) -> Check:
    """Say whether memory is enough for a trial on every CPU."""
    import psutil

    from cluster.connect import available_cpus

    memory = psutil.virtual_memory()
    return judge_memory(memory.available, memory.total, read_limits().memory, available_cpus())


def judge_memory(available: int, total: int, limit: int | None, trials: int) -> Check:
    """Judge free memory (bytes) for some trials at once, under the limit of a container."""
    if limit is not None and limit < total:
        available, total = min(available, limit), limit
        text = f"at most {in_units(available)} of the {in_units(limit)} that are allowed here"
    else:
        text = f"{in_units(available)} free of {in_units(total)}"
    if available < _BASE_MEMORY:
        mend = f"end other programs; a study of one trial takes {in_units(_BASE_MEMORY)} and more"
        return Check("memory", "fail", text, mend)
    fit = max(1, int((available - _BASE_MEMORY) / _TRIAL_MEMORY))
    if fit < trials:
        mend = f"--concurrent {fit}, or end other programs"
        return Check("memory", "note", f"{text}; small for {trials} trials at once", mend)
    return Check("memory", "ok", text)


def check_shared_memory(scope: Scope) -> Check:
    """Say whether Ray's object store, which holds the data for all trials, fits /dev/shm."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except FileNotFoundError:
        return Check("shared memory", "ok", "this system has no /dev/shm; Ray uses files")
    return judge_shared_memory(free, free_memory())


def judge_shared_memory(free: int, memory: int) -> Check:
    """Judge the room in /dev/shm, bytes, by what Ray asks for with this much free memory.

    The sizes are those of ``resolve_object_store_memory`` and ``determine_plasma_store_config`` in
    Ray 2.60: a store that does not fit /dev/shm goes to disk.
    """
    text = f"{in_units(free)} free in /dev/shm"
    store = min(_STORE_SHARE * memory, max(_STORE_CAP, 0.95 * free))
    if free < store:
        gigabytes = max(1, int(store * 1.1 / 2**30 + 0.999))
        return Check(
            "shared memory",
            "note",
            f"{text}: Ray wants {in_units(store)}, and will keep its objects on disk, slower",
            f"make it larger: docker run --shm-size={gigabytes}g, or mount -o "
            f"remount,size={gigabytes}G /dev/shm",
        )
    return Check("shared memory", "ok", text)


def check_studies(scope: Scope) -> Check:
    """Say whether the studies folder can be written, and how much room there is."""
    from study.plan import PlanError, check_writable

    try:
        check_writable(scope.studies)
    except PlanError as error:
        return Check("studies", "fail", str(error), "--studies DIR, a folder that you may write")
    there = existing(scope.studies)
    is_there = there == scope.studies
    free = shutil.disk_usage(there).free
    return judge_studies(scope.studies, is_there=is_there, free=free)


def judge_studies(studies: Path, *, is_there: bool, free: int) -> Check:
    """Judge a studies folder that can be written, by the room (bytes) on its disk."""
    state = "can be written" if is_there else "is not there yet, and can be made"
    text = f"{studies.absolute()} {state}; {in_units(free)} free"
    mend = "make room, or name a folder on another disk with --studies"
    if free < _LEAST_FREE:
        return Check("studies", "fail", f"{text}, too little for a study", mend)
    if free < _GOOD_FREE:
        return Check("studies", "note", f"{text}, little for many studies", mend)
    return Check("studies", "ok", text)


def check_temporary(scope: Scope) -> Check:
    """Say whether there is room where Ray keeps its sessions, and objects beyond memory."""
    folder = ray_folder()
    try:
        with tempfile.TemporaryFile(dir=existing(folder)):
            usage = shutil.disk_usage(existing(folder))
    except OSError as error:
        return Check(
            "temporary",
            "fail",
            f"Ray cannot write in {folder} ({error.strerror})",
            "RAY_TMPDIR=DIR in the environment, a folder of your own with a short path",
        )
    return judge_temporary(folder, usage.free, usage.total)


def judge_temporary(folder: Path, free: int, total: int) -> Check:
    """Judge the disk that Ray works on; from 95 % full on it writes no more objects there."""
    text = f"{folder}: {in_units(free)} free"
    if free < 0.05 * total or free < _LEAST_FREE:
        mend = "make room there, or RAY_TMPDIR=DIR in the environment, on another disk"
        return Check("temporary", "note", f"{text}, little for Ray's sessions and objects", mend)
    return Check("temporary", "ok", text)


def ray_folder() -> Path:
    """Return where Ray keeps its sessions, as ``get_default_ray_temp_dir`` in Ray 2.60 has it."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray")


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def check_gpu(scope: Scope) -> Check:
    """Say which GPUs there are, and whether they compute what the CPU does."""
    import torch

    if not torch.cuda.is_available():
        devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
        return judge_no_gpu(devices, torch.version.cuda)
    found = []
    for index in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(index)
        try:
            agrees = _product_agrees(index)
        except RuntimeError as error:  # torch's errors of CUDA are of that kind
            agrees, reason = False, first_line(error)
        else:
            reason = "a product of matrices differs from the CPU's"
        if not agrees:
            mend = (
                f"a torch for this driver and GPU: https://pytorch.org (here {torch.__version__})"
            )
            return Check("gpu", "fail", f"{name}: {reason}", mend)
        free, total = torch.cuda.mem_get_info(index)
        found.append(f"{name}, {in_units(free)} free of {in_units(total)}")
    return Check("gpu", "ok", f"{'; '.join(found)}; use it with --gpus-per-trial 0.25 or more")


def judge_no_gpu(devices: list[str], cuda: str | None) -> Check:
    """Judge that torch sees no GPU: ``devices`` of NVIDIA there are; ``cuda`` is torch's own."""
    if not devices:
        return Check("gpu", "ok", "none; trials train on CPUs")
    text = f"{', '.join(devices)} in /dev, but torch cannot use it; trials train on CPUs"
    if cuda is None:
        return Check("gpu", "note", text, "install a torch with CUDA; this one is for CPUs alone")
    return Check("gpu", "note", text, f"install an NVIDIA driver for CUDA {cuda} or newer")


def _product_agrees(index: int) -> bool:
    import torch

    left, right = torch.randn(256, 256), torch.randn(256, 256)
    device = torch.device("cuda", index)
    product = (left.to(device) @ right.to(device)).cpu()
    # TF32, where it is on, keeps ten bits of each factor.
    return torch.allclose(product, left @ right, atol=0.1)


def check_browser(scope: Scope) -> Check:
    """Say whether there is a Chromium for the browser tests; studies need none."""
    for name in _BROWSERS:
        path = shutil.which(name)
        if path is None:
            continue
        # Run, for there are packages of that name that only say where to get the real one.
        try:
            run = subprocess.run(
                [path, "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if run.returncode == 0:
            return Check("browser", "ok", run.stdout.strip() or path)
    text = "no Chromium that runs; reports open in any browser"
    return Check("browser", "note", text, "for the browser tests: apt-get install chromium")
