"""Asks the head of a Ray cluster whether it lets this user in; run as a script, to be ended.

    python -P probe.py HOST:PORT

Where something else than Ray listens, Ray tries again for many minutes; where the token is wrong,
joining says so nowhere and gives up after twenty seconds; where this machine is no node of the
cluster, after a minute. The last line printed is the answer.
"""

import sys
import time
from typing import Any

# A node that is just starting may not be on the head's list yet (s).
_LOOKS, _BETWEEN = 3, 1.0
# Of nodes, as the head has it.
_ALIVE = 0


def main(address: str) -> str:
    """Return ``ok``, ``token``, ``elsewhere``, or what Ray says in one line."""
    from ray import _raylet
    from ray.exceptions import AuthenticationError

    try:
        client = _raylet.GcsClient(address=address)  # type: ignore[attr-defined]
        client.check_alive([], timeout=5)
        here = _has_node_here(client)
    except AuthenticationError:
        return "token"
    except Exception as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return "ok" if here else "elsewhere"


def _has_node_here(client: Any) -> bool:
    """Whether one of the cluster's nodes is on this machine: by that one Ray lets a driver join."""
    from ray._private.services import find_node_ids

    for look in range(_LOOKS):
        if look > 0:
            time.sleep(_BETWEEN)
        known = client.get_all_node_info(timeout=5).values()
        if {node.node_id.hex() for node in known if node.state == _ALIVE} & find_node_ids():
            return True
    return False


if __name__ == "__main__":
    print(main(sys.argv[1]))
