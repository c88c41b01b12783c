"""Ray's Jobs API: a command run on the head of a cluster, and followed from here."""

import asyncio
import contextlib
import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from cluster.connect import ClusterError, set_ray_defaults
from cluster.reach import TOKEN_MEND, TOKEN_PROBLEM, find_token

# How long a head may be silent before the following of a job is given up (s).
_SILENCE_SECONDS = 60.0
_RETRY_SECONDS = 2.0
# While a job says nothing, its head is asked whether it is still there; and how long that may take.
_LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
# To Ray's client they are more than the URL that it is given.
_OTHER_HEADS = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def check_head(url: str, timeout: float = 5.0) -> None:
    """Refuse a URL at which no dashboard of a Ray head lets this user in; imports no Ray.

    Args:
        url: As in ``http://head:8265``.
        timeout: Seconds to wait for an answer.

    Raises:
        ClusterError: naming the URL and the mend.
    """
    if not _is_http(url):
        raise ClusterError(
            f"--submit {url!r} is not the URL of a Ray dashboard; write it as http://10.0.0.1:8265"
        )
    request = urllib.request.Request(f"{url.rstrip('/')}/api/version", headers=_headers())
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            known = "ray_version" in json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            word = "is wrong" if find_token() else "is missing"
            raise ClusterError(
                f"--submit {url}: the cluster's token {word}; {TOKEN_MEND}"
            ) from None
        known = False
    except (ValueError, http.client.HTTPException):
        known = False  # another server, perhaps one that does not speak HTTP
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ClusterError(
            f"--submit {url}: no Ray dashboard answers there ({reason}); start the head with "
            "`ray start --head --include-dashboard true`, or check the address"
        ) from None
    if not known:
        raise ClusterError(
            f"--submit {url}: what answers there is no Ray dashboard; check the address"
        )


