"""Blocks that were read before: a reload does not parse again what has not changed.

Of each block out of which a virtual server or an instance was made, a digest of its text is kept,
and with it goes what came of it: the bytes of the configuration that was accepted (`compact`). A
block with the same text is not looked into: its model is taken over. That is right only where
nothing but its text decides about it. So a block is not remembered

  - if anything was said about it: messages have places, which are found by reading;
  - if its text is not all there is: definitions, templates, includes;
  - if the machine or another block had a say in it (`Context.asks`): accounts, names of iproute2,
    groups of services, an interface that does not exist.

What global_defs and trackers give to an instance must be what they gave the last time. Programs
must still be as they have to be, all of them: of that the machine is asked again.

Checks across blocks look at all of them, and whoever wants to see a statement of a block that was
taken over raises `Unread`: then everything is read, as if nothing were known.
"""

from __future__ import annotations

from _blake2 import blake2b  # hashlib's, which would load OpenSSL as well: 5 ms of every start
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from fastvrrp import __version__
from fastvrrp.config.compact import Instances, decoder
from fastvrrp.config.model import Command, Message, Position, VrrpInstance
from fastvrrp.config.node import Node
from fastvrrp.config.packing import Packer
from fastvrrp.config.servers import ServiceAddress, VirtualServer

if TYPE_CHECKING:
    from fastvrrp.config.context import Context
    from fastvrrp.config.defaults import Defaults
    from fastvrrp.config.scripts import Scripts
    from fastvrrp.config.trackers import Trackers

KINDS = frozenset(("virtual_server", "vrrp_instance"))
NOWHERE = Position(file="", line=0)
"""Where the addresses of an instance stand that was not read."""
_FOREIGN = ("$", "~", "\\", "include", "random_seed")  # more than the text itself counts
_DIGEST_BYTES = 16


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


_UNREAD = _Unread()


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A block.

    head      its first line, by which it is found
    digest    of its text: `lines` lines, `size` characters
    defaults  number of what global_defs said above it, see Memory
    weights   whether the trackers of an instance could have weights (`tracking`)
    """

    head: str
    digest: bytes
    lines: int
    size: int
    defaults: int = 0
    weights: bool = True


class Memory(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of one load beside its configuration.

    version        of this program, which read it
    config_id      decided about `@` lines
    is_elsewhere   whether it was for another network namespace
    is_here        whether the interfaces of the machine were known
    interfaces     that were asked for and existed
    programs       that scripts run, as the default account and without a message
    scripts        digest of what else decided about those
    defaults       digests
    trackers       digest of what they give to who refers to them
    servers        by number in the configuration; None: to be read again
    instances      the same
    """

    version: str
    config_id: str
    is_elsewhere: bool
    is_here: bool
    interfaces: tuple[str, ...]
    programs: tuple[str, ...]
    scripts: bytes
    defaults: tuple[bytes, ...]
    trackers: bytes
    servers: tuple[Record | None, ...]
    instances: tuple[Record | None, ...]


class Last(msgspec.Struct, array_like=True, frozen=True):
    """What the configuration in effect was made of: its Memory, and its bytes."""

    memory: bytes
    ipvs: bytes
    vrrp: bytes

    @classmethod
    def of(cls, data: bytes) -> Last | None:
        """What was encoded; None if another version of this program did it, which went on running
        when its files were replaced."""
        try:
            last: Last = decoder(cls).decode(data)
        except msgspec.MsgspecError:
            return None
        return last


class _Ipvs(msgspec.Struct, frozen=True):
    virtual_servers: tuple[msgspec.Raw, ...] = ()


class _Rest(msgspec.Struct, frozen=True):
    ipvs: _Ipvs = _Ipvs()


class _Compact(msgspec.Struct, array_like=True):
    """As much of what `compact` writes as is needed here."""

    rest: _Rest


class _Head(msgspec.Struct, frozen=True):
    """Of a virtual server, what others are compared with."""

    name: str
    services: tuple[ServiceAddress, ...]
    group: str | None = None
    protocol: str = "TCP"


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
    """A block that was not read, because what came of it is known."""

    record: Record
    number: int  # in the last configuration


