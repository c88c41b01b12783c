"""A folder that nodes are to share is looked for on each, by a real Ray's workers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import shared_folder
from cluster.connect import Cluster, ClusterError, connect, disconnect
from cluster.kinds import find_nodes, keep_to_one_kind
from cluster.shared_folder import check_shared


@pytest.fixture(scope="module")
def joined() -> Iterator[Cluster]:
    """A Ray of this process, taken for a cluster that ran before."""
    own = connect(None, env={}, gpus=False)
    found = keep_to_one_kind(own, find_nodes(own, gpus=False), None, None, gpus=False)
    yield replace(found, address="127.0.0.1:6379")
    disconnect()


def test_a_folder_that_nodes_share_is_used_and_nothing_is_left_in_it(
    joined: Cluster, tmp_path: Path
) -> None:
    check_shared(tmp_path, joined)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_node_has_not_is_refused_with_node_folder_and_mend(
    joined: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shared_folder, "_LOOK_SECONDS", 0.0)
    # A path that each process has for itself, as each machine has its own disk.
    folder = Path("/proc/self/cwd/studies/mine")
    folder.mkdir(parents=True)

    with pytest.raises(ClusterError, match=r"^--studies /proc/self/cwd/studies: node ") as said:
        check_shared(folder, joined)

    assert "(127.0.0.1) does not have the folder /proc/self/cwd/studies/mine" in str(said.value)
    assert "name a folder that all nodes share, or an object store" in str(said.value)
    assert "\n" not in str(said.value)
    assert list(folder.iterdir()) == []


def test_a_ray_of_its_own_shares_this_machine_s_disk(joined: Cluster, tmp_path: Path) -> None:
    check_shared(tmp_path / "not made", replace(joined, address="local"))
