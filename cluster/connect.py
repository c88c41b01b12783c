"""Connecting to where a study runs: a Ray of its own on this machine, or a running cluster."""

import contextlib
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster import own_ray
from cluster.ahead import (
    beginning_with,
    in_groups_of_their_own,
    keeping_handlers,
    without_bystanders,
)
from cluster.forking import ForkServer, forked_workers
from cluster.limits import read_limits
from cluster.reach import (
    TOKEN_PROBLEM,
    ask_head,
    find_head,
    find_token,
    parse_address,
    running_here,
)

if TYPE_CHECKING:
    from cluster.kinds import Node

_RAY_DEFAULTS = {
    # Read by Ray when it is imported or started; set by the user, they stay.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # By default workers yield to every other process; here they are timed.
    "RAY_worker_niceness": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
# Read when Ray is imported: a Ray of its own then listens on loopback, whatever node address it is
# given, as it does by default on systems where it supports no cluster.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

# What takes a worker seconds to load, loaded while the driver is still busy with other things.
_LOADED_AHEAD = "torch,torchvision,ray.tune"


class ClusterError(ValueError):
    """A cluster that cannot be used; the message names the address and the mend."""


@dataclass(frozen=True)
class Cluster:
    """A connected cluster, or what a study may use of it.

    Attributes:
        address: ``local`` or the address of the head.
        cpus: CPUs that Ray may use, over all nodes.
        gpus: GPUs that Ray may use, over all nodes.
        nodes: Number of nodes alive.
        largest: CPUs of the largest node.
        kind: Model of the processors, or name of the GPUs, that trials run on; empty before one
            was chosen.
        used: The nodes of that kind; none before it was chosen.
        selector: Labels by which Ray finds the nodes of that kind; none where every node will do.
        left_alone: In words, the devices of other kinds; empty if there are none.
    """

    address: str
    cpus: int
    gpus: int
    nodes: int
    largest: int
    kind: str = ""
    used: "tuple[Node, ...]" = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    left_alone: str = ""

    @property
    def checked_kind(self) -> str:
        """The kind that a node has to be of which joins later; empty where none joins."""
        return "" if self.address == "local" else self.kind


def is_own(address: str | None) -> bool:
    """Whether an address asks for a Ray of its own on this machine."""
    return address in (None, "local")


def check_address(address: str | None, timeout: float = 2.0) -> None:
    """Refuse an address that names no running cluster, without importing Ray.

    Args:
        address: None or ``local`` (a Ray of its own), ``auto``, or ``HOST:PORT`` of a head node.
        timeout: Seconds to wait for the head to answer.

    Raises:
        ClusterError: naming the address and the mend.
    """
    if is_own(address):
        return
    assert address is not None
    if address == "auto":
        named = running_here()
        if named is None:
            raise ClusterError(
                "--address auto: no Ray is running on this machine; start one with "
                "`ray start --head`, or run on this machine with --address local"
            )
    else:
        named = address
    place = parse_address(named)
    if place is None:
        raise ClusterError(
            f"{_called(address, named)} is not HOST:PORT of a Ray head; write it as "
            "10.0.0.1:6379, or run on this machine with --address local"
        )
    problem = find_head(*place, timeout)
    if problem is not None:
        raise ClusterError(
            f"{_called(address, named)}: no Ray head answers there ({problem}); check it with "
            f"`ray status --address {named}`, or run on this machine with --address local"
        )


def _called(address: str, named: str) -> str:
    """Name an address as it was given, and what it stands for."""
    return f"--address {address}" if address == named else f"--address {address} ({named})"


def set_ray_defaults(address: str | None) -> None:
    """Set what Ray reads from the environment; to be called before it is imported.

    Args:
        address: As in :func:`check_address`.

    Raises:
        RuntimeError: if it is too late, and a Ray of one's own would listen on every interface.
    """
    own = is_own(address)
    if own and "ray" in sys.modules and not _LOOPBACK_ONLY.keys() <= os.environ.keys():
        raise RuntimeError("Ray was imported before it was told to listen on loopback only")
    defaults = {**_RAY_DEFAULTS, **(_LOOPBACK_ONLY if own else {})}
    if not own and {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        defaults["RAY_AUTH_MODE"] = "token"  # who names a token means it to be used
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def connect(
    address: str | None,
    *,
    env: Mapping[str, str],
    gpus: bool,
    load_ahead: int = 0,
    fork_server: ForkServer | None = None,
    log_level: str = "error",
) -> Cluster:
    """Start a Ray of its own on loopback, or join a running cluster.

    Args:
        address: As in :func:`check_address`.
        env: Environment of every worker, in force before anything is imported there.
        gpus: Whether the study asks for GPUs (a local Ray looks for them only then).
        load_ahead: So many workers a Ray of its own begins with, each of which loads torch as it
            starts, and stays; about 0.4 GiB each. With 0 it has one a CPU, which loads nothing.
        fork_server: Forks the workers of a Ray of its own, with the environment that it has.
        log_level: Level of Ray's own log.

    Raises:
        ClusterError: if the cluster cannot be joined.
    """
    own = is_own(address)
    own_ray.left.clear()
    set_ray_defaults(address)
    if own:
        _name_a_token()
    else:
        _check_head(address)
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": log_level}
    try:
        if own:
            # A worker started ahead has no ``runtime_env`` yet: it inherits its environment.
            ahead = _workers_ahead(load_ahead) if load_ahead else {}
            workers = load_ahead or available_cpus()
            forked = fork_server.env if fork_server else {}
            with (
                _environment({**env, **ahead, **forked}),
                beginning_with(workers),
                keeping_handlers(),
                without_bystanders(),
                in_groups_of_their_own(),
                forked_workers() if fork_server else contextlib.nullcontext(),
            ):
                ray.init(
                    address="local",
                    include_dashboard=False,
                    num_cpus=available_cpus(),
                    num_gpus=None if gpus else 0,
                    _node_ip_address="127.0.0.1",
                    **options,
                )
        else:
            with keeping_handlers():
                ray.init(address=address, runtime_env={"env_vars": dict(env)}, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"--address {address or 'local'}: {_in_one_line(error)}") from error
    resources = ray.cluster_resources()
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Cluster(
        address="local" if own else ray.get_runtime_context().gcs_address,
        cpus=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        nodes=len(alive),
        largest=max((int(has.get("CPU", 0)) for has in alive), default=0),
    )


def _name_a_token() -> None:
    """Name a token for a Ray of one's own, unless the user does: Ray leaves its own in a file.

    Others may read that file. This token is in the environment of this process and of Ray's, as
    long as they live, and nowhere else.
    """
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if not named or find_token() is None:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _check_head(address: str | None) -> None:
    """Refuse a head that does not let this user in; Ray itself would try for long.

    Where the user does not say whether tokens are asked for, it is as the head has it: Ray goes by
    whether a token lies about, or uses none, and then one side would not hear the other.

    Raises:
        ClusterError: with the mend.
    """
    named = running_here() if address == "auto" else address
    if named is None:
        return
    problem = ask_head(named)
    if "RAY_AUTH_MODE" not in os.environ:
        if problem is None:
            os.environ["RAY_AUTH_MODE"] = "disabled"
        elif problem == TOKEN_PROBLEM and find_token() is not None:
            os.environ["RAY_AUTH_MODE"] = "token"
            problem = ask_head(named)
    if problem is not None:
        raise ClusterError(f"{_called(str(address), named)}: {problem}")


def _in_one_line(error: Exception) -> str:
    """Why Ray was not reached; that of different versions takes Ray several lines."""
    told = str(error)
    if told.startswith("Version mismatch"):
        whole = "; ".join(re.sub(r"\n +", " ", told).splitlines())
        return f"{whole}; install the same versions of both on every machine"
    return f"Ray could not be reached ({told.splitlines()[0] if told else type(error).__name__})"


def _workers_ahead(workers: int) -> dict[str, str]:
    """Settings by which the workers that Ray starts ahead are ready and stay."""
    settings = {
        "RAY_preload_python_modules": _LOADED_AHEAD,
        "RAY_num_workers_soft_limit": str(workers),
    }
    return {name: value for name, value in settings.items() if name not in os.environ}


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have what is started meanwhile inherit variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def disconnect() -> None:
    """Leave the cluster; a Ray of its own is stopped."""
    import ray

    own_ray.left.set()
    ray.shutdown()


def available_cpus() -> int:
    """CPUs' worth of time that this process may use: by its affinity, and by its container's quota.

    Of a quota that is no whole number the rest keeps nobody busy; less than one CPU is still one.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_limits().cpus
    return cpus if quota is None else min(cpus, max(1, int(quota)))
