"""What was last said of those whose notifications nobody gets: most of thousands, so it is two
bytes for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from fastvrrp.namelist import NameList

TOLD = ("MASTER", "BACKUP", "FAULT", "DELETED")  # INIT is nobody's business
UNTOLD = ("", 0)
_STATES = ("", *TOLD)
_NUMBERS = {state: number for number, state in enumerate(_STATES)}


class Quiet:
    """State and priority by name; the names stay the same."""

    def __init__(self, known: Mapping[str, tuple[str, int]] = MappingProxyType({})) -> None:
        self._names = NameList(known)
        self._states = bytearray(_NUMBERS[state] for state, _ in known.values())
        self._priorities = bytearray(priority for _, priority in known.values())

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def get(self, name: str) -> tuple[str, int]:
        """UNTOLD for a name that is not here."""
        at = self._names.find(name)
        return UNTOLD if at < 0 else (_STATES[self._states[at]], self._priorities[at])

    def share(self, names: NameList) -> None:
        """Use this list instead of an own one if it says the same."""
        if self._names.is_same(names):
            self._names = names

    def note(self, name: str, state: str, priority: int) -> bool:
        """Take it in if the name is here; whether it is. A state that is not TOLD changes nothing;
        without one only the priority counts."""
        at = self._names.find(name)
        if at < 0:
            return False
        number = _NUMBERS.get(state)
        if number:
            self._states[at] = number
        if number is not None:
            self._priorities[at] = priority
        return True
