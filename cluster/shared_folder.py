"""A folder that nodes are to share: each is asked, for a worker makes a folder that it lacks."""

import os
import time
import uuid
from pathlib import Path

from cluster.connect import Cluster, ClusterError
from cluster.every_node import ask_nodes

# A network file system may show a new file a moment later elsewhere.
_LOOK_SECONDS = 5.0


def check_shared(folder: Path, cluster: Cluster) -> None:
    """Refuse a folder that a node which a study uses does not have in common with the driver.

    Args:
        folder: The study's, made by the driver; a file lies in it meanwhile.
        cluster: What the study may use; a Ray of its own shares this machine's disk.

    Raises:
        ClusterError: naming the folder, a node that lacks it, and the mend.
    """
    without = nodes_without(folder, cluster)
    if without:
        raise ClusterError(
            f"--studies {folder.parent}: {_named(without)} not have the folder "
            f"{folder.absolute()}, in which trials keep what they learn; mount it there, or name a "
            "folder that all nodes share, or an object store"
        )


def nodes_without(folder: Path, cluster: Cluster, *, without_late: bool = False) -> list[str]:
    """Return the nodes that a study uses, by Ray's names, on which its folder cannot be written.

    Args:
        folder: The study's, made by the driver; a file lies in it meanwhile.
        cluster: What the study may use; a Ray of its own shares this machine's disk.
        without_late: Whether a node that does not answer in time is passed over.

    Raises:
        ClusterError: if one does not answer in time, and that matters.
    """
    if cluster.address == "local":
        return []
    # A name that nobody can have asked for before: file systems remember what was not there.
    mark = folder.absolute() / f".shared-{uuid.uuid4().hex}.tmp"
    mark.touch()
    try:
        names = [node.id for node in cluster.used]
        answers = ask_nodes(names, _sees, str(mark), without_late=without_late)
    finally:
        mark.unlink(missing_ok=True)
    nodes = zip(cluster.used, answers, strict=True)
    return [node.id for node, sees in nodes if sees is False]


def usable(file: str | Path) -> bool:
    """Whether a file of a folder is here, and others could be written beside it.

    What belongs to another user, or lies on a mount that does not answer, is as good as not there.
    """
    return os.access(file, os.R_OK) and os.access(Path(file).parent, os.W_OK | os.X_OK)


def _sees(path: str) -> bool:
    deadline = time.monotonic() + _LOOK_SECONDS
    while not usable(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _named(nodes: list[str]) -> str:
    """As in `node worker-1 (10.0.0.2) does`, or `and 2 others do`."""
    import ray

    known = {node["NodeID"]: node for node in ray.nodes()}
    first = known[nodes[0]]
    name = f"node {first['NodeManagerHostname']} ({first['NodeManagerAddress']})"
    others = len(nodes) - 1
    if not others:
        return f"{name} does"
    return f"{name} and {others} other{'s' if others > 1 else ''} do"