class Span(msgspec.Struct, frozen=True, gc=False):
    """A block that was read or taken over, and the number of its first line."""

    first: int
    record: Record
    node: Node


Origin = tuple[Node, "Defaults", bool] | None
"""The block of a virtual server or an instance, and what applied to it: defaults, and whether
weights could be tracked. None: it is to be read again."""


class Blocks:
    """The outermost blocks of one load: which can be taken over, and what is to be remembered."""

    def __init__(self, last: Last | None = None, *, keeps: bool = False) -> None:
        """`keeps`: there will be a next time."""
        self.keeps = keeps
        self.parsed = 0  # blocks of KINDS whose statements were read
        self._spans: dict[str, list[Span]] = {}  # by file, in its order
        self._memory: Memory | None = None
        self._given: bytes | None = None  # digest of what trackers give
        self._is_used = False  # whether any block was taken over
        self._heads: dict[str, list[tuple[Record, int]]] = {}
        self._servers: tuple[msgspec.Raw, ...] = ()
        self._instances: Instances | None = None
        self._defaults: dict[int, tuple[Defaults, bytes]] = {}
        if last is not None and last.memory:
            self._remember(last)

    def _remember(self, last: Last) -> None:
        try:
            memory = decoder(Memory).decode(last.memory)
            servers = decoder(_Compact).decode(last.ipvs).rest.ipvs.virtual_servers
            instances = Instances(last.vrrp, NOWHERE) if memory.instances else None
        except msgspec.MsgspecError:
            return  # of another version, see Last.of
        if memory.version != __version__:
            return
        self._memory, self._servers, self._instances = memory, servers, instances
        count = 0 if instances is None else len(instances)
        for records, known in ((memory.servers, len(servers)), (memory.instances, count)):
            for number, record in enumerate(records):
                if record is not None and known == len(records):  # both processes may not be run
                    self._heads.setdefault(record.head, []).append((record, number))

    def check(self, config_id: str, context: Context) -> None:
        """Raises Unread where the machine is another one than the last time."""
        memory = self._memory
        if (
            memory is not None
            and self._is_used
            and (
                memory.config_id != config_id
                or memory.is_elsewhere != context.is_elsewhere
                or memory.is_here != (context.interfaces is not None)
                or not (context.interfaces or frozenset()).issuperset(memory.interfaces)
            )
        ):
            raise Unread

    def check_scripts(self, scripts: Scripts) -> None:
        """Raises Unread where a command could be another one than the last time."""
        memory = self._memory
        if (
            memory is not None
            and self._is_used
            and memory.programs
            and (
                memory.scripts != _digest(scripts.ground) or not scripts.still_run(memory.programs)
            )
        ):
            raise Unread

    def take(self, text: str, at: int, line: str, number: int, file: str) -> TakenNode | None:
        """The block that begins with this line, which is at offset `at` of the text, if it is
        known."""
        for record, which in self._heads.get(line, ()):
            end = at + record.size
            if text[end : end + 1] in ("\n", "") and _digest(text[at:end]) == record.digest:
                words = _words(line)
                self._is_used = True
                node = TakenNode(
                    words, file, number, line, body=_UNREAD, record=record, number=which
                )
                self._spans.setdefault(file, []).append(Span(number, record, node))
                return node
        return None

    def read(
        self, node: Node, text: str, where: slice | None, last: int, *, is_plain: bool
    ) -> None:
        """A block was read, which is this part of the text (None: only its end is in there), down
        to line `last`."""
        if node.words[0] not in KINDS:
            return
        self.parsed += 1
        if not self.keeps or where is None:
            return
        text = text[where]
        first = text.partition("\n")[0]
        if not is_plain and (any(word in text for word in _FOREIGN) or _words(first) != node.words):
            return
        record = Record(first, _digest(text), last - node.line + 1, len(text))
        self._spans.setdefault(node.file, []).append(Span(node.line, record, node))

    def server(self, node: TakenNode, defaults: Defaults) -> TakenServer:
        """What came of a virtual_server. Raises Unread where other defaults apply to it now."""
        self._compare(node, defaults)
        raw = self._servers[node.number]
        head = decoder(_Head).decode(raw)
        return TakenServer(
            name=head.name,
            services=head.services,
            group=head.group,
            protocol=head.protocol,
            position=node.position(1),
            raw=raw,
            has_commands=self._memory is not None and bool(self._memory.programs),
        )

    def instance(self, node: TakenNode, defaults: Defaults, sync_group: str | None) -> VrrpInstance:
        """What came of a vrrp_instance, its groups aside. Raises Unread as `server`."""
        self._compare(node, defaults)
        assert self._instances is not None
        return self._instances.one(
            node.number, sync_group=sync_group, track_groups=(), position=node.position(1)
        )

    def _compare(self, node: TakenNode, defaults: Defaults) -> None:
        memory = self._memory
        if memory is None or memory.defaults[node.record.defaults] != self._digest_of(defaults):
            raise Unread

    def compare_tracking(self, node: TakenNode, trackers: Trackers, weights_allowed: bool) -> None:
        """Raises Unread where references mean something else than the last time."""
        if self._given is None:
            self._given = _digest(trackers.given)
        memory = self._memory
        if (
            memory is None
            or memory.trackers != self._given
            or node.record.weights != weights_allowed
        ):
            raise Unread

    def _digest_of(self, defaults: Defaults) -> bytes:
        known = self._defaults.get(id(defaults))
        if known is None:
            known = self._defaults[id(defaults)] = defaults, _digest(repr(vars(defaults)))
        return known[1]

    def memory(
        self,
        config_id: str,
        context: Context,
        trackers: Trackers,
        scripts: Scripts,
        servers: Sequence[Origin],
        instances: Sequence[Origin],
    ) -> bytes:
        """To be kept for the next load, without errors in this one."""
        diagnostics = context.diagnostics
        if diagnostics.count != len(diagnostics.messages):
            return b""  # it is not known what else there was a message about
        silent = {id(span.node): span for span in self._silent(diagnostics.messages)}
        digests: dict[bytes, int] = {}
        before = self._memory if self._is_used else None

        def record(source: Origin) -> Record | None:
            span = None if source is None else silent.get(id(source[0]))
            if source is None or span is None:
                return None
            number = digests.setdefault(self._digest_of(source[1]), len(digests))
            known = span.record
            weights = source[2]
            if (known.defaults, known.weights) == (number, weights):
                return known
            return msgspec.structs.replace(known, defaults=number, weights=weights)

        memory = Memory(
            version=__version__,
            config_id=config_id,
            is_elsewhere=context.is_elsewhere,
            is_here=context.interfaces is not None,
            interfaces=_with(context.met, before.interfaces if before else ()),
            programs=_with(context.programs, before.programs if before else ()),
            scripts=_digest(scripts.ground),
            servers=tuple([record(source) for source in servers]),
            instances=tuple([record(source) for source in instances]),
            defaults=tuple(digests),  # `record` adds to them
            trackers=_digest(trackers.given),
        )
        return msgspec.msgpack.encode(memory)

    def _silent(self, messages: Iterable[Message]) -> Iterator[Span]:
        """The blocks about which nothing was said. A file may have been read twice."""
        places: dict[str, list[Position]] = {}
        for message in messages:
            places.setdefault(message.position.file, []).append(message.position)
        for file, spans in self._spans.items():
            said = sorted([place.line for place in places.get(file, ())])
            for span in spans:
                after = bisect_left(said, span.first)
                if after == len(said) or said[after] >= span.first + span.record.lines:
                    yield span


def _with(met: Iterable[str], before: Iterable[str]) -> tuple[str, ...]:
    """What was met in blocks that were read, and in those that were taken over."""
    return tuple(sorted({*met, *before}))


def in_bytes(servers: Iterable[VirtualServer]) -> tuple[Any, ...]:
    """Virtual servers as they are to be encoded."""
    pack = Packer().pack
    return tuple([one.raw if type(one) is TakenServer else pack(one) for one in servers])


def _words(line: str) -> tuple[str, ...]:
    """The words of the first line of a block."""
    return tuple(line.partition("{")[0].split())


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
