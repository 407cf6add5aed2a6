"""Trackers: vrrp_script, track_file, vrrp_track_process, and the lists that refer to them."""

from __future__ import annotations

from typing import NamedTuple

from fastvrrp.config.blocks import Entries, Entry, get, listed, plain_lines
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.model import (
    NS_PER_S,
    Tracked,
    TrackFile,
    TrackProcess,
    TrackScript,
    VrrpInstance,
)
from fastvrrp.config.node import Node
from fastvrrp.config.scripts import Scripts
from fastvrrp.config.servertracking import KIND as TRACK_VIRTUAL_SERVER
from fastvrrp.config.servertracking import TrackedServers
from fastvrrp.config.trackoptions import read_options
from fastvrrp.config.values import interface_name

KINDS = ("track_interface", "track_script", "track_file", "track_process", TRACK_VIRTUAL_SERVER)
DEFINED_BY = {
    "track_script": "vrrp_script",
    "track_file": "track_file",
    "track_process": "vrrp_track_process",
}


class Reference(NamedTuple):
    """One line of a track_... block; None: as the tracker's definition says."""

    name: str
    weight: int | None
    reverse: bool | None


def read_references(context: Context, node: Node) -> list[Entry]:
    """The lines of a track_... block; which one it is is its keyword."""
    kind = node.words[0]
    entries: list[Entry] = []
    names: set[str] = set()
    for line in plain_lines(context, node):
        name = line.words[0]
        if kind == "track_interface":
            if not interface_name(context, line, name, word=0):
                continue
            context.check_interface(line, name, word=0)
        if name in names:
            context.warning(line, f"{shown(name)} is tracked twice", "remove one of the lines")
            continue
        names.add(name)
        weight, reverse = read_options(context, line, kind)
        entries.append(Entry(Reference(name, weight, reverse), line))
    return entries


class Definition(NamedTuple):
    """A tracker and its place; `model` is None where it was taken out of the configuration."""

    model: TrackScript | TrackFile | TrackProcess | None
    node: Node
    order: int  # number of the top-level statement


