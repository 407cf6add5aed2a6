"""The tracked files of FILE_CHECKs: one watcher for all, and who wants to hear of which."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastvrrp.config.model import TrackFile
from fastvrrp.track.file import FileWatcher, initialise

Changed = Callable[[], None]


class TrackedFiles:
    """Values are right after construction; changes are told after `start`."""

    def __init__(self, definitions: Iterable[TrackFile]) -> None:
        """Creates files with `init_file`; `definitions` are those that some FILE_CHECK names."""
        definitions = list(definitions)
        for definition in definitions:
            initialise(definition)
        self._watcher = FileWatcher(definitions, self._changed)
        self._followers: dict[str, dict[Changed, None]] = {}
        self.start = self._watcher.start
        self.stop = self._watcher.stop
        self.status = self._watcher.status

    def value(self, name: str) -> int | None:
        """None: there is no such file any more."""
        return self._watcher.value(name) if name in self._watcher.names else None

    def follow(self, name: str, changed: Changed) -> None:
        """`changed` is called after every change of the file's value, until `unfollow`."""
        self._followers.setdefault(name, {})[changed] = None

    def unfollow(self, name: str, changed: Changed) -> None:
        """Does nothing for who does not follow."""
        followers = self._followers.get(name)
        if followers is not None:
            followers.pop(changed, None)
            if not followers:
                del self._followers[name]

    async def redefine(self, definitions: Iterable[TrackFile]) -> None:
        """Watch other files from now on (a reload): nothing is created, followers stay."""
        definitions = list(definitions)
        if definitions == self._watcher.definitions:
            return
        before = {name: self.value(name) for name in self._followers}
        await self._watcher.redefine(definitions)
        for name, value in before.items():
            if self.value(name) != value:
                self._changed(name)

    def _changed(self, name: str) -> None:
        for changed in list(self._followers.get(name, ())):
            changed()
