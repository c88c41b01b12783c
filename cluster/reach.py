"""Whether a Ray head answers at an address, and lets this user in: found out in bounded time."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d{1,5})")
# What begins a connection in HTTP/2 (RFC 9113, section 3.4), which Ray's heads speak, and an empty
# SETTINGS frame; any server of HTTP/2 answers with a SETTINGS frame, the fourth type.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = 4
_PROBE = Path(__file__).with_name("probe.py")
TOKEN_MEND = (
    "set RAY_AUTH_MODE=token, and give the cluster's own in RAY_AUTH_TOKEN, in ~/.ray/auth_token "
    "or in a file that RAY_AUTH_TOKEN_PATH names"
)
TOKEN_PROBLEM = f"the cluster's token is missing or wrong; {TOKEN_MEND}"


def running_here() -> str | None:
    """Return the address of the Ray that runs on this machine; None if there is none."""
    named = os.environ.get("RAY_ADDRESS")
    if named:
        return named
    temporary = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    try:
        return Path(temporary, "ray", "ray_current_cluster").read_text().strip() or None
    except OSError:
        return None


def parse_address(address: str) -> tuple[str, int] | None:
    """Return host and port of ``HOST:PORT``; None if it is not written so."""
    match = ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        return None
    return match["host"].strip("[]"), int(match["port"])


def find_token() -> str | None:
    """Return this user's token for Ray clusters, from where Ray takes it; None if there is none."""
    named = os.environ.get("RAY_AUTH_TOKEN")
    if named:
        return named.strip()
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        file = Path(path) if path else Path.home() / ".ray" / "auth_token"
        return file.read_text().strip() or None
    except (OSError, RuntimeError):
        return None


def find_head(host: str, port: int, timeout: float = 2.0) -> str | None:
    """Say why no Ray head can be at an address, or nothing; imports no Ray.

    Args:
        host: Its name or number.
        port: Its port.
        timeout: Seconds to wait for an answer.
    """
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(_PREFACE)
            answer = connection.recv(4)
    except TimeoutError:
        return f"nothing answers within {timeout:g} s"
    except OSError as error:
        return str(error)
    if len(answer) < 4 or answer[3] != _SETTINGS:
        return "something listens there that is no Ray head"
    return None


def ask_head(address: str, seconds: float = 30.0) -> str | None:
    """Ask the head itself, in a process that can be ended; say why it cannot be joined, or nothing.

    Args:
        address: ``HOST:PORT`` of the head.
        seconds: The longest to wait; most of it is Ray being imported.
    """
    try:
        asked = subprocess.run(
            [sys.executable, "-P", str(_PROBE), address],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no Ray head answers within {seconds:g} s"
    lines = asked.stdout.split("\n")[:-1]
    answer = lines[-1] if lines else f"Ray ended its process with exit code {asked.returncode}"
    if answer == "ok":
        return None
    if answer == "token":
        return TOKEN_PROBLEM
    if answer == "elsewhere":
        host = address.rpartition(":")[0]
        return (
            "this machine is no node of that cluster; give --submit "
            f"http://{host}:8265 instead, or have it join first: `ray start --address {address}`"
        )
    return answer
