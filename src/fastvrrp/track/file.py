"""track_file: files whose integer content drives priorities.

Their directories are watched with inotify, so that a write counts when the file is closed, as
with keepalived. Once a second everything is looked at besides (one stat(2) per file): that finds
directories that were not there yet, changes inotify cannot tell (network file systems, symbolic
links into other directories) and lost events. Such a change counts when it has been the same in
two looks, so that a half-written file never does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, KeysView
from pathlib import Path

import msgspec

from fastvrrp.config import model
from fastvrrp.track.inotify import (
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_MOVE_SELF,
    IN_Q_OVERFLOW,
    Inotify,
)

log = logging.getLogger(__name__)

LOOK_PERIOD_S = 1.0
EMPTY_S = 0.25  # how long a file must be empty to count as such: the next writer empties it first
READ_BYTES = 128
CREATE_MODE = 0o640
VALUES = range(-(2**31), 2**31)

# strtol(3) with base 0
_NUMBER = re.compile(rb"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")

Signature = tuple[int, ...] | None

_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class ValueOutOfRange(ValueError):
    """A number that no tracked file may hold; the file keeps the value it had."""


class Shortage(OSError):
    """This process or host lacks what opening a file takes: that says nothing about the file."""


def parse(content: bytes) -> int | None:
    """The integer at the start of `content`: decimal, 0x hexadecimal or 0 octal; None if none.

    Raises ValueOutOfRange.
    """
    match = _NUMBER.match(content)
    if match is None:
        return None
    digits = match[2].decode().lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    value = int(digits, base)
    if match[1] == b"-":
        value = -value
    if value not in VALUES:
        raise ValueOutOfRange(f"{value} is out of range")
    return value


def read_value(path: str, previous: int = 0) -> int:
    """The value of a tracked file: 0 when it is missing, empty, no number or no regular file, and
    `previous` when the number is out of range. Raises Shortage."""
    return _value(path, _content(path), previous)


def _content(path: str) -> bytes | None:
    """The beginning of a tracked file; None when there is none that could be read. Raises
    Shortage."""
    try:
        # O_NONBLOCK: a FIFO in its place must not stop us.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _SHORT:
            raise Shortage(error.errno, error.strerror) from error
        log.warning("track_file %s: %s", path, error.strerror)
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            log.warning("track_file %s is not a regular file", path)
            return None
        return os.read(fd, READ_BYTES)
    except OSError as error:
        log.warning("track_file %s: %s", path, error.strerror)
        return None
    finally:
        os.close(fd)


def _value(path: str, content: bytes | None, previous: int) -> int:
    try:
        value = parse(content or b"")
    except ValueOutOfRange as error:
        log.warning("track_file %s: %s; it still counts as %d", path, error, previous)
        return previous
    if value is None and content is not None and content.strip():
        log.warning("track_file %s does not hold a number; it counts as 0", path)
    return value or 0


def initialise(definition: model.TrackFile) -> None:
    """`init_file`: create the file with its value, or rewrite it with `overwrite`.

    Never follows a symbolic link and never rewrites a file with several names or anything but a
    regular file; what goes wrong is logged.
    """
    if definition.init_value is None:
        return
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    content = f"{definition.init_value}\n".encode()
    try:
        try:
            fd = os.open(definition.file, flags | os.O_CREAT | os.O_EXCL, CREATE_MODE)
        except FileExistsError:
            if not definition.init_overwrite:
                return
            fd = os.open(definition.file, flags)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                log.warning("track_file %s: not rewritten, not an ordinary file", definition.file)
                return
            os.ftruncate(fd, 0)
            os.write(fd, content)
        finally:
            os.close(fd)
    except OSError as error:
        log.warning("track_file %s: cannot be initialised: %s", definition.file, error.strerror)


class _File(msgspec.Struct):
    definition: model.TrackFile
    directory: str
    base: str
    value: int = 0
    signature: Signature = None  # when last read
    candidate: Signature = None  # when last looked at
    empty: asyncio.TimerHandle | None = None  # found empty, to be looked at again
    short: bool = False  # the last attempt to read it met a shortage


class FileWatcher:
    """The values of the tracked files; `changed(name)` tells of a new one.

    Values are right after construction; changes are followed after `start`.
    """

    def __init__(
        self, definitions: Iterable[model.TrackFile], changed: Callable[[str], None]
    ) -> None:
        self._changed = changed
        self._files: dict[str, _File] = {}
        self._inotify: Inotify | None = None
        self._watches: dict[int, set[str]] = {}  # watch -> names of the directory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._define(definitions)

    @property
    def definitions(self) -> list[model.TrackFile]:
        return [file.definition for file in self._files.values()]

    @property
    def names(self) -> KeysView[str]:
        return self._files.keys()

    def value(self, name: str) -> int:
        return self._files[name].value

    def start(self) -> None:
        """Follow changes in the running loop."""
        self._loop = asyncio.get_running_loop()
        if not self._files or self._task is not None:
            return
        try:
            self._inotify = Inotify()
        except OSError as error:
            log.warning("inotify: %s; tracked files are looked at every second", error.strerror)
        else:
            self._loop.add_reader(self._inotify.fileno(), self._readable)
        self._watch_directories()
        for file in self._files.values():
            self._read(file)  # it may have changed since construction
        self._task = self._loop.create_task(self._look(), name="track_file")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._inotify is not None and self._loop is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
        self._watches.clear()
        for file in self._files.values():
            if file.empty is not None:
                file.empty.cancel()
                file.empty = None
        self._loop = None

    async def redefine(self, definitions: Iterable[model.TrackFile]) -> None:
        """Follow other files from now on; files are never initialised by a reload."""
        running = self._loop is not None
        await self.stop()
        self._define(definitions)
        if running:
            self.start()

    def status(self) -> list[dict[str, object]]:
        """For the control socket."""
        return [
            {
                "kind": "file",
                "name": name,
                "file": file.definition.file,
                "value": file.value,
                "exists": file.signature is not None,
                "weight": file.definition.weight,
                "reverse": file.definition.reverse,
                "watched": file.directory in self._watched(),
            }
            for name, file in self._files.items()
        ]

    # ------------------------------------------------------------------ details

    def _define(self, definitions: Iterable[model.TrackFile]) -> None:
        old, self._files = self._files, {}
        for definition in definitions:
            path = Path(definition.file)
            file = _File(definition, str(path.parent), path.name)
            signature = _signature(definition.file)
            known = old.get(definition.name)
            file.value = known.value if known is not None else 0
            try:
                file.value = read_value(definition.file, file.value)
            except Shortage as error:
                self._later(file, signature, error)
            else:
                file.signature = file.candidate = signature
            self._files[definition.name] = file

    def _watch_directories(self) -> None:
        if self._inotify is None:
            return
        for directory in {file.directory for file in self._files.values()} - self._watched():
            try:
                watch = self._inotify.watch_directory(directory)
            except OSError as error:
                log.debug("track_file: %s is not watched: %s", directory, error.strerror)
                continue
            self._watches.setdefault(watch, set()).add(directory)

    def _watched(self) -> set[str]:
        return {directory for names in self._watches.values() for directory in names}

    def _readable(self) -> None:
        assert self._inotify is not None
        touched: set[tuple[str, str]] = set()
        everything = False
        for change in self._inotify.read():
            if change.mask & IN_Q_OVERFLOW:
                everything = True
                continue
            directories = self._watches.get(change.watch)
            if directories is None:
                continue
            if change.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED):
                # The path may name another directory by now: the next look finds out.
                del self._watches[change.watch]
                self._inotify.unwatch(change.watch)
                touched.update(
                    (f.directory, f.base)
                    for f in self._files.values()
                    if f.directory in directories
                )
                continue
            touched.update((directory, change.name) for directory in directories)
        for file in list(self._files.values()):
            if everything or (file.directory, file.base) in touched:
                self._told(file)

    def _told(self, file: _File) -> None:
        """Something happened to a file. Whoever writes a file empties it before: an empty one
        counts only if nothing more has happened to it a moment later."""
        if file.empty is not None:
            file.empty.cancel()
            file.empty = None
        signature = _signature(file.definition.file)
        try:
            content = _content(file.definition.file)
        except Shortage as error:
            self._later(file, signature, error)
            return
        if content == b"" and self._loop is not None:
            file.empty = self._loop.call_later(EMPTY_S, self._still_empty, file, signature)
        else:
            self._take(file, signature, content)

    def _still_empty(self, file: _File, signature: Signature) -> None:
        file.empty = None
        if _signature(file.definition.file) == signature:
            self._take(file, signature, b"")
        else:
            self._told(file)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            self._watch_directories()
            for file in list(self._files.values()):
                signature = _signature(file.definition.file)
                changed = file.short or signature != file.signature
                if changed and signature == file.candidate:
                    self._told(file)
                    continue
                file.candidate = signature

    def _read(self, file: _File) -> None:
        signature = _signature(file.definition.file)
        try:
            self._take(file, signature, _content(file.definition.file))
        except Shortage as error:
            self._later(file, signature, error)

    def _later(self, file: _File, signature: Signature, error: Shortage) -> None:
        """It keeps its value, and the next look reads it."""
        file.candidate = signature
        if not file.short:
            file.short = True
            log.warning(
                "track_file %s: %s; it still counts as %d",
                file.definition.file,
                error.strerror,
                file.value,
            )

    def _take(self, file: _File, signature: Signature, content: bytes | None) -> None:
        file.short = False
        file.signature = file.candidate = signature
        value = _value(file.definition.file, content, file.value)
        if value != file.value:
            name = file.definition.name
            log.info("track_file %s: value %d, was %d", name, value, file.value)
            file.value = value
            self._changed(name)


def _signature(path: str) -> Signature:
    try:
        status = os.stat(path)  # noqa: PTH116 - a plain path, looked at every second
    except OSError:
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
