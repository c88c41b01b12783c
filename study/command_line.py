"""A parser whose refusals are like all others: one line that names the mistake and the mend."""

import argparse
import difflib
import itertools
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from study.unread import say

_CHOICE = re.compile(
    r"argument (?P<name>.+): invalid choice: '(?P<value>.*)' \(choose from (?P<choices>.*)\)"
)
_TYPE = re.compile(
    r"argument (?P<name>[^/]+).*: invalid (?P<type>int|float) value: '(?P<value>.*)'"
)
_VALUE = re.compile(r"argument (?:.+/)?(?P<name>--[^/]+): expected one argument")
_NUMBERS = {"int": "a whole number, such as 4", "float": "a number, such as 0.5"}
_LEFT_OVER = "unrecognized arguments: "
# How alike a mistaken option has to be to the one that is suggested.
_ALIKE = 0.65


class Parser(argparse.ArgumentParser):
    """An argument parser without the usage that argparse prints before an error."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and keep what is parsed for :meth:`error`."""
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and leave with exit code 2."""
        meant = self._meant()
        say(f"error: {meant._told(message, self._given)} (see {meant.prog} --help)", sys.stderr)
        sys.exit(2)

    def _meant(self) -> "Parser":
        """The parser of the verb that was given; itself where there is none."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                verbs = [word for word in self._given if word in action.choices]
                return action.choices[verbs[0]] if verbs else self
        return self

    def _told(self, message: str, given: Sequence[str]) -> str:
        from search_spaces.space import nearest

        choice = _CHOICE.fullmatch(message)
        if choice is not None:
            named = re.findall(r"[^\s',]+", choice["choices"])
            value = choice["value"]
            return f"{choice['name']} {value!r} is unknown{nearest(value, named)}"
        known = [name[2:] for name in self._option_string_actions if name.startswith("--")]
        for word in given:
            option = word.partition("=")[0]
            if option.startswith("--") and not any(name.startswith(option[2:]) for name in known):
                near = difflib.get_close_matches(option[2:].lower(), known, 1, _ALIKE)
                return f"{option} is unknown" + (f"; did you mean --{near[0]}?" if near else "")
        wrong = _TYPE.fullmatch(message)
        if wrong is not None:
            return f"{wrong['name']} {wrong['value']!r} is not {_NUMBERS[wrong['type']]}"
        lacking = _VALUE.fullmatch(message)
        if lacking is not None:
            return _without_value(lacking["name"], given)
        if message.startswith(_LEFT_OVER):
            word = message.removeprefix(_LEFT_OVER).split()[0]
            meant = f"; did you mean --fix {word}?" if "=" in word and "fix" in known else ""
            return f"{word!r} belongs to no option{meant or '; leave it out'}"
        return message.replace("the following arguments are required: ", "missing: ")


def _without_value(option: str, given: Sequence[str]) -> str:
    """What is said of an option that has no value, or one that is taken for an option itself."""
    after = [word for before, word in itertools.pairwise(given) if before == option]
    taken = after[-1] if after else ""
    if not taken.startswith("-") or taken.startswith("--"):
        return f"{option} is given without its value"
    return f"{option} {taken!r} is taken for an option; write {option}={taken} if it is meant"
