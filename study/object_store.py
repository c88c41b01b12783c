"""Files as objects of a bucket: each is there whole or not at all, so none needs a second name.

Whatever speaks S3's protocol is reached by boto3, which takes credentials, profiles and endpoints
as the AWS tools do. (fsspec's s3fs would hold botocore below what boto3 itself needs.)
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from analysis.formatting import without_password

SCHEME = "s3://"
_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[^?#]*))?")
# boto3 tries a request twice in close succession; what it gives up is asked again after pauses (s),
# so that an outage of half a minute ends no study.
_TRIES, _PAUSES = 2, (1.0, 2.0, 4.0, 8.0, 16.0)
_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 30
# Of one request or answer: the most that S3 takes.
_AT_ONCE = 1000

T = TypeVar("T")


class StoreError(ValueError):
    """An object store that cannot be used, or is gone; the message names it and the mend."""


@dataclass(frozen=True)
class ObjectStore:
    """The objects of a bucket whose keys begin with a prefix.

    Every method raises :class:`StoreError` where the store does not answer or refuses.

    Attributes:
        url: ``s3://bucket/prefix``, without a slash at its end.
    """

    url: str

    @classmethod
    def at(cls, url: str) -> "ObjectStore":
        """Return the store at a URL; asks nobody.

        Raises:
            StoreError: if it is not written as one.
        """
        if not _URL.fullmatch(url):
            raise StoreError(
                f"{without_password(url)} names no bucket; write s3://BUCKET/PREFIX, the bucket in "
                "small letters, digits, dots and hyphens"
            )
        return cls(url.rstrip("/"))

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._parts[0]

    @property
    def _parts(self) -> tuple[str, str]:
        match = _URL.fullmatch(self.url)
        assert match is not None
        prefix = (match["prefix"] or "").strip("/")
        return match["bucket"], f"{prefix}/" if prefix else ""

    def check(self, *, write: bool = False) -> None:
        """Make sure within seconds that objects can be read here, and written."""
        bucket, prefix = self._parts
        looked, tried = {"Bucket": bucket, "Prefix": prefix}, f"{prefix}.tried"
        self._ask(lambda: _client().list_objects_v2(**looked, MaxKeys=1))
        if write:
            self._ask(lambda: _client().put_object(Bucket=bucket, Key=tried, Body=b""))
            self._ask(lambda: _client().delete_object(Bucket=bucket, Key=tried))

    def put(self, key: str, path: Path) -> None:
        """Put a file in place of what was there."""
        bucket, prefix = self._parts

        def send() -> None:
            with path.open("rb") as file:
                _client().put_object(Bucket=bucket, Key=prefix + key, Body=file)

        self._ask(send, patient=True)

    def get(self, key: str, path: Path) -> bool:
        """Have a local file be as an object is; whether there is that object.

        Written beside its place and renamed. What is the same already is not fetched.
        """
        known = digest(path) if path.is_file() else None
        extra = {} if known is None else {"IfNoneMatch": f'"{known}"'}
        bucket, prefix = self._parts

        def fetch() -> bool:
            answer = _client().get_object(Bucket=bucket, Key=prefix + key, **extra)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            try:
                with partial.open("wb") as file:
                    for chunk in answer["Body"].iter_chunks(2**20):
                        file.write(chunk)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            return True

        answers = {"304": True, "NoSuchKey": False, "404": False}
        return self._ask(fetch, answers, patient=True)

    def digests(self, below: str = "") -> dict[str, str]:
        """Return the digest of every object whose key begins so, by key.

        Keys that are no paths below a folder are passed over.
        """
        found = {}
        for page in self._pages(below):
            for each in page.get("Contents", ()):
                key = each["Key"].removeprefix(self._parts[1])
                # Whoever may write to the bucket shall write nowhere else by it.
                if not set(key.split("/")) & {"", ".", ".."}:
                    found[key] = each["ETag"].strip('"')
        return found

    def folders(self) -> list[str]:
        """Return the first parts of all keys that have several."""
        pages = self._pages("", Delimiter="/")
        found = (each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ()))
        return [name.removeprefix(self._parts[1]).rstrip("/") for name in found]

    def _pages(self, below: str, **how: str) -> Iterator[dict[str, Any]]:
        bucket, prefix = self._parts
        more: dict[str, str] = {}
        while True:
            asked = {"Bucket": bucket, "Prefix": prefix + below, "MaxKeys": _AT_ONCE}
            page = self._call("list_objects_v2", **asked, **how, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there do not matter."""
        bucket, prefix = self._parts
        every = [{"Key": prefix + key} for key in keys]
        for start in range(0, len(every), _AT_ONCE):
            some = {"Objects": every[start : start + _AT_ONCE], "Quiet": True}
            answer = self._call("delete_objects", Bucket=bucket, Delete=some)
            for error in answer.get("Errors", ()):
                raise StoreError(f"{self.url} keeps {error.get('Key')} ({error.get('Code')})")

    def _call(self, operation: str, **request: Any) -> Any:
        return self._ask(lambda: getattr(_client(), operation)(**request), patient=True)

    def _ask(
        self, act: Callable[[], T], answers: dict[str, T] | None = None, *, patient: bool = False
    ) -> T:
        """Do something with the store; some of its error codes are answers.

        Args:
            act: May be done again, if ``patient``, where the store did not answer.
            answers: By code.
            patient: Whether an outage is waited for.
        """
        pauses = list(_PAUSES if patient else ())
        while True:
            try:
                return act()
            except ImportError as error:
                raise StoreError(
                    f"{self.url} needs {error.name}; install it with pip install boto3"
                ) from None
            except Exception as error:
                code = _code(error)
                if answers is not None and code in answers:
                    return answers[code]
                told = _told(error, code, self.bucket)
                if told is None:
                    raise
                if not pauses or not _passing(error, code):
                    raise StoreError(f"{self.url}: {told}") from error
            time.sleep(pauses.pop(0))


