"""Blocks that are known, by their text: thousands of them may begin with the same line, or have the
same text and differ in what their parameters mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from fastvrrp.config.lines import Parts
from fastvrrp.config.memory import Record, digest

# More lengths than these of blocks that begin alike are not tried: it takes less to parse one than
# to compare it with so many.
_SIZES_MAX = 128

Parameters = tuple[tuple[str, ...], bytes]
"""Names, and a digest of what they mean."""
Known = tuple[Record, int]
"""A record, and the number of what came of it in the last configuration."""
Alike = Mapping[tuple[str, ...], Mapping[bytes, Known]]
"""Those with the same text, by their parameters."""


class Index:
    """The blocks that are known of one load."""

    def __init__(self) -> None:
        # By first line, number of characters, digest, names of parameters, what these mean.
        self._heads: dict[str, dict[int, dict[bytes, dict[tuple[str, ...], dict[bytes, Known]]]]]
        self._heads = {}

    def add(self, record: Record, parameters: Parameters, number: int) -> None:
        """Of several that are the same the first one counts."""
        sizes = self._heads.setdefault(record.head, {})
        names, meaning = parameters
        same = sizes.setdefault(record.size, {}).setdefault(record.digest, {})
        same.setdefault(names, {}).setdefault(meaning, (record, number))

    def clear(self) -> None:
        """Nothing is known."""
        self._heads.clear()

    def at(self, text: str, at: int, line: str, parts: Parts | None) -> Iterator[Alike]:
        """What may stand at this offset of a text, which is the last of these parts, in which there
        is this line."""
        for size, known in islice(self._heads.get(line, {}).items(), _SIZES_MAX):
            end = at + size
            if end < len(text):
                if text[end] != "\n":
                    continue
                whole = text[at:end]
            elif end == len(text) or parts is None:
                whole = text[at:]
            else:
                whole = parts.text(at, end + 1)
                if len(whole) > size:
                    if whole[-1] != "\n":
                        continue
                    whole = whole[:-1]
            if len(whole) == size and (found := known.get(digest(whole.encode()))) is not None:
                yield found

    def whole(self, head: str, text: str) -> Alike:
        """What is known of exactly this text, which is found by this."""
        sizes = self._heads.get(head)
        known = sizes and sizes.get(len(text))
        return (known and known.get(digest(text.encode()))) or {}
