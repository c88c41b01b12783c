"""Joining is refused in bounded time where no Ray head is: with real sockets on loopback."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.connect import ClusterError, check_address
from cluster.jobs import check_head
from cluster.reach import find_head, find_token, parse_address, running_here

HTTP_1 = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
# An empty SETTINGS frame, with which every server of HTTP/2 begins.
HTTP_2 = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@contextmanager
def server(answer: bytes | None) -> Iterator[int]:
    """Listens; says `answer` to whoever comes, or, with None, nothing at all."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                if answer is not None:
                    connection.recv(64)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


def test_a_server_that_speaks_as_a_head_does_is_not_refused() -> None:
    with server(HTTP_2) as port:
        assert find_head("127.0.0.1", port) is None
        check_address(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("answer", "timeout", "words"),
    [(HTTP_1, 60.0, "no Ray head"), (None, 0.3, "within 0.3 s")],
)
def test_what_is_no_head_is_refused_in_bounded_time(
    answer: bytes | None, timeout: float, words: str
) -> None:
    begun = time.monotonic()
    with server(answer) as port, pytest.raises(ClusterError, match=words) as refused:
        check_address(f"127.0.0.1:{port}", timeout=timeout)
    assert time.monotonic() - begun < 20  # at once, or after that
    assert "ray status" in str(refused.value)


def test_where_nothing_listens_is_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ClusterError, match="refused"):
            check_address(f"127.0.0.1:{bound.getsockname()[1]}")


def test_auto_is_the_ray_of_the_environment_and_is_asked_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert running_here() is None
    with pytest.raises(ClusterError, match="ray start --head"):
        check_address("auto")
    (tmp_path / "ray").mkdir()
    with server(HTTP_1) as port:
        # What a head that has died leaves behind.
        (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
        with pytest.raises(ClusterError, match=rf"--address auto \(127\.0\.0\.1:{port}\)"):
            check_address("auto")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("head:6379", ("head", 6379)),
        ("ray_head-1.lan:6379", ("ray_head-1.lan", 6379)),
        ("[::1]:1", ("::1", 1)),
        ("head", None),
        ("h:70000", None),
    ],
)
def test_an_address_is_host_and_port(text: str, place: tuple[str, int] | None) -> None:
    assert parse_address(text) == place


def test_the_token_is_found_where_ray_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert find_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of home\n")
    assert find_token() == "of home"
    (tmp_path / "token").write_text("of a file")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert find_token() == "of a file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the environment")
    assert find_token() == "of the environment"


def test_a_dashboard_that_is_none_is_refused() -> None:
    for url in ("head:8265", "http://head:abc", "http://head:99999", "http://", "http://[::1"):
        with pytest.raises(ClusterError, match="write it as http://"):
            check_head(url)


@pytest.mark.parametrize(("answer", "timeout"), [(HTTP_1, 60.0), (HTTP_2, 0.5)])
def test_another_server_is_no_dashboard_even_one_that_does_not_speak_http(
    answer: bytes, timeout: float
) -> None:
    with server(answer) as port, pytest.raises(ClusterError, match="no Ray dashboard"):
        check_head(f"http://127.0.0.1:{port}", timeout=timeout)
