"""What the documents contain, for the tests that keep them true: blocks, commands, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "packaging").glob("*/*.md")]
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_IMAGE = re.compile(r'<img [^>]*src="([^"]+)"')
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_WRAPPERS = re.compile(r"^(?:sudo |ip netns exec \S+ |nsenter \S+ )+")


class Block(NamedTuple):
    """A fenced block and where it begins."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks(document: Path, language: str = "") -> Iterator[Block]:
    """The fenced blocks of a document, of one language if it is named."""
    text = document.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if not language or match[1] == language:
            yield Block(document, text.count("\n", 0, match.start()) + 1, match[1], match[2])


def without_blocks(document: Path) -> str:
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def commands(document: Path) -> Iterator[tuple[str, list[str]]]:
    """(place, words behind `fastvrrp`) of each command line of fastvrrp, in blocks and in text.

    A word in capitals, such as COMMAND, stands for something else: such lines are skipped.
    """
    found = [
        (str(block), line.strip())
        for block in blocks(document, "sh")
        for line in block.text.splitlines()
    ]
    text = without_blocks(document)
    found += [(document.name, code.strip()) for code in _CODE.findall(text)]
    for place, line in found:
        line = _WRAPPERS.sub("", line)
        if line == "fastvrrp" or not line.startswith("fastvrrp "):
            continue
        words = shlex.split(line, comments=True)[1:]
        end = next((i for i, word in enumerate(words) if word in ("|", ">", "&&")), len(words))
        if "COMMAND" not in words[:end]:
            yield f"{place}: {line}", words[:end]


def links(document: Path) -> Iterator[str]:
    text = without_blocks(document)
    yield from _LINK.findall(text)
    yield from _IMAGE.findall(text)


def anchors(document: Path) -> set[str]:
    """The anchors GitHub makes of the headings."""
    text = without_blocks(document)
    names = set()
    for heading in _HEADING.findall(text):
        plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        names.add(plain.strip().replace(" ", "-"))
    return names


def table_rows(text: str) -> Iterator[list[str]]:
    """The cells of every table row, without heads and rules."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("| ") or line.startswith("|--"):
            continue
        is_head = number + 1 < len(lines) and lines[number + 1].startswith("|--")
        if not is_head:
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