class Trackers:
    """The trackers of a configuration, by kind and name."""

    def __init__(self, context: Context, scripts: Scripts) -> None:
        self._context = context
        self._scripts = scripts
        self.known: dict[str, dict[str, Definition]] = {kind: {} for kind in DEFINED_BY}
        self.servers = TrackedServers(context, ())  # set when the virtual servers are known
        self.used: set[tuple[str, str]] = set()

    def _add(
        self,
        kind: str,
        name: str,
        order: int,
        node: Node,
        model: TrackScript | TrackFile | TrackProcess | None,
    ) -> None:
        if name in self.known[kind]:
            first = self.known[kind][name].node.position()
            self._context.warning(
                node,
                f"{node.words[0]} {shown(name)} is defined already, ignored",
                f"the first one is at {first.file}:{first.line}",
                word=1,
            )
            return
        self.known[kind][name] = Definition(model, node, order)

    def _required(self, node: Node, entries: Entries, keyword: str) -> bool:
        if keyword in entries:
            return True
        if not any(line.words[0] == keyword for line in node.body or ()):
            self._context.warning(
                node,
                f"{node.words[0]} {node.words[1]} has no {keyword}, it is left out",
                f"add {keyword} ...",
            )
        return False

    def add_script(self, name: str, order: int, node: Node, entries: Entries) -> None:
        """vrrp_script."""
        model = None
        if self._required(node, entries, "script"):
            draft = entries["script"].value
            user = entries.get("user")
            if user is not None and user.value is False:
                draft.bad_account = True
            account = user.value if user is not None and user.value else None
            command = self._scripts.command(draft, account)
            weight, reverse = get(entries, "weight", (0, False))
            interval_ns = get(entries, "interval", NS_PER_S)
            if command is not None:
                model = TrackScript(
                    name=name,
                    command=command,
                    interval_ns=interval_ns,
                    timeout_ns=get(entries, "timeout", interval_ns),
                    weight=weight,
                    reverse=reverse,
                    rise=get(entries, "rise", 1),
                    fall=get(entries, "fall", 1),
                    init_fail="init_fail" in entries,
                    position=node.position(1),
                )
        self._add("track_script", name, order, node, model)

    def add_file(self, name: str, order: int, node: Node, entries: Entries) -> None:
        """track_file."""
        model = None
        if self._required(node, entries, "file"):
            weight, reverse = get(entries, "weight", (1, False))
            value, overwrite = get(entries, "init_file", (None, False))
            model = TrackFile(
                name=name,
                file=entries["file"].value,
                weight=weight,
                reverse=reverse,
                init_value=value,
                init_overwrite=overwrite,
                position=node.position(1),
            )
        self._add("track_file", name, order, node, model)

    def add_process(self, name: str, order: int, node: Node, entries: Entries) -> None:
        """vrrp_track_process."""
        model = None
        if self._required(node, entries, "process"):
            process, *parameters = entries["process"].value
            weight, reverse = get(entries, "weight", (0, False))
            match = "exact" if parameters else "none"
            if "param_match" in entries:
                match = entries["param_match"].value or "exact"
            both_ns = get(entries, "delay", 0)
            quorum, quorum_max = self._quorum(entries)
            model = TrackProcess(
                name=name,
                process=process,
                parameters=tuple(parameters),
                param_match=match,
                full_command="full_command" in entries,
                weight=weight,
                reverse=reverse,
                quorum=quorum,
                quorum_max=quorum_max,
                fork_delay_ns=get(entries, "fork_delay", both_ns),
                terminate_delay_ns=get(entries, "terminate_delay", both_ns),
                position=node.position(1),
            )
        self._add("track_process", name, order, node, model)

    def _quorum(self, entries: Entries) -> tuple[int, int | None]:
        quorum: int = get(entries, "quorum", 1)
        most = entries.get("quorum_max")
        if most is None:
            return quorum, None
        if most.value == 0:
            return 0, 0  # the process must not run at all
        if most.value < quorum:
            self._context.warning(
                most.node,
                f"quorum_max {most.value} is less than quorum {quorum}, ignored",
                f"write {quorum} or more",
                word=1,
            )
            return quorum, None
        return quorum, most.value

    def resolve(
        self, kind: str, entries: Entries, owner: str, order: int
    ) -> list[tuple[Tracked, Node]]:
        """The references of one track_... block with the trackers' own weights filled in."""
        block = listed(entries, kind)
        if kind == TRACK_VIRTUAL_SERVER:
            self._context.asks += 1
            return self.servers.resolve(block, owner)
        if kind == "track_interface":
            return [
                (
                    Tracked(
                        name=entry.value.name,
                        weight=entry.value.weight or 0,
                        reverse=bool(entry.value.reverse),
                        position=entry.node.position(),
                    ),
                    entry.node,
                )
                for entry in block
            ]
        tracked = []
        for entry in block:
            ref, node = entry.value, entry.node
            definition = self._find(kind, ref.name, node, owner, order)
            if definition is None or definition.model is None:
                continue
            self.used.add((kind, ref.name))
            model = definition.model
            tracked.append(
                (
                    Tracked(
                        name=ref.name,
                        weight=model.weight if ref.weight is None else ref.weight,
                        reverse=model.reverse if ref.reverse is None else ref.reverse,
                        position=node.position(),
                    ),
                    node,
                )
            )
        return tracked

    def use(
        self, kind: str, name: str, node: Node, owner: str, order: int
    ) -> TrackScript | TrackFile | TrackProcess | None:
        """A tracker that something else than a track_... block refers to; says why there is
        none."""
        self._context.asks += 1
        definition = self._find(kind, name, node, owner, order)
        if definition is None or definition.model is None:
            return None
        self.used.add((kind, name))
        return definition.model

    @property
    def given(self) -> str:
        """What a reference takes from the tracker that it names, of all of them."""
        return repr(
            [
                (kind, name, model.weight, model.reverse)
                for kind, definitions in self.known.items()
                for name, (model, _, _) in definitions.items()
                if model is not None
            ]
        )

    def refer(self, instance: VrrpInstance, order: int) -> bool:
        """`resolve` once more for an instance that was not read; false if there would be something
        to say."""
        for kind, known in self.known.items():
            for tracked in getattr(instance, kind):
                definition = known.get(tracked.name)
                if definition is None or definition.model is None or definition.order > order:
                    return False
                self.used.add((kind, tracked.name))
        return True

    def _find(self, kind: str, name: str, node: Node, owner: str, order: int) -> Definition | None:
        known = self.known[kind]
        definition = known.get(name)
        if definition is None:
            self._context.error(
                node,
                f"{owner}: there is no {DEFINED_BY[kind]} {shown(name)}",
                suggestion(name, known) or f"define {DEFINED_BY[kind]} {name} above",
            )
        elif definition.order > order:
            self._context.warning(
                node,
                f"{owner}: {DEFINED_BY[kind]} {shown(name)} is defined below, keepalived "
                "would ignore it",
                "move the definition above this block",
            )
        elif definition.model is None:
            self._context.warning(
                node,
                f"{owner}: {shown(name)} is not tracked, because it cannot work",
                f"correct {DEFINED_BY[kind]} {name}",
            )
        return definition

    def finish(
        self,
    ) -> tuple[tuple[TrackScript, ...], tuple[TrackFile, ...], tuple[TrackProcess, ...]]:
        """What is used, in the order of the file; the rest is dropped, with a warning."""
        scripts: list[TrackScript] = []
        files: list[TrackFile] = []
        processes: list[TrackProcess] = []
        for kind, definitions in self.known.items():
            for name, (model, node, _) in definitions.items():
                if model is None:
                    continue
                if (kind, name) not in self.used:
                    self._context.warning(
                        node,
                        f"{node.words[0]} {shown(name)} is not used",
                        f"name it in a {kind} block, or remove it",
                        word=1,
                    )
                elif isinstance(model, TrackScript):
                    scripts.append(model)
                elif isinstance(model, TrackFile):
                    files.append(model)
                else:
                    processes.append(model)
        return tuple(scripts), tuple(files), tuple(processes)
