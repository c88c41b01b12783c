"""A real PostgreSQL on loopback, for tests that keep a record in one."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import find_free_port

PASSWORD = "a-password-of-tests"
# Debian's packages; elsewhere what is on the PATH.
_DEBIAN = Path("/usr/lib/postgresql")


def find_binaries() -> Path | None:
    """The folder with initdb and postgres; None where PostgreSQL is not installed."""
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).resolve().parent if on_path else None


@dataclass
class Postgres:
    """A server with one database and one user, who needs a password."""

    binaries: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://study:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    @property
    def _as_user(self) -> dict[str, Any]:
        # PostgreSQL does not run as root.
        return {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.binaries / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            cwd="/",
            timeout=300,
            **self._as_user,
        )

    def make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (self.folder, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self.run(
            "initdb",
            *("--pgdata", str(self.folder / "data"), "--username", "study", "--no-sync"),
            *("--auth", "scram-sha-256", "--pwfile", str(secret), "--encoding", "UTF8"),
        )

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        data, log = str(self.folder / "data"), str(self.folder / "log")
        patient = ("--wait", "--timeout", "240")
        self.run("pg_ctl", "--pgdata", data, "--log", log, *patient, "--options", options, "start")

    def stop(self) -> None:
        """Stop at once, as a crash would."""
        data = str(self.folder / "data")
        patient = ("--wait", "--timeout", "240")
        self.run("pg_ctl", "--pgdata", data, "--mode", "immediate", *patient, "stop")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server of its own, gone afterwards; a test that needs one is skipped where none is."""
    binaries = find_binaries()
    if binaries is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no PostgreSQL: `make postgres` installs it")
        pytest.skip("no PostgreSQL (Debian: apt-get install postgresql)")
    # Short, and where another user may enter.
    folder = Path(tempfile.mkdtemp(prefix="study-postgres-"))
    server = Postgres(binaries, folder, find_free_port())
    try:
        server.make()
        server.start()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


__all__ = ["PASSWORD", "Postgres", "running_postgres"]
