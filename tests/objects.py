"""A real server of S3's protocol on loopback (moto), in a process of its own."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from conftest import find_free_port

KEYS = {
    "AWS_ACCESS_KEY_ID": "key-of-tests",
    "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def running_objects(*buckets: str) -> Iterator[str]:
    """A server with some buckets; yields its URL."""
    url = f"http://127.0.0.1:{find_free_port()}"
    with server_at(url):
        make_buckets(url, *buckets)
        yield url


@contextmanager
def server_at(url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server, empty, from when it answers until it is killed."""
    host, port = url.removeprefix("http://").split(":")
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(url, process)
            yield process
        finally:
            process.kill()


def make_buckets(url: str, *buckets: str) -> None:
    import boto3

    client = boto3.client(
        *("s3", KEYS["AWS_DEFAULT_REGION"]),
        endpoint_url=url,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    for bucket in buckets:
        client.create_bucket(Bucket=bucket)


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(url, timeout=20).close()
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