def digest(path: Path) -> str:
    """Return what S3 calls a file that was put in one piece: its MD5.

    A store that encrypts with keys of one's own calls it otherwise; then it is fetched once more
    than it would have to be.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@cache
def _client() -> Any:
    """The client of this process, which its threads may share."""
    import boto3
    from botocore.config import Config

    how = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_ANSWER_SECONDS,
        retries={"total_max_attempts": _TRIES, "mode": "standard"},
        # Other makes of store do not all know the checksums that newer clients send.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=how)


def _passing(error: Exception, code: str) -> bool:
    """Whether it is of the network, or of a store that is busy."""
    from botocore import exceptions

    network = (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
    )
    return isinstance(error, network) or code in _BUSY or _status(error) >= 500


def _status(error: Exception) -> int:
    response = getattr(error, "response", None)
    about = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return int(about.get("HTTPStatusCode", 0))


def _code(error: Exception) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


_BUSY = ("SlowDown", "RequestTimeout", "Throttling")
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_BY_CODE = {
    "NoSuchBucket": "there is no bucket {bucket}; check the name, or make it first: "
    "aws s3 mb s3://{bucket}",
    "InvalidAccessKeyId": f"the store does not know this key; check {_KEYS}",
    "SignatureDoesNotMatch": f"the secret does not fit the key; check {_KEYS}",
    "ExpiredToken": "the credentials have expired; sign in again",
    "AccessDenied": "this key may not list, read, write and delete there; ask for these rights, "
    f"or check {_KEYS}",
    "PermanentRedirect": "the bucket is in another region; name it in AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region; name it in "
    "AWS_DEFAULT_REGION",
}
_BY_KIND = {
    "NoCredentialsError": f"there are no credentials; set {_KEYS}",
    "PartialCredentialsError": f"half of the credentials are missing; set {_KEYS}",
    "CredentialRetrievalError": "the credentials cannot be had; sign in again",
    "TokenRetrievalError": "the credentials cannot be had; sign in again",
    "UnauthorizedSSOTokenError": "the credentials have expired; sign in again (aws sso login)",
    "SSOTokenLoadError": "the credentials have expired; sign in again (aws sso login)",
    "ProfileNotFound": "there is no profile of the name in AWS_PROFILE; see aws configure list",
}


def _told(error: Exception, code: str, bucket: str) -> str | None:
    """What an error of boto3 means to its user, with the mend; None of errors that are not its."""
    kind = type(error).__name__
    if code in _BY_CODE:
        return _BY_CODE[code].format(bucket=bucket)
    if kind in _BY_KIND:
        return _BY_KIND[kind]
    if type(error) is ValueError and str(error).startswith("Invalid endpoint"):
        return "AWS_ENDPOINT_URL is no URL; write it as https://HOST:PORT"
    # Of boto3 and what it speaks through, such as a body that broke off.
    if type(error).__module__.partition(".")[0] not in ("botocore", "boto3", "urllib3"):
        return None
    if code:
        return f"the store refuses ({code}); check the bucket and the rights of the key"
    where = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    shown = without_password(where) if where else "AWS"
    return f"{shown} does not answer ({kind}); check AWS_ENDPOINT_URL and the network"
