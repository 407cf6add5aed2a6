"""Thousands of names in little memory: characters behind each other instead of objects."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import overload


def array_up_to(highest: int) -> array[int]:
    """An empty one for numbers from 0 to `highest`, in as few bytes each as these take."""
    return array("B" if highest < 1 << 8 else "H" if highest < 1 << 16 else "I")


def narrow(numbers: array[int]) -> array[int]:
    """The same, which are not negative, in as few bytes each as they take."""
    narrowed = array_up_to(max(numbers, default=0))
    narrowed.extend(iter(numbers))  # as it is it would have to be of the same type
    return narrowed


def placed(hashes: Iterable[int], count: int) -> array[int]:
    """An index of `count` hashes: open addressing in a power of two of places, a third of them
    free. Each has the number of a hash, from 1 on, or 0."""
    size = 8
    while size < count + count // 2:
        size *= 2
    mask = size - 1
    places = array_up_to(size - 1)  # one of them is always free
    places.frombytes(bytes(places.itemsize * size))
    for number, value in enumerate(hashes, 1):
        at = value & mask
        while places[at]:
            at = (at + 1) & mask
        places[at] = number
    return places


class NameList(Sequence[str]):
    """Names in their order, each once. Immutable."""

    __slots__ = ("_ends", "_places", "_text")

    def __init__(self, names: Iterable[str] = ()) -> None:
        listed = list(names)
        self._text = "".join(listed)
        self._ends = array_up_to(len(self._text))
        self._ends.extend(accumulate(map(len, listed)))
        self._places = placed(map(hash, listed), len(listed))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        end = self._ends[index]
        if index < 0:
            index += len(self._ends)
        return self._text[self._ends[index - 1] if index else 0 : end]

    def __iter__(self) -> Iterator[str]:
        begin = 0
        for end in self._ends:
            yield self._text[begin:end]
            begin = end

    def find(self, name: str) -> int:
        """Its number; -1 when it is not among them."""
        places, ends, text = self._places, self._ends, self._text
        mask = len(places) - 1
        at = hash(name) & mask
        while number := places[at]:
            # not `self[number - 1]`: a takeover of thousands asks for each several times
            begin = ends[number - 2] if number > 1 else 0
            if text[begin : ends[number - 1]] == name:
                return number - 1
            at = (at + 1) & mask
        return -1

    def is_same(self, other: NameList) -> bool:
        """Whether the names and their order are the other's."""
        return self._text == other._text and self._ends == other._ends

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) >= 0
