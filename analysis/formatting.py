"""Numbers as a reader wants them: few digits, units that do not break away, a real minus sign."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

NBSP = "\u00a0"
NONE = "–"


def number(value: float | None, digits: int) -> str:
    """A number with a fixed count of decimals; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:,.{digits}f}"
    return text.replace("-", "\u2212") if float(text.replace(",", "")) else text.lstrip("-")


def decimals_apart(value: float, limit: float) -> int:
    """How many decimals, two at least, show on which side of a limit a value lies."""
    for decimals in range(2, 9):
        rounded = round(value, decimals)
        if rounded != limit and (rounded > limit) == (value > limit):
            return decimals
    return 17


def more_than(value: float, limit: float, unit: str) -> str:
    """A value above a limit, with as many decimals as show it: `1.80 ms, more than 1.70 ms`."""
    return _beyond(value, limit, unit, "more")


def less_than(value: float, limit: float, unit: str) -> str:
    """A value below a limit, with as many decimals as show it: `80.46 %, less than 81.00 %`."""
    return _beyond(value, limit, unit, "less")


def _beyond(value: float, limit: float, unit: str, how: str) -> str:
    found = score_text(value, unit, decimals_apart(value, limit))
    return f"{found}, {how} than {score_text(limit, unit, 2)}"


def signed(value: float | None, digits: int = 1) -> str:
    """A difference: always with its sign, unless it rounds to zero."""
    text = number(value, digits)
    rounds_to_zero = value is None or not math.isfinite(value) or round(value, digits) == 0
    return text if rounds_to_zero or value is None or value < 0 else f"+{text}"


def significant(value: float | None, digits: int = 3) -> str:
    """A number with a count of significant digits and no exponent."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    # Rounding may have carried into one digit more: 99.96 has three digits as 100.
    rounded = round(value, max(0, places))
    return number(value, max(0, digits - 1 - math.floor(math.log10(abs(rounded or value)))))


def score_text(value: float | None, unit: str, digits: int = 1) -> str:
    """A score with its unit: `81.6 %`, `32.4 dB`."""
    text = number(value, digits)
    return text if text == NONE or not unit else f"{text}{NBSP}{unit}"


def with_error(mean: float, error: float | None, digits: int) -> str:
    """A mean and its standard error, where there is one: `81.24 ± 0.21`."""
    text = number(mean, digits)
    return text if error is None else f"{text}{NBSP}{plus_minus(error, digits)}"


def plus_minus(error: float, digits: int) -> str:
    """A standard error by itself: `± 0.21`."""
    return f"±{NBSP}{number(error, digits)}"


def span(interval: tuple[float, float], digits: int = 1) -> str:
    """An interval of differences: `+0.8 to +2.3`."""
    low, high = interval
    return f"{signed(low, digits)} to {signed(high, digits)}"


def chance(probability: float) -> str:
    """A probability in percent, no surer than its bootstrap can tell: `83 %`, `> 99 %`."""
    if probability > 0.99:
        return f">{NBSP}99{NBSP}%"
    if probability < 0.01:
        return f"<{NBSP}1{NBSP}%"
    return f"{100 * round(probability, 2):.0f}{NBSP}%"


def milliseconds(value: float | None) -> str:
    """`4.21 ms`."""
    text = significant(value)
    return text if text == NONE else f"{text}{NBSP}ms"


def times(value: float | None) -> str:
    """`2.4×`, as in "2.4 times as fast"."""
    text = significant(value, 3)
    return text if text == NONE else f"{text}×"


def duration(seconds: float | None) -> str:
    """`0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f}{NBSP}s"
    if seconds < 59.5:
        return f"{seconds:.0f}{NBSP}s"
    if seconds < 3599.5:
        return _two_units(round(seconds), 60, "min", "s")
    if seconds < 86370:
        return _two_units(round(seconds / 60), 60, "h", "min")
    return _two_units(round(seconds / 3600), 24, "d", "h")


def _two_units(count: int, base: int, large: str, small: str) -> str:
    first, rest = divmod(count, base)
    text = f"{first}{NBSP}{large}"
    return f"{text} {rest}{NBSP}{small}" if rest else text


def size(count: float | None) -> str:
    """Bytes in decimal units: `18.2 MB`."""
    if count is None:
        return NONE
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{significant(count / scale)}{NBSP}{unit}"
    return f"{count:.0f}{NBSP}B"


def joined(names: Sequence[str]) -> str:
    """Names in a sentence: `one`, `one and another`, `one, another and a third`."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 trial`, `1,204 trials`."""
    return f"{count:,}{NBSP}{one if count == 1 else many or one + 's'}"


_WHOLE = 1e15  # below it a float tells every whole number


def value(item: Any) -> str:
    """One value of a parameter or a plan: numbers to four significant digits, text as it is.

    Large numbers are whole ones instead, as exponents are hard to read. Parameters by name are told
    as `configuration` has them.
    """
    if isinstance(item, bool) or item is None:
        return {True: "yes", False: "no", None: NONE}[item]
    if isinstance(item, float):
        text = f"{item:.4g}"
        return f"{item:.0f}" if "e+" in text and abs(item) < _WHOLE else text
    if isinstance(item, list | tuple):
        return ", ".join(value(part) for part in item) or NONE
    if isinstance(item, Mapping):
        return configuration(item) or NONE
    return str(item)


def configuration(params: Mapping[str, Any]) -> str:
    """Parameters on one line: `alpha 0.5, temperature 4`."""
    return ", ".join(f"{name} {value(item)}" for name, item in params.items())


def moment(stamp: str) -> str:
    """An ISO 8601 time as `2025-03-04 09:00:00 UTC`; any other text as it is."""
    try:
        parsed = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    if parsed.tzinfo is None:
        return f"{parsed:%Y-%m-%d %H:%M:%S}"
    return f"{parsed.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


_BEFORE_HOST = re.compile(r"(\w[\w+.-]*://[^\s:/@]*):\S+@")
_IN_QUERY = re.compile(r"([?&](?:password|passwd|pwd)=)[^\s&#]+", re.IGNORECASE)


def without_password(text: str) -> str:
    """The text with the password of any URL in it replaced by three dots."""
    # First those of queries, whose @ might be taken for the one before a host.
    return _BEFORE_HOST.sub(r"\1:…@", _IN_QUERY.sub(r"\1…", text))


_DIGITS = {"score": 1, "train_seconds": 0, "time_ratio": 2, "params_m": 2, "latency_ms": 2}


def figure(key: str, item: float | None) -> str:
    """A published or measured figure, with the decimals that suit its quantity."""
    return number(item, _DIGITS[key]) if key in _DIGITS else significant(item)


def figure_apart(key: str, difference: float | None) -> str:
    """Measured minus published, signed, with the decimals that `figure` gives the quantity."""
    return signed(difference, _DIGITS.get(key, 1))
