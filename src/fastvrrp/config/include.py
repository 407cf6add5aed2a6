"""What `include` means: patterns, strictness, circles."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

INCLUDES = frozenset(("include", "includer", "includem", "includew", "includeb", "includea"))
FILES_MAX = 10_000
ALTERNATIVES_MAX = 1000
_SPECIAL = frozenset("*?[{")


def _first_braces(text: str) -> tuple[str, list[str], str] | None:
    """What is before the first pair of braces, the words in it, and what is behind it."""
    start = text.find("{")
    if start < 0:
        return None
    depth = 0
    words = [""]
    for index in range(start + 1, len(text)):
        char = text[index]
        if char == "}" and depth == 0:
            return text[:start], words, text[index + 1 :]
        if char == "," and depth == 0:
            words.append("")
            continue
        depth += (char == "{") - (char == "}")
        words[-1] += char
    return None


def brace_alternatives(pattern: str) -> list[str]:
    """Expand {a,b} as csh does, in order; nested braces are allowed."""
    done: list[str] = []
    todo = [pattern]
    while todo and len(done) < ALTERNATIVES_MAX:
        text = todo.pop()
        parts = _first_braces(text)
        if parts is None or len(todo) >= ALTERNATIVES_MAX:
            done.append(text)
            continue
        before, words, behind = parts
        todo += [before + word + behind for word in reversed(words)]
    return list(dict.fromkeys(done))


def matching(path: Path) -> list[Path]:
    """The files that a pattern with *, ?, [] or {} means, as keepalived's -f takes it; what is a
    file, or matches nothing, is itself."""
    text = str(path)
    if not _SPECIAL & set(text) or "\0" in text or path.exists():
        return [path]
    found = [
        match
        for alternative in brace_alternatives(text)
        for match in sorted(map(Path, glob.glob(alternative)))  # noqa: PTH207 (absolute)
        if match.is_file()
    ]
    return found or [path]


class Checks(NamedTuple):
    """Which problems of an include are errors."""

    readable: bool = False
    match: bool = False
    wildcard: bool = False
    brace: bool = False

    def of(self, keyword: str) -> Checks:
        """With what the keyword itself demands."""
        letter = keyword[len("include") :]
        return Checks(
            self.readable or letter in ("r", "a"),
            self.match or letter in ("m", "a"),
            self.wildcard or letter in ("w", "a"),
            self.brace or letter in ("b", "a"),
        )

    def changed(self, words: Sequence[str]) -> Checks:
        """After `include_check [[+|-]readable|match|wildcard_match|brace_match ...]`."""
        if not words:
            return Checks(True, True, True, True)
        relative = all(word[:1] in ("+", "-") for word in words)
        new = self if relative else Checks()
        for word in words:
            field = word.lstrip("+-").removesuffix("_match") or "match"
            if field in Checks._fields:
                new = new._replace(**{field: not word.startswith("-")})
        return new


class Includes:
    """The files that are being read, and those that were."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self._stack: list[Path] = []

    def enter(self, path: Path) -> None:
        self.files.append(path)
        self._stack.append(path.resolve())

    def again(self, files: Collection[str]) -> bool:
        """These were read in a block that is known; whether there may be so many."""
        is_possible = len(self.files) + len(files) <= FILES_MAX
        if is_possible:
            self.files.extend(map(Path, files))
        return is_possible

    def leave(self) -> None:
        self._stack.pop()

    def chain(self, path: Path) -> list[str]:
        """The names from the first occurrence of `path` to `path` itself."""
        real = path.resolve()
        names = [str(p) for p in self._stack[self._stack.index(real) :]]
        return [*names, str(real)]

    def matches(self, base: Path, pattern: str) -> list[Path]:
        """Files for a pattern without braces, sorted; relative to `base`."""
        if "\0" in pattern:
            return []
        if glob.has_magic(pattern):
            # Path.glob takes no absolute pattern and none with "..".
            names = glob.glob(pattern, root_dir=base)  # noqa: PTH207
            return sorted(base / name for name in names)
        path = base / pattern
        return [path] if path.exists() else []

    def problem(self, path: Path) -> str:
        """Why a match is not read: `circle`, `many`, `skip`, or ""."""
        if path.resolve() in self._stack:
            return "circle"
        if len(self.files) >= FILES_MAX:
            return "many"
        if path.is_dir() or (path.is_file() and path.stat().st_mode & 0o111):
            return "skip"
        return ""
