"""Blocks that were taken over from the last load instead of being read (`remembered`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

import msgspec

from fastvrrp.config.compact import decoder
from fastvrrp.config.memory import Record
from fastvrrp.config.model import Command, Position, VrrpInstance
from fastvrrp.config.native.wording import native_wording
from fastvrrp.config.node import Node
from fastvrrp.config.packing import Packer
from fastvrrp.config.servers import MiscCheck, ServiceAddress, VirtualServer, kinds

if TYPE_CHECKING:
    from fastvrrp.config.defaults import Defaults

NOWHERE = Position(file="", line=0)
"""Where the addresses of an instance stand that was not read."""


class Unread(Exception):
    """Somebody needs what is written in a block that was not read."""


class _Unread(list[Node]):
    """The statements of a block that was not read."""

    def __bool__(self) -> NoReturn:
        raise Unread

    def __getitem__(self, index: object) -> NoReturn:
        raise Unread

    def __iter__(self) -> NoReturn:
        raise Unread

    def __len__(self) -> NoReturn:
        raise Unread

    def __reversed__(self) -> NoReturn:
        raise Unread


UNREAD = _Unread()


class Head(msgspec.Struct, frozen=True):
    """Of a virtual server, what others are compared with."""

    name: str
    services: tuple[ServiceAddress, ...]
    group: str | None = None
    protocol: str = "TCP"


class _Ipvs(msgspec.Struct, frozen=True):
    virtual_servers: tuple[msgspec.Raw, ...] = ()


class _Rest(msgspec.Struct, frozen=True):
    ipvs: _Ipvs = _Ipvs()


class Compact(msgspec.Struct, array_like=True):
    """As much of what `compact` writes as is needed to find virtual servers."""

    rest: _Rest


class _Check(msgspec.Struct, frozen=True):
    """As much of a check as is needed here; MISC_CHECK has a command."""

    command: Command | None = None


class _Real(msgspec.Struct, frozen=True):
    notify_up: Command | None = None
    notify_down: Command | None = None
    checks: tuple[_Check, ...] = ()


class _Commands(msgspec.Struct, frozen=True):
    """Of a virtual server, what it may have run."""

    quorum_up: Command | None = None
    quorum_down: Command | None = None
    patterns: tuple[_Real, ...] = ()


class TakenServer(VirtualServer, kw_only=True):
    """A virtual server as bytes, with what others are compared with; `has_commands`: perhaps."""

    raw: msgspec.Raw
    has_commands: bool

    def commands(self) -> Iterator[Command | None]:
        """What it may have run."""
        if self.has_commands:
            found = decoder(_Commands).decode(self.raw)
            yield from (found.quorum_up, found.quorum_down)
            for real in found.patterns:
                yield from (real.notify_up, real.notify_down)
                yield from (check.command for check in real.checks)


class TakenNode(Node, kw_only=True, eq=False, gc=False):
    """A block that was not read, because what came of it is known.

    number  in the last configuration
    index   among blocks of which something is said when all are compared; 0: it is none
    """

    record: Record
    number: int
    index: int = 0

    @property
    def somewhere(self) -> Position:
        """Stands for a place in it that is known by what is said there, see `Blocks.placed`."""
        return Position(file="", line=self.index)

    def has_been_told(self, text: str) -> bool:
        """Whether this was said when all blocks were compared. Raises Unread if nothing was."""
        if not self.index:
            raise Unread
        return any(said.text == text for said in self.record.more.of_all)


class TakenNativeNode(TakenNode, kw_only=True, eq=False, gc=False):
    """One out of YAML."""

    is_native: ClassVar[bool] = True

    def worded(self, text: str) -> str:
        return native_wording(text)


def in_bytes(servers: Iterable[VirtualServer]) -> tuple[Any, ...]:
    """Virtual servers as they are to be encoded."""
    pack = Packer().pack
    return tuple([one.raw if type(one) is TakenServer else pack(one) for one in servers])


def runs_programs(made: VirtualServer | VrrpInstance, node: Node, defaults: Defaults) -> bool:
    """Whether there is any command in what came of a block."""
    if isinstance(node, TakenNode):
        return node.record.more.has_run
    if isinstance(made, VrrpInstance):
        notify = made.notify
        return notify is not defaults.notify and any(
            isinstance(getattr(notify, each), Command) for each in notify.__struct_fields__
        )
    return bool(made.quorum_up or made.quorum_down) or any(
        one.notify_up or one.notify_down or any(isinstance(c, MiscCheck) for c in one.checks)
        for one, _ in kinds(made.real_servers)
    )


class Taken(NamedTuple):
    """A block that need not be parsed, and what there is in its place."""

    record: Record
    nodes: list[Node]


class Entry(NamedTuple):
    """The text of an entry of a YAML file, where it is.

    path  keys above it
    name  its own key; "" in lists
    at    offset in its file
    """

    path: tuple[str, ...]
    name: str
    text: str
    at: int
    line: int
    column: int

    @property
    def label(self) -> str:
        """Of all that stands below the same keys."""
        return "/" + "/".join(self.path)

    @property
    def end(self) -> int:
        return self.at + len(self.text)

    @property
    def lines(self) -> int:
        return self.text.count("\n") + 1

    @property
    def head(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def opening(self) -> int:
        """How many of its characters say that there is such an entry."""
        return self.column + len(self.name) if self.name else len(self.head)


class Match(NamedTuple):
    """What is known of an entry: its record, and its number in the last configuration."""

    record: Record
    number: int
