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
        status = json.loads(state.read_text()).get("version_status", 200)
        body = {"version": "4", "ray_version": ray.__version__}
        return web.json_response(body, status=status)

    async def info(request):
        told = json.loads(state.read_text())
        if "refuses" in told:
            return web.Response(status=told["refuses"], text=told["because"])
        return web.json_response(told)

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


def test_a_command_goes_to_the_head_that_is_named_whatever_the_environment_names(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = f"http://127.0.0.1:{find_free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", elsewhere)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", elsewhere)
    head.says(status="SUCCEEDED", driver_exit_code=0)

    assert Jobs(head.url).follow("job_1", lambda text: None) == (0, "")
    assert os.environ["RAY_ADDRESS"] == os.environ["RAY_API_SERVER_ADDRESS"] == elsewhere


def test_a_head_that_answers_with_an_error_is_one_line(head: Head) -> None:
    head.says(version_status=500)
    with pytest.raises(ClusterError, match=r"does not answer as one does \(500 .+; look after it"):
        Jobs(head.url)


def test_a_head_that_is_gone_as_a_command_is_sent_is_one_line(head: Head, tmp_path: Path) -> None:
    jobs_there = Jobs(head.url)
    head.process.kill()
    head.process.wait()
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "own.py").write_text("WIDTH = 16\n")
    with pytest.raises(
        ClusterError, match=f"--submit {head.url}: the head does not answer"
    ) as said:
        jobs_there.submit("true", tmp_path / "sent", {})
    (line,) = str(said.value).splitlines()
    assert line.startswith(f"--submit {head.url}: ")


@pytest.mark.parametrize(
    ("status", "because", "words"),
    [
        (404, "Job job_1 does not exist", "the head knows job job_1 no more"),
        (403, "Forbidden: Invalid authentication token", r"token is .+ RAY_AUTH_TOKEN.+ go on"),
        (404, "the page of a proxy", "not answered for 2 s"),
    ],
)
def test_a_head_that_has_nothing_to_say_of_a_job_is_told_apart_from_a_silent_one(
    head: Head, status: int, because: str, words: str
) -> None:
    def write(text: str) -> None:
        head.says(refuses=status, because=because)

    with pytest.raises(ClusterError, match=words):
        Jobs(head.url).follow("job_1", write)
