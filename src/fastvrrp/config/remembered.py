"""Blocks that were read before: a reload does not parse again what has not changed.

Of each outermost block a digest of its text is kept. A block with the same text is not looked into,
provided that what else decides how it is read is the same: parameters that it uses have the same
value, templates the same lines, files that it includes the same text (`tracing`). There are two
things that may be known of it:

  - what came of it: for virtual servers and instances the bytes of the configuration that was
    accepted (`compact`). The model is taken over where whatever else decides about it is the same:
    what global_defs and trackers give to an instance, the machine: interfaces that it names exist,
    its programs are still as they have to be, their accounts are the same;
  - its statements (`statements`), for all other blocks, and for those about which the machine or
    another block decides in a way that is not compared (`Context.asks`): names of iproute2, groups
    of services, an interface or a program that does not exist. What they mean is found out anew.

What was said of a block is said again, at its new place (`memory.Said`), and what it defines is
defined again. A block about which chance had a say is parsed each time.

Checks across blocks look at all of them, and whoever wants to see a statement of a block that was
taken over raises `Unread`: then everything is read, as if nothing were known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from fastvrrp import __version__
from fastvrrp.config.compact import Instances, decoder
from fastvrrp.config.index import Index
from fastvrrp.config.keeping import (
    NO_PARAMETERS,
    Origin,
    Records,
    Span,
    Tree,
    define_again,
    head_of,
    record_of,
    together,
)
from fastvrrp.config.memory import (
    Last,
    Memory,
    Record,
    Said,
    digest,
)
from fastvrrp.config.model import Position, Severity, VrrpInstance
from fastvrrp.config.node import Node, mark
from fastvrrp.config.statements import restored
from fastvrrp.config.taken import (
    NOWHERE,
    UNREAD,
    Compact,
    Entry,
    Head,
    Match,
    Taken,
    TakenNativeNode,
    TakenNode,
    TakenServer,
    Unread,
)
from fastvrrp.config.tracing import Found

if TYPE_CHECKING:
    from fastvrrp.config.context import Context
    from fastvrrp.config.defaults import Defaults
    from fastvrrp.config.diagnostics import Diagnostics
    from fastvrrp.config.expand import Definitions
    from fastvrrp.config.include import Includes
    from fastvrrp.config.lines import Parts
    from fastvrrp.config.native.expand import Presets
    from fastvrrp.config.scripts import Scripts
    from fastvrrp.config.trackers import Trackers

KINDS = frozenset(("virtual_server", "vrrp_instance"))


class Blocks:
    """The outermost blocks of one load: which can be taken over, and what is to be remembered."""

    def __init__(self, last: Last | None = None, *, keeps: bool = False) -> None:
        """`keeps`: there will be a next time."""
        self.keeps = keeps
        self.said_each_time = 0, 0  # messages of no block: the first one, the one behind
        self._diagnostics: Diagnostics | None = None
        self._definitions: Definitions | None = None
        self._scripts: Scripts | None = None
        self._includes: Includes | None = None
        self._spans: list[Span] = []
        self._trees: list[Tree] = []
        self._recalled: set[int] = set()  # nodes that were not parsed, but are not taken over
        self._told: list[TakenNode] = []  # see TakenNode.index
        self._meanings: dict[tuple[str, ...], tuple[int, bytes]] = {}  # of names, by version
        self._presets: Presets | None = None  # of YAML, once they are known
        self._taken_of: dict[tuple[str, ...], bytes] = {}  # what of them was taken over, by name
        self._memory: Memory | None = None
        self._given: bytes | None = None  # digest of what trackers give
        self._is_used = False  # whether any block was taken over
        self._index = Index()
        self._servers: tuple[msgspec.Raw, ...] = ()
        self._instances: Instances | None = None
        self._defaults: dict[int, tuple[Defaults, bytes]] = {}
        if last is not None and last.memory:
            self._remember(last)

    def _remember(self, last: Last) -> None:
        try:
            memory = decoder(Memory).decode(last.memory)
            servers = decoder(Compact).decode(last.ipvs).rest.ipvs.virtual_servers
            instances = Instances(last.vrrp, NOWHERE) if memory.instances else None
        except msgspec.MsgspecError:
            return  # of another version, see Last.of
        if memory.version != __version__:
            return
        self._memory, self._servers, self._instances = memory, servers, instances
        for record in memory.others:
            self._index.add(record, self._parameters_of(record), -1)
        count = 0 if instances is None else len(instances)
        for records, known in ((memory.servers, len(servers)), (memory.instances, count)):
            for number, record in enumerate(records):
                if record is not None and known == len(records):  # both processes may not be run
                    self._index.add(record, self._parameters_of(record), number)

    @property
    def is_first(self) -> bool:
        """Whether nothing is known of a last time."""
        return self._memory is None

    def attend(
        self,
        diagnostics: Diagnostics,
        definitions: Definitions,
        scripts: Scripts,
        includes: Includes,
    ) -> None:
        """What the load has that these are blocks of."""
        self._diagnostics, self._definitions = diagnostics, definitions
        self._includes = includes
        self._scripts = scripts
        diagnostics.placed = self.placed
        if self._memory is not None and self._memory.config_id != definitions.config_id:
            self._index.clear()  # it decides about lines

    def check(self, context: Context) -> None:
        """Raises Unread where the machine is another one than the last time."""
        memory = self._memory
        if (
            memory is not None
            and self._is_used
            and (
                memory.is_elsewhere != context.is_elsewhere
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
            and (memory.programs or memory.accounts)
            and (
                memory.scripts != _digest(scripts.ground)
                or not all(
                    scripts.accounts_of(words) == (account, completed)
                    for words, account, completed in memory.accounts
                )
                or not scripts.still_run(memory.programs)
            )
        ):
            raise Unread

    def take(
        self, text: str, at: int, line: str, number: int, file: str, parts: Parts | None
    ) -> Taken | None:
        """The block that begins with this line, which is at offset `at` of the text, if it is
        known. The text is the last of these parts."""
        for alike in self._index.at(text, at, line, parts):
            for names, known in alike.items():
                found = known.get(self._meaning(names))
                if found is not None:
                    taken = self._taken(*found, file, number, line)
                    if taken is not None:
                        return taken
        return None

    def _taken(self, record: Record, which: int, file: str, number: int, line: str) -> Taken | None:
        parameters, more = self._parameters_of(record), record.more
        assert self._definitions is not None
        if more.files and not self._includes_again(more.files):
            return None
        if more.kept is not None:
            nodes = self._recall(record, parameters, file, number)
            define_again(self._definitions, more, file, number)
            return Taken(record, nodes)
        words, marks = _words(line), None
        if more.opening is not None:
            words, columns = more.opening
            marks = [mark(number, column) for column in columns]
        node = TakenNode(words, file, number, line, marks, body=UNREAD, record=record, number=which)
        self._take(node, parameters, is_templated=self._is_templated(parameters, more.files))
        define_again(self._definitions, more, file, number)
        return Taken(record, [node])

    def _recall(
        self, record: Record, parameters: tuple[tuple[str, ...], bytes], file: str, line: int
    ) -> list[Node]:
        """The statements of a block of which no model is known."""
        assert self._diagnostics is not None
        assert self._definitions is not None
        more = record.more
        assert more.kept is not None
        templates = self._definitions.templates
        nodes = restored(more.kept.statements, more.kept.places, file, line, templates)
        self.recall(nodes)
        begin = len(self._diagnostics.messages)
        self._say(file, line, more.of_text)
        is_templated = self._is_templated(parameters, more.files)
        said = self._since(begin)
        self._spans.append(Span(record, nodes, file, line, parameters, is_templated, said))
        return nodes

    def _includes_again(self, files: tuple[str, ...]) -> bool:
        """A block that is known includes these; whether there may be so many."""
        assert self._includes is not None
        return self._includes.again(files)

    def parsed(self, root: Iterable[Node]) -> tuple[int, dict[str, int]]:
        """How many blocks there are, and of how many the text was parsed, by keyword."""
        count, found = 0, dict[str, int]()
        for node in root:
            if node.body is None:
                continue
            count += 1
            if not isinstance(node, TakenNode) and id(node) not in self._recalled:
                found[node.words[0]] = found.get(node.words[0], 0) + 1
        return count, found

    def _parameters_of(self, record: Record) -> tuple[tuple[str, ...], bytes]:
        assert self._memory is not None
        number = record.more.parameters
        return self._memory.parameters[number] if number else NO_PARAMETERS

    def _take(
        self, node: TakenNode, parameters: tuple[tuple[str, ...], bytes], *, is_templated: bool
    ) -> None:
        assert self._diagnostics is not None
        record, more = node.record, node.record.more
        if more.of_all:
            self._told.append(node)
            node.index = len(self._told)
        begin, at = len(self._diagnostics.messages), (node.file, node.line)
        self._say(*at, more.of_text)
        self._is_used = True
        self._spans.append(Span(record, [node], *at, parameters, is_templated, self._since(begin)))

    def known(self, entry: Entry) -> Match | None:
        """What is known of an entry of a YAML file."""
        for known in self._index.whole(head_of(entry.label, entry.text), entry.text).values():
            return Match(*next(iter(known.values())))
        return None

    def recall(self, nodes: Iterable[Node]) -> None:
        """These were made of what was not parsed."""
        self._recalled.update(map(id, nodes))

    def keep_tree(
        self, entry: Entry, last: Record | None = None, pack: Callable[[], bytes] | None = None
    ) -> None:
        """Of an entry the tree is remembered if there is nothing better: as the `last` time, or
        what `pack` makes, which raises Elsewhere if it cannot."""
        self._trees.append(Tree(entry, last, pack))

    def take_entry(self, match: Match, entry: Entry, file: str) -> list[Node]:
        """The blocks of an entry that is known, if presets are as they were (`check_presets`)."""
        record, number = match
        parameters = self._parameters_of(record)
        if self._taken_of.setdefault(*parameters) != parameters[1]:
            raise Unread
        if record.more.kept is not None:
            return self._recall(record, parameters, file, entry.line)
        assert record.more.opening is not None
        words, columns = record.more.opening
        marks = [mark(entry.line, column) for column in columns]
        node = TakenNativeNode(
            words, file, entry.line, "", marks, body=UNREAD, record=record, number=number
        )
        self._take(node, parameters, is_templated=True)
        return [node]

    def check_presets(self, presets: Presets) -> None:
        """All presets are known. Raises Unread where what entries take from them is not what it
        was."""
        assert self._definitions is not None
        self._presets = presets
        for names, meaning in self._taken_of.items():
            if names and _digest(presets.meaning(names)) != meaning:
                raise Unread
            presets.use(names)
        if self.keeps:
            self._definitions.template_lines |= presets.lines()

    def _meaning(self, names: tuple[str, ...]) -> bytes:
        """Of parameters, where the files are read now."""
        assert self._definitions is not None
        if not names:
            return NO_PARAMETERS[1]
        version = self._definitions.version
        known = self._meanings.get(names)
        if known is None or known[0] != version:
            known = self._meanings[names] = version, _digest(self._definitions.meaning(names))
        return known[1]

    def _is_templated(
        self, parameters: tuple[tuple[str, ...], bytes], files: tuple[str, ...]
    ) -> bool:
        assert self._definitions is not None
        if files:
            return True
        return not self._definitions.templates.keys().isdisjoint(parameters[0])

    def _say(self, file: str, line: int, said: Iterable[Said]) -> None:
        assert self._diagnostics is not None
        for one in said:
            place = one.place(file, line)
            self._diagnostics.add(place, Severity.WARNING, one.text, one.hint)

    def _since(self, begin: int) -> tuple[int, int]:
        assert self._diagnostics is not None
        return begin, len(self._diagnostics.messages)

    def placed(self, at: Position, text: str, hint: str) -> tuple[Position, str]:
        """The place for which `TakenNode.somewhere` stands, and the hint, if this is what was said
        there the last time. Raises Unread."""
        if at.line:
            node = self._told[at.line - 1]
            for said in node.record.more.of_all:
                if said.text == text:
                    return said.place(node.file, node.line), said.hint
        raise Unread

    def read(self, found: Found | None) -> None:
        """A block was read."""
        if found is None or any(isinstance(node, TakenNode) for node in found.nodes):
            return
        parameters = NO_PARAMETERS
        if found.label and found.names:
            assert self._presets is not None
            parameters = found.names, _digest(self._presets.meaning(found.names))
        elif found.names:
            assert self._definitions is not None
            parameters = found.names, _digest(self._definitions.meaning_before(found.names))
        record = record_of(found, head_of(found.label, found.text))
        if record is None:
            return
        is_templated = bool(found.label) or self._is_templated(parameters, found.files)
        self._spans.append(
            Span(
                record,
                found.nodes,
                found.file,
                found.line,
                parameters,
                is_templated,
                found.said,
                found,
            )
        )

    def alike(self, node: Node, text: str, lines: int) -> None:
        """An instance with only plain lines was read as a whole."""
        assert self._diagnostics is not None
        said = len(self._diagnostics.messages)
        record = Record(node.text, _digest(text), lines, len(text))
        at = node.file, node.line
        found = Found([node], *at, text, 0, True, None, (), 0, (said, said))
        self._spans.append(Span(record, [node], *at, NO_PARAMETERS, False, (said, said), found))

    def server(self, node: TakenNode, defaults: Defaults) -> TakenServer:
        """What came of a virtual_server. Raises Unread where other defaults apply to it now."""
        self._compare(node, defaults)
        raw = self._servers[node.number]
        head = decoder(Head).decode(raw)
        return TakenServer(
            name=head.name,
            services=head.services,
            group=head.group,
            protocol=head.protocol,
            position=node.position(1),
            raw=raw,
            has_commands=node.record.more.has_run,
        )

    def instance(self, node: TakenNode, defaults: Defaults, sync_group: str | None) -> VrrpInstance:
        """What came of a vrrp_instance, its groups aside. Raises Unread as `server`."""
        self._compare(node, defaults)
        assert self._instances is not None
        return self._instances.one(
            node.number,
            place=node.somewhere if node.index else None,
            sync_group=sync_group,
            track_groups=(),
            position=node.position(1),
        )

    def _compare(self, node: TakenNode, defaults: Defaults) -> None:
        memory, more = self._memory, node.record.more
        if memory is None or memory.defaults[node.record.defaults] != self._digest_of(defaults):
            raise Unread
        if more.has_run:
            assert self._scripts is not None
            if not self._scripts.has_warned:
                raise Unread  # it would be the first one that is warned of
        self._say(node.file, node.line, more.of_meaning)

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
        servers: Sequence[Origin | None],
        instances: Sequence[Origin | None],
    ) -> bytes:
        """To be kept for the next load, without errors in this one."""
        diagnostics = context.diagnostics
        if diagnostics.count != len(diagnostics.messages):
            return b""  # it is not known what else there was a message about
        before = self._memory if self._is_used else None
        known = before.accounts if before else ()
        assert self._definitions is not None
        records = Records(
            self._spans,
            (*servers, *instances),
            diagnostics.messages,
            self.said_each_time,
            self._definitions.template_lines,
            self._digest_of,
        )
        memory = Memory(
            version=__version__,
            config_id=config_id,
            is_elsewhere=context.is_elsewhere,
            is_here=context.interfaces is not None,
            interfaces=together(context.met, before.interfaces if before else ()),
            programs=together(context.programs, before.programs if before else ()),
            accounts=tuple(
                [
                    (words, *found)
                    for words in together(context.accounts, [words for words, _, _ in known])
                    if (found := scripts.accounts_of(words)) is not None
                ]
            ),
            scripts=_digest(scripts.ground),
            servers=tuple([records.of(origin) for origin in servers]),
            instances=tuple([records.of(origin) for origin in instances]),
            others=(*records.others(), *records.trees(self._trees)),
            defaults=tuple(records.defaults),  # `of` adds to them
            parameters=tuple(records.parameters),  # the same
            trackers=_digest(trackers.given),
        )
        return msgspec.msgpack.encode(memory)


def _words(line: str) -> tuple[str, ...]:
    """The words of the first line of a block."""
    return tuple(line.partition("{")[0].split())


def _digest(text: str) -> bytes:
    return digest(text.encode())
