"""What a study takes of the machine that it runs on, and how it comes to the Ray that it uses."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from launching import Launcher

from cluster import connect, probe
from cluster.limits import Limits
from cluster.reach import TOKEN_PROBLEM

HEAD = "10.0.0.1:6379"
OWN_RAY = """
import os
from cluster.connect import connect, disconnect

connect(None, env={}, gpus=False)
import ray
inside = ray.get(ray.remote(lambda: os.environ["RAY_AUTH_TOKEN"]).remote())
print(os.environ["RAY_AUTH_MODE"], len(inside), inside == os.environ["RAY_AUTH_TOKEN"])
disconnect()
"""


@pytest.mark.parametrize(
    ("cores", "quota", "cpus"),
    [
        (64, 2.0, 2),  # docker run --cpus=2
        (64, 2.9, 2),
        (64, 0.5, 1),
        (2, 8.0, 2),  # docker run --cpus=8 --cpuset-cpus=0,1
        (4, None, 4),
    ],
)
def test_trials_get_the_cpus_that_they_may_run_on_and_have_the_time_of(
    monkeypatch: pytest.MonkeyPatch, cores: int, quota: float | None, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(connect, "read_limits", lambda: Limits(cpus=quota))

    assert connect.available_cpus() == cpus


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Of a user who has said nothing of tokens."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is undone
        monkeypatch.delenv(name)
    return tmp_path


def test_a_ray_of_ones_own_asks_for_a_token_that_no_file_keeps(home: Path) -> None:
    kept = {n: v for n, v in Launcher().environment().items() if not n.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", OWN_RAY],
        env={**kept, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.split() == ["token", "64", "True"], done.stderr
    assert [path for path in home.rglob("*") if "token" in path.name] == []


def test_a_token_that_the_user_names_is_that_of_a_ray_of_ones_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "token"))
    connect._name_a_token()
    assert len(os.environ.pop("RAY_AUTH_TOKEN")) == 64  # there is no such file
    (home / "token").write_text("of a file")
    connect._name_a_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the environment")
    connect._name_a_token()
    assert os.environ["RAY_AUTH_TOKEN"] == "of the environment"


def asked(monkeypatch: pytest.MonkeyPatch, *, wants: bool) -> None:
    """Ask a head about joining it, which wants a token, or none."""

    def ask(address: str) -> str | None:
        given = os.environ.get("RAY_AUTH_MODE") == "token"
        return None if given == wants else TOKEN_PROBLEM

    monkeypatch.setattr(connect, "ask_head", ask)
    connect._check_head(HEAD)


def test_a_token_in_the_home_folder_is_used_where_the_head_asks_for_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(connect.ClusterError, match=r"token is missing .+~/\.ray/auth_token"):
        asked(monkeypatch, wants=True)
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("0" * 64)
    asked(monkeypatch, wants=True)
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_a_token_that_lies_about_is_not_used_where_the_head_asks_for_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("0" * 64)
    asked(monkeypatch, wants=False)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(connect.ClusterError, match="token is missing or wrong"):
        asked(monkeypatch, wants=False)


def test_other_versions_on_the_cluster_are_named_with_the_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    there = {"ray_version": "2.41.0", "python_version": "3.9.2"}

    def joined(**_: object) -> None:
        ray._private.utils.check_version_info(there, "node 10.0.0.7")

    monkeypatch.setattr(connect, "_check_head", lambda address: None)
    monkeypatch.setattr(ray, "init", joined)
    with pytest.raises(connect.ClusterError) as said:
        connect.connect(HEAD, env={}, gpus=False)
    (line,) = str(said.value).splitlines()
    assert line.startswith(f"--address {HEAD}: Version mismatch: ")
    assert "started with: Ray: 2.41.0 Python: 3.9.2; This process on node 10.0.0.7" in line
    assert f"Ray: {ray.__version__} Python: 3." in line
    assert line.endswith("; install the same versions of both on every machine")


@pytest.mark.parametrize(
    ("nodes", "answer"),
    [
        ([("aa", 0)], "ok"),
        ([("bb", 0), ("aa", 0)], "ok"),
        ([("bb", 0)], "elsewhere"),
        ([("aa", 1)], "elsewhere"),  # which has died
        ([], "elsewhere"),
    ],
)
def test_a_machine_on_which_no_node_of_the_cluster_is_is_told_so_at_once(
    monkeypatch: pytest.MonkeyPatch, nodes: list[tuple[str, int]], answer: str
) -> None:
    from ray import _raylet
    from ray._private import services

    known = {n: SimpleNamespace(node_id=bytes.fromhex(n), state=state) for n, state in nodes}
    client = SimpleNamespace(
        check_alive=lambda nodes, timeout: None, get_all_node_info=lambda timeout: known
    )
    monkeypatch.setattr(_raylet, "GcsClient", lambda address: client)
    monkeypatch.setattr(services, "find_node_ids", lambda: {"aa", "cc"})
    monkeypatch.setattr(probe, "_BETWEEN", 0.0)

    assert probe.main(HEAD) == answer


def test_whoever_is_elsewhere_is_told_how_to_come_there(monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(stdout="elsewhere\n", returncode=0)
    monkeypatch.setattr("cluster.reach.subprocess.run", lambda *_, **how: done)
    with pytest.raises(connect.ClusterError, match="no node of that cluster") as said:
        connect._check_head(HEAD)
    assert "--submit http://10.0.0.1:8265" in str(said.value)
    assert f"ray start --address {HEAD}" in str(said.value)
