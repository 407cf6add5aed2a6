"""Definitions, parameter substitution and repetition: the macro part of the grammar.

Pure text work on one logical line at a time. Every character keeps its origin (`node.mark`), so
that whatever is made of it can be traced back to the file.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import random

SUBSTITUTIONS_MAX = 1000  # per line; no real line needs more, a loop never ends
LINE_BYTES_MAX = 1023
REPEATS_MAX = 100_000  # lines made from one ~SEQ or ~LST line
SPECIFICATION_MAX = 4096  # characters between the brackets of ~SEQ and ~LST
RANDOM_MAX = 32767
RANDOM = "_RANDOM"
_OF_ENVIRONMENT = "_ENV "  # before the name of a variable
_OF_INCLUDE = "include\n"  # before what includes files, where, and which

DEFINITION = re.compile(r"[ \t]*\$([A-Za-z_][A-Za-z0-9_]*)=")
# The bare form ends at a blank, tab, comma, ')' or the end; the braced one may carry arguments.
_REFERENCE = re.compile(
    r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)((?:[ \t]+[^{}$]*)?)\}|([A-Za-z_][A-Za-z0-9_]*)(?=[\s,)]|$))"
)
_ALONE = re.compile(r"\s*\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))\s*$")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")
_NUMBER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)$")


class ExpandError(Exception):
    """A line that cannot be expanded.

    `column` counts from 0 in the text that was to be expanded. `at` is set instead where that
    text has changed meanwhile: the origin (`node.mark`) of the place.
    """

    def __init__(self, text: str, hint: str = "", column: int = 0) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.column = column
        self.at: int | None = None


class Raw(NamedTuple):
    """A line as it was written: text, file, number."""

    text: str
    file: str
    line: int


class Text(NamedTuple):
    """A line with the origin of every character; None: they stand where they were written."""

    text: str
    origins: list[int] | None


class Effect(NamedTuple):
    """A definition: a value, or the lines of a template."""

    name: str
    value: str | tuple[Raw, ...]


_Meaning = tuple[str | None, list[str] | None]


class Included(Protocol):
    """What includes are asked of."""

    def meaning(self, keyword: str, directory: str, pattern: str) -> str:
        """Equal if the same would be read in the same way."""


class Definitions:
    """The parameters of a configuration.

    `environ` answers ${_ENV NAME}, `config_id` is ${_INSTANCE}.

    asked    names that were looked up, also in vain, since `begin`, unless they were defined there
    changes  counts definitions, and whatever else lines decide about those behind them
    effects  definitions since `begin`
    version  another one whenever a name may mean something else
    """

    def __init__(self, config_id: str, environ: Mapping[str, str]) -> None:
        self.asked: set[str] = set()
        self.changes = 0
        self.effects: list[Effect] = []
        self._own: set[str] = set()  # names that were defined since `begin`, before anybody asked
        self._before: dict[str, _Meaning] = {}  # what was meant by others that were
        self._files: Included | None = None
        self.version = 0
        self.template_lines: set[tuple[str, int]] = set()  # of all templates so far, with the file
        self.values: dict[str, str] = {"_INSTANCE": config_id, "_HASH": "#", "_BANG": "!"}
        self.templates: dict[str, tuple[Raw, ...]] = {}
        self.environ = environ
        self.config_id = config_id

    @functools.cached_property
    def random(self) -> random.Random:
        """Not for secrets: a documented, seedable sequence."""
        import random  # slow to load, and rarely needed

        return random.Random()

    def attend(self, files: Included) -> None:
        """Who knows what includes mean."""
        self._files = files

    def begin(self) -> None:
        """A block may begin."""
        self.asked.clear()
        self.effects.clear()
        self._own.clear()
        self._before.clear()

    def _change(self, name: str, value: str | tuple[Raw, ...]) -> None:
        self.changes += 1
        self.effects.append(Effect(name, value))
        if name in self.asked:
            self._before.setdefault(name, self._meant(name))
        else:
            self._own.add(name)

    def _ask(self, name: str) -> None:
        if name not in self._own:
            self.asked.add(name)

    def ask_include(self, keyword: str, directory: str, pattern: str) -> None:
        """Files are asked for, relative to the directory of the one that is read."""
        self.asked.update(("_PWD", f"{_OF_INCLUDE}{keyword}\n{directory}\n{pattern}"))

    def define(self, name: str, value: str) -> None:
        self._change(name, value)
        self.bind(name, value)

    def bind(self, name: str, value: str) -> None:
        """Define a name until `restore`."""
        self.version += 1
        self.templates.pop(name, None)
        self.values[name] = value

    def define_template(self, name: str, lines: tuple[Raw, ...]) -> None:
        self._change(name, lines)
        self.version += 1
        self.values.pop(name, None)
        self.templates[name] = lines
        self.template_lines.update([(line.file, line.line) for line in lines])

    def stand_in(self, directory: str) -> None:
        """The directory of the file that is being read."""
        if self.values.get("_PWD") != directory:
            self.version += 1
            self.values["_PWD"] = directory

    def meaning(self, names: Iterable[str]) -> str:
        """Equal if these names, of `asked`, mean the same."""
        return repr([(name, *self._meant(name)) for name in names])

    def meaning_before(self, names: Iterable[str]) -> str:
        """The same, of what they meant at the last `begin`."""
        before = self._before
        return repr([(name, *(before.get(name) or self._meant(name))) for name in names])

    def _meant(self, name: str) -> _Meaning:
        variable = name.removeprefix(_OF_ENVIRONMENT)
        if variable != name:
            return self.environ.get(variable), None
        if name.startswith(_OF_INCLUDE):
            assert self._files is not None
            return self._files.meaning(*name.removeprefix(_OF_INCLUDE).split("\n")), None
        lines = self.templates.get(name)
        return self.values.get(name), None if lines is None else [line.text for line in lines]

    def save(self, names: tuple[str, ...]) -> list[tuple[str, str | None, tuple[Raw, ...] | None]]:
        """What the names mean now, for `restore`."""
        return [(name, self.values.get(name), self.templates.get(name)) for name in names]

    def restore(self, saved: list[tuple[str, str | None, tuple[Raw, ...] | None]]) -> None:
        self.version += 1
        if not {name for name, _, _ in saved}.isdisjoint([name for name, _ in self.effects]):
            self.changes += 1  # what was defined is not what is left
        for name, value, lines in saved:
            self.values.pop(name, None)
            self.templates.pop(name, None)
            if value is not None:
                self.values[name] = value
            if lines is not None:
                self.templates[name] = lines

    def template(self, text: str) -> tuple[str, tuple[Raw, ...]] | None:
        """Name and lines if the whole line is a reference to a template."""
        if not self.templates:
            return None
        match = _ALONE.match(text)
        if match is None:
            return None
        name = match[1] or match[2]
        self._ask(name)
        lines = self.templates.get(name)
        return None if lines is None else (name, lines)

    def _value(self, name: str, arguments: str) -> str | None:
        """None if there is no such parameter. Raises ExpandError where none is possible."""
        self._ask(name)
        value = self.values.get(name)
        if value is not None:
            return value
        words = arguments.split()
        if name == "_ENV":
            if len(words) != 1:
                raise ExpandError("_ENV needs the name of one variable", "write ${_ENV NAME}")
            self.asked.add(_OF_ENVIRONMENT + words[0])
            value = self.environ.get(words[0], "")
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if name == RANDOM:
            if len(words) > 2 or not all(w.isdecimal() and len(w) < 10 for w in words):
                raise ExpandError("_RANDOM takes numbers", "write ${_RANDOM [MIN [MAX]]}")
            low = int(words[0]) if words else 0
            high = int(words[1]) if len(words) > 1 else RANDOM_MAX
            if low > high:
                raise ExpandError(f"_RANDOM from {low} to {high} is empty", "MIN must be <= MAX")
            return str(self.random.randint(low, high))
        if name in self.templates:
            raise ExpandError(
                f"${name} has several lines and must stand alone on its line",
                "put it on a line of its own",
            )
        return None

    def substitute(
        self, text: str, origins: list[int] | None, identity: Callable[[int], list[int]]
    ) -> Text:
        """Replace references until none is left that is defined.

        `identity(n)` makes the origins of an untouched text of n characters. Raises ExpandError
        with the place of the reference that is to blame, as it stands in the file.
        """
        position = 0
        try:
            for _ in range(SUBSTITUTIONS_MAX):
                match = _REFERENCE.search(text, position)
                if match is None:
                    return Text(text, origins)
                position, end = match.span()
                at = None if origins is None else origins[position]
                name = match[1] or match[3]
                value = self._value(name, match[2] or "")
                if value is None:
                    position += 1
                    continue
                if origins is None:
                    origins = identity(len(text))
                text = text[:position] + value + text[end:]
                put_in = [origins[position]] * len(value)
                origins = origins[:position] + put_in + origins[end:]
                if len(text) > 4 * LINE_BYTES_MAX:
                    raise ExpandError(
                        f"${name} makes the line too long",
                        f"a line has at most {LINE_BYTES_MAX} bytes",
                    )
                # Once more from here: what was put in may contain references itself.
            raise ExpandError(
                "the parameters on this line never end", "a parameter must not contain itself"
            )
        except ExpandError as error:
            error.column, error.at = position, at
            raise


class Repetition(NamedTuple):
    """What ~SEQ or ~LST stands for."""

    names: tuple[str, ...]
    rows: Iterator[tuple[str, ...]]
    times: int
    end: int  # where the rest of the line begins


def _number(text: str, hexadecimal: bool, column: int) -> int:
    match = _NUMBER.match(text)
    if match is None or len(text) > 12 or (hexadecimal and match[1] == "-" and text != "-1"):
        raise ExpandError(
            f"'{text[:20]}' is not a number", "write ~SEQ(VAR,START,STEP,END)", column
        )
    digits = match[2]
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" and len(digits) > 1 else 10
    try:
        value = int(digits, base)
    except ValueError:
        raise ExpandError(f"'{text}' is not a number", "0... is octal", column) from None
    return -value if match[1] == "-" else value


def _sequence(words: list[str], hexadecimal: bool, column: int) -> tuple[range, str]:
    if not 2 <= len(words) <= 4 or not _NAME.match(words[0]):
        raise ExpandError(
            "~SEQ needs a name and one to three numbers",
            "write ~SEQ(VAR,END), ~SEQ(VAR,START,END) or ~SEQ(VAR,START,STEP,END)",
            column,
        )
    numbers = [_number(word, hexadecimal, column) for word in words[1:]]
    end = numbers[-1]
    start = numbers[0] if len(numbers) > 1 else 1 if end >= 0 else -1
    step = numbers[1] if len(numbers) > 2 else 1 if end >= start else -1
    if step == 0 or (end - start) * step < 0:
        raise ExpandError(
            f"~SEQ never reaches {end} from {start} in steps of {step}",
            "the step must lead from START to END",
            column,
        )
    if hexadecimal and min(start, end) < 0:
        raise ExpandError("~SEQx cannot count below 0", "use ~SEQ", column)
    return range(start, end + (1 if step > 0 else -1), step), words[0]


def _tuples(text: str, column: int) -> list[list[str]]:
    """The comma separated items of ~LST: words, or {tuples} of words."""
    items = []
    for part in re.findall(r"\s*(\{[^{}]*\}|[^,{}]*)\s*(?:,|$)", text)[:-1]:
        inner = part[1:-1].split(",") if part.startswith("{") else [part]
        items.append([word.strip() for word in inner])
    kept = re.sub(r"\s", "", "".join("".join(item) for item in items))
    if kept != re.sub(r"[\s,{}]", "", text):
        raise ExpandError("~LST is not a list", "write ~LST(VAR,V1,V2,...)", column)
    return items


def _list(text: str, column: int) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    items = _tuples(text, column)
    names = tuple(items[0]) if items else ()
    if len(items) < 2 or not names or not all(_NAME.match(name) for name in names):
        raise ExpandError(
            "~LST needs names and at least one value",
            "write ~LST(VAR,V1,...) or ~LST({A,B},{A1,B1},...)",
            column,
        )
    rows = []
    for item in items[1:]:
        if len(item) > len(names):
            raise ExpandError(
                f"~LST has {len(item)} values for {len(names)} names",
                "a tuple has at most one value per name",
                column,
            )
        rows.append(tuple(item) + ("",) * (len(names) - len(item)))
    return names, rows


_REPEAT = re.compile(r"\s*~(SEQx|SEQ|LST)\(")


def repetition(
    text: str, substitute: Callable[[int, int], str], multiplier: int
) -> Repetition | None:
    """Parse ~SEQ(...) or ~LST(...) at the beginning of a line.

    `substitute(start, end)` replaces the parameters in that part of the line; `multiplier` is how
    often the line is repeated already. Raises ExpandError.
    """
    match = _REPEAT.match(text)
    if match is None:
        return None
    kind = match[1]
    column = match.start(1) - 1
    close = text.find(")", match.end())
    if close < 0:
        raise ExpandError(f"~{kind}( is never closed", "add the missing )", column)
    inside = substitute(match.end(), close)
    if len(inside) > SPECIFICATION_MAX:
        raise ExpandError(f"~{kind}(...) is too long", "list fewer values on a line", column)
    if kind == "LST":
        names, rows = _list(inside, column)
        count = len(rows)
        result = Repetition(names, iter(rows), count, close + 1)
    else:
        hexadecimal = kind == "SEQx"
        numbers, name = _sequence([w.strip() for w in inside.split(",")], hexadecimal, column)
        count = len(numbers)
        style = "x" if hexadecimal else "d"
        result = Repetition((name,), ((format(n, style),) for n in numbers), count, close + 1)
    if count * multiplier > REPEATS_MAX:
        raise ExpandError(
            f"~{kind} repeats the line {count * multiplier} times",
            f"at most {REPEATS_MAX} are possible",
            column,
        )
    return result
