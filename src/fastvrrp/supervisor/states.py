"""What a child has said of its instances or virtual servers: their states, of thousands in little
memory.

What was last said of most of them is a name among others and a number; objects are made of it when
somebody asks. Whoever is new is an entry of a dictionary until `packed`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

from fastvrrp.namelist import NameList
from fastvrrp.supervisor.messages import InstanceState

_GONE = 0
_PACK_FROM = 256  # fewer take less than the arrays' code and care are worth


class States:
    """By name. Belongs to one event loop."""

    def __init__(self, known: Sequence[InstanceState] = ()) -> None:
        self._names = NameList([state.name for state in known])
        self._number_of = array("I", bytes(4 * len(known)))  # of the names, one by one
        self._fresh: dict[str, int] = {}  # numbers of those that are not among them
        self._said: list[tuple[str, str]] = [("", "")]  # by number: state and source
        self._numbers: dict[tuple[str, str], int] = {}
        for state in known:
            self.put(state)

    def put(self, state: InstanceState) -> None:
        said = (state.state, state.source)
        number = self._numbers.get(said)
        if number is None:
            number = self._numbers[said] = len(self._said)
            self._said.append(said)
        position = self._names.find(state.name)
        if position < 0:
            self._fresh[state.name] = number
        else:
            self._number_of[position] = number

    def forget(self, name: str) -> None:
        position = self._names.find(name)
        if position < 0:
            self._fresh.pop(name, None)
        else:
            self._number_of[position] = _GONE

    def get(self, name: str) -> InstanceState | None:
        position = self._names.find(name)
        number = self._fresh.get(name, _GONE) if position < 0 else self._number_of[position]
        return None if number == _GONE else InstanceState(name, *self._said[number])

    def __iter__(self) -> Iterator[InstanceState]:
        for name, number in self._numbered():
            yield InstanceState(name, *self._said[number])

    def counted(self) -> Counter[str]:
        """How many are in each state."""
        found: Counter[str] = Counter()
        for number, count in Counter([number for _, number in self._numbered()]).items():
            found[self._said[number][0]] += count
        return found

    def packed(self) -> States:
        """The same in little memory."""
        return self if len(self._fresh) < _PACK_FROM else States(list(self))

    def _numbered(self) -> Iterator[tuple[str, int]]:
        for name, number in zip(self._names, self._number_of, strict=True):
            if number != _GONE:
                yield name, number
        yield from self._fresh.items()
