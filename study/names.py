"""Names of studies: parsed once, at the edge, into a frozen type that also gives the folder."""

import re
from dataclasses import dataclass
from pathlib import Path

_PATTERN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
TEACHERS_FOLDER = "teachers"
# What else lives in the studies folder.
RESERVED = ("datasets", TEACHERS_FOLDER, "mlartifacts", "mlflow.db")


class StudyNameError(ValueError):
    """A name that no study can have; the message says what is allowed."""


@dataclass(frozen=True)
class StudyName:
    """The name of a study: letters, digits, ``._-``; at most 64; no leading dot.

    Raises:
        StudyNameError: if ``text`` is not such a name.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what cannot be a folder of its own inside the studies folder."""
        if not _PATTERN.fullmatch(self.text):
            safe = re.sub(r"[^A-Za-z0-9._-]+", "-", self.text).strip("-.")[:64] or "my-study"
            raise StudyNameError(
                f"study name {self.text!r} is not made of at most 64 letters, digits and ._- "
                f"with no leading dot; try --name {safe}"
            )
        if self.text in RESERVED:
            raise StudyNameError(
                f"study name {self.text!r} is taken by the service itself; try "
                f"--name {self.text.replace('.', '-')}-study"
            )

    def __str__(self) -> str:
        """Return the name as text."""
        return self.text

    def folder(self, studies: Path) -> Path:
        """Return the study's folder, directly under ``studies``."""
        return studies / self.text
