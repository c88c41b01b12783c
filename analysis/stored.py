"""Frozen dataclasses as JSON objects, and back without loss."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, asdict, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Self, cast, get_args, get_origin, get_type_hints


class ResultFormatError(ValueError):
    """A stored result lacks a field, or holds a value of the wrong kind."""


def _plain(value: Any) -> Any:
    """JSON-able copy of a dataclass's fields; non-finite numbers become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _parse(value: Any, kind: Any, where: str) -> Any:
    """One stored value as the type its field declares; raises ResultFormatError otherwise."""
    members = get_args(kind)
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin is UnionType:
        if value is None:
            return None
        (kind,) = (member for member in members if member is not NoneType)
        return _parse(value, kind, where)
    if origin is Literal:
        if value not in members:
            raise ResultFormatError(f"{where} is {value!r}, none of {', '.join(members)}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_parse(item, members[0], where) for item in value)
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _parse(item, members[1], where) for key, item in value.items()}
    if kind is float and value is None:  # JSON has no NaN: null stands for "not a number"
        return math.nan
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and issubclass(kind, Stored) and isinstance(value, Mapping):
        return kind.from_json(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise ResultFormatError(f"{where} is {value!r}, not of type {getattr(kind, '__name__', kind)}")


class Stored:
    """A frozen dataclass that is stored as a JSON object of its fields."""

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; a number that is not finite becomes null."""
        return cast(dict[str, Any], _plain(asdict(cast(Any, self))))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The object `to_json` wrote; unknown fields are ignored, so that the format may grow.

        Raises:
            ResultFormatError: a field is missing or holds a value of the wrong kind.
        """
        if not isinstance(data, Mapping):
            raise ResultFormatError(f"{cls.__name__} is {data!r}, not an object")
        values = {}
        later = _with_default(cast(Hashable, cls))
        for name, (kind, optional) in _fields(cast(Hashable, cls)).items():
            value = data.get(name)
            if type(value) is kind:  # nearly every field of a thousand curves
                values[name] = value
                continue
            if name not in data and name in later:
                continue
            if value is None and name not in data and not optional:
                raise ResultFormatError(f"{cls.__name__}: field {name!r} is missing")
            values[name] = _parse(value, kind, f"{cls.__name__}: field {name!r}")
        return cls(**values)


@cache
def _fields(cls: Hashable) -> dict[str, tuple[Any, bool]]:
    """Declared type of every field of a dataclass, and whether it may be absent."""
    return {name: (kind, NoneType in get_args(kind)) for name, kind in get_type_hints(cls).items()}


@cache
def _with_default(cls: Hashable) -> frozenset[str]:
    """Fields of a dataclass that say what they are where they are absent."""
    return frozenset(f.name for f in fields(cast(Any, cls)) if f.default is not MISSING)
