"""A file that names what of the kernel's IPVS table is ours.

Written before anything is added. The kernel keeps no mark of who made a service, so after a crash
this alone tells which services a new configuration no longer has, to be removed, and which belong
to others; nor does it know what its timeouts were before they were ours.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.objects import Role, ServiceKey
from fastvrrp.net.statefile import StateFile, StateFileError

log = logging.getLogger(__name__)

_VERSION = 1


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    version: int = _VERSION
    services: tuple[ServiceKey, ...] = ()
    filling: tuple[ServiceKey, ...] = ()  # those that may lack servers which had not failed
    daemons: tuple[Role, ...] = ()
    timeouts: Timeouts = Timeouts()  # what those that are ours were before

    @property
    def complete(self) -> frozenset[ServiceKey]:
        """Services in which every server was that had not failed."""
        return frozenset(self.services).difference(self.filling)


class Journal:
    """The journal at a path; its directory must exist."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = StateFile(path)
        self._written: Contents | None = None
        self._complained = False

    @property
    def path(self) -> Path:
        return self._file.path

    def write(self, contents: Contents) -> None:
        """Replace what it says. When it cannot be written, that is logged once: the balancer goes
        on without, and the next write may succeed."""
        if contents == self._written:
            return
        try:
            self._file.write(msgspec.json.encode(contents))
        except OSError as error:
            if not self._complained:
                log.error(
                    "cannot write %s: %s; services that a crash leaves behind would not be known"
                    " as ours",
                    self._file.path,
                    error.strerror,
                )
            self._complained = True
        else:
            self._written = contents
            self._complained = False

    def read(self) -> Contents:
        """What an earlier process left, empty when there is none or it is not to be believed
        (which is logged)."""
        try:
            data = self._file.read()
            if data is None:
                return Contents()
            contents = msgspec.json.decode(data, type=Contents)
        except StateFileError as error:
            log.error("%s", error)
        except msgspec.DecodeError as error:
            log.error("%s: not a journal: %s", self._file.path, error)
        else:
            if contents.version == _VERSION:
                return contents
            log.error("%s: version %s is not known", self._file.path, contents.version)
        return Contents()

    def remove(self) -> None:
        """Delete it, once nothing of ours is left."""
        self._written = None
        try:
            self._file.remove()
        except OSError as error:
            log.warning("cannot remove %s: %s", self._file.path, error.strerror)
