"""A job is followed as long as its head is there: with Ray's client, and a head in small."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import find_free_port

from cluster import jobs
from cluster.connect import ClusterError
from cluster.jobs import Jobs

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),  # Ray's own
]
# Tells the first line of a job's log, and never that there is no more to come.
HEAD = textwrap.dedent(
    """
    import asyncio, json, sys
    from pathlib import Path
    from aiohttp import web

    port, state = int(sys.argv[1]), Path(sys.argv[2])

    async def version(request):
        import ray
        return web.json_response({"version": "4", "ray_version": ray.__version__})

    async def info(request):
        return web.json_response(json.loads(state.read_text()))

    async def logs(request):
        return web.json_response({"logs": "teacher 1/5\\nteacher 2/5\\n"})

    async def tail(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("teacher 1/5\\n")
        await asyncio.Event().wait()

    app = web.Application()
    app.add_routes([
        web.get("/api/version", version), web.get("/api/jobs/job_1", info),
        web.get("/api/jobs/job_1/logs", logs), web.get("/api/jobs/job_1/logs/tail", tail),
    ])
    web.run_app(app, host="127.0.0.1", port=port, print=None)
    """
)


class Head:
    """The head of a cluster with one job."""

    def __init__(self, folder: Path) -> None:
        self._state = folder / "state.json"
        self.says(status="RUNNING")
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([sys.executable, "-c", HEAD, str(port), str(self._state)])

    def says(self, **info: object) -> None:
        """Say this of the job from now on."""
        partial = self._state.with_suffix(".partial")
        partial.write_text(json.dumps(info))
        partial.replace(self._state)

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            try:
                urllib.request.urlopen(f"{self.url}/api/version", timeout=30).close()
            except urllib.error.URLError:
                time.sleep(0.05)
            else:
                return


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(jobs, "_SILENCE_SECONDS", 2.0)
    monkeypatch.setattr(jobs, "_LOOK_SECONDS", 0.2, raising=False)
    monkeypatch.setattr(jobs, "_ANSWER_SECONDS", 0.5, raising=False)
    made = Head(tmp_path)
    try:
        made.wait()
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def test_a_head_that_vanishes_without_a_word_ends_the_following(head: Head) -> None:
    told: list[str] = []

    def write(text: str) -> None:
        told.append(text)
        os.kill(head.process.pid, signal.SIGSTOP)  # it still takes connections, as a tunnel does

    with pytest.raises(ClusterError, match=r"not answered for 2 s; job job_1 may go on there"):
        Jobs(head.url).follow("job_1", write)
    assert told == ["teacher 1/5\n"]


def test_a_job_that_says_nothing_is_followed_to_its_end(head: Head) -> None:
    told: list[str] = []
    begun = time.monotonic()

    def ends() -> None:
        head.says(status="FAILED", driver_exit_code=3, message="failed with exit code 3")

    later = threading.Timer(5, ends)  # longer than a head may be silent

    def write(text: str) -> None:
        if not told:
            later.start()
        told.append(text)

    assert Jobs(head.url).follow("job_1", write) == (3, "failed with exit code 3")
    assert time.monotonic() - begun > 4
    assert "".join(told) == "teacher 1/5\nteacher 2/5\n"