class Jobs:
    """The jobs of one cluster.

    Args:
        url: Of its dashboard, as :func:`check_head` has found it.

    Raises:
        ClusterError: if what the Jobs API needs is not installed here, or the head refuses.
    """

    def __init__(self, url: str) -> None:
        if find_token() is not None:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        set_ray_defaults(url)
        try:
            import aiohttp  # noqa: F401
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise ClusterError(
                f"--submit {url}: Ray's job client is not whole here ({error}); install it with "
                "pip install 'ray[default]'"
            ) from None
        for handler in logging.getLogger("ray").handlers:
            handler.setLevel(logging.WARNING)  # of each upload and each closed connection
        self._url = url
        with _without(_OTHER_HEADS), self._refusals():
            self._client = JobSubmissionClient(url)

    def submit(self, command: str, folder: Path, env: Mapping[str, str]) -> str:
        """Run a shell command on the head, in a copy of a folder; return the job's id.

        Args:
            command: What to run; it waits for no CPU.
            folder: Sent along; also first on every worker's ``sys.path``.
            env: Variables of the job and of all its workers.

        Raises:
            ClusterError: if the cluster does not take it.
        """
        with self._refusals():
            job: str = self._client.submit_job(
                entrypoint=command,
                runtime_env={"working_dir": str(folder), "env_vars": dict(env)},
            )
        return job

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Tell in one line what Ray's client raises, and what the client of HTTP below it does.

        Raises:
            ClusterError: naming the URL and the mend.
        """
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            raise ClusterError(f"--submit {self._url}: {TOKEN_PROBLEM}") from None
        except (OSError, RuntimeError, ValueError) as error:
            told = _first_line(error)
            # An error of this machine, such as a full disk, has a number; those of HTTP have none.
            if isinstance(error, OSError) and error.errno is None:
                told = (
                    f"the head does not answer as one does ({told}); look after it and the way "
                    "there, and give the command again"
                )
            raise ClusterError(f"--submit {self._url}: {told}") from None

    def follow(self, job: str, write: Callable[[str], None]) -> tuple[int | None, str]:
        """Pass on what a job prints until it ends; return its exit code and what Ray says of it.

        There is no exit code of a job that Ray ended, or that never began.

        Args:
            job: Its id.
            write: Given what is new, in pieces of any length; what it raises ends the following.

        Raises:
            ClusterError: if the head does not answer any more, or not about this job; it may go on.
        """
        log = _Log(write)
        while True:
            # Whatever ends the tail early, the job's own state decides what comes next.
            with contextlib.suppress(Exception):
                asyncio.run(self._tail(job, log))
            if log.unwritten is not None:
                raise log.unwritten
            info = asyncio.run(self._info(job, log))
            if _has_ended(info):
                break
            if info is None and log.is_silent:
                raise ClusterError(
                    f"--submit {self._url}: the head has not answered for "
                    f"{_SILENCE_SECONDS:g} s; job {job} may go on there"
                )
            time.sleep(_RETRY_SECONDS)
        with contextlib.suppress(ClusterError):  # how it ended is known all the same
            whole = asyncio.run(self._get(job, "/logs", _SILENCE_SECONDS))
            write("" if whole is None else whole["logs"][log.seen :])
        code = info.get("driver_exit_code")
        return None if code is None else int(code), str(info.get("message") or "")

    async def _tail(self, job: str, log: "_Log") -> None:
        """Pass on a job's log until that or the job has ended, or the head is silent for too long.

        Ray waits for what the log says next, without an end where the head is gone without a word.
        """
        telling = asyncio.create_task(log.take(self._client.tail_job_logs(job)))
        ended = False
        try:
            while not (await asyncio.wait({telling}, timeout=_LOOK_SECONDS))[0]:
                info = await self._info(job, log)
                if ended or log.is_silent:
                    return
                ended = _has_ended(info)  # what is left of its log has till the next look to come
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _info(self, job: str, log: "_Log") -> dict[str, Any] | None:
        """What the head says of a job, by which it has been heard; None if it does not answer."""
        info: dict[str, Any] | None = await self._get(job, "", _ANSWER_SECONDS)
        if info is not None:
            log.heard = time.monotonic()
        return info

    async def _get(self, job: str, part: str, seconds: float) -> Any:
        """What the Jobs API answers within so many seconds, or None; Ray's client would wait.

        Raises:
            ClusterError: if the head says that it has nothing to say of the job.
        """
        import aiohttp

        whole = f"{self._url.rstrip('/')}/api/jobs/{job}{part}"
        patience = aiohttp.ClientTimeout(total=seconds)
        refused: str | None = None
        with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
            async with (
                aiohttp.ClientSession(timeout=patience, trust_env=True) as session,
                session.get(whole, headers=_headers()) as answer,
            ):
                text = await answer.text()
                refused = _refusal(answer.status, text, job)
                if refused is None:
                    answer.raise_for_status()
                    return json.loads(text)
        if refused is not None:
            raise ClusterError(f"--submit {self._url}: {refused}")
        return None


class _Log:
    """How much of a job's log was passed on, and when its head was heard last.

    Args:
        write: Given what is new.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.seen = 0
        self.heard = time.monotonic()
        self.unwritten: Exception | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the head has said nothing for too long."""
        return time.monotonic() - self.heard > _SILENCE_SECONDS

    async def take(self, pieces: AsyncIterator[str]) -> None:
        """Pass on what is new of a log that is told, each time, from its beginning."""
        begun = 0
        async for piece in pieces:
            new = piece[max(0, self.seen - begun) :]
            begun += len(piece)
            self.seen = max(self.seen, begun)
            self.heard = time.monotonic()
            try:
                self._write(new)
            except Exception as error:
                self.unwritten = error
                return


def _has_ended(info: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    return info is not None and info["status"] in _ENDED


def _refusal(status: int, text: str, job: str) -> str | None:
    """Say why a head has nothing to say of a job; None where it has, or is not to be understood."""
    if status in (401, 403):
        return f"{TOKEN_PROBLEM}; job {job} may go on there"
    # What stands between, such as a proxy, has other words for a page that is not there.
    if status == 404 and "does not exist" in text:
        return f"the head knows job {job} no more, and may have been started anew since"
    return None


@contextlib.contextmanager
def _without(names: Collection[str]) -> Iterator[None]:
    """Have variables of the environment be unset meanwhile."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _headers() -> dict[str, str]:
    token = find_token()
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _is_http(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port  # no letters, and no number above 65535
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
