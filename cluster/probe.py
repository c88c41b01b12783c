"""Asks the head of a Ray cluster whether it lets this user in; run as a script, to be ended.

    python -P probe.py HOST:PORT

Where something else than Ray listens, Ray tries again for many minutes; where the token is wrong,
joining says so nowhere and gives up after twenty seconds. The last line printed is the answer.
"""

import sys


def main(address: str) -> str:
    """Return ``ok``, ``token``, or what Ray says in one line."""
    from ray import _raylet
    from ray.exceptions import AuthenticationError

    try:
        client = _raylet.GcsClient(address=address)  # type: ignore[attr-defined]
        client.check_alive([], timeout=5)
    except AuthenticationError:
        return "token"
    except Exception as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return "ok"


if __name__ == "__main__":
    print(main(sys.argv[1]))
