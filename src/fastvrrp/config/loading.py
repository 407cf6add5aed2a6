"""One load of a configuration, until the model is made of it.

First the files become a tree of statements (source.py, build.py), then the keyword table turns
blocks into values (blocks.py), then the values become the model, in the order in which one
depends on the other: scripts, trackers, virtual servers, groups' members, instances, groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fastvrrp.config import alike
from fastvrrp.config.addresses import distinct, read_addresses, read_static_addresses
from fastvrrp.config.addressing import read_peers
from fastvrrp.config.blocks import (
    Entries,
    LineReader,
    block_name,
    get,
    has_body,
    read_block,
    unknown_keyword,
    warn_effect,
)
from fastvrrp.config.build import Builder
from fastvrrp.config.context import Context
from fastvrrp.config.defaults import Defaults
from fastvrrp.config.delays import bounded, read_delays
from fastvrrp.config.diagnostics import (
    ERRORS_MAX,
    Diagnostics,
    TooManyErrors,
    in_order,
    shown,
)
from fastvrrp.config.expand import Definitions
from fastvrrp.config.files import read_files
from fastvrrp.config.global_defs import (
    INSTANCE_DEFAULTS,
    SERVER_DEFAULTS,
    GarpGroups,
    build,
    merge,
)
from fastvrrp.config.groups import RawGroup, assign_members, build_group
from fastvrrp.config.host import HostInfo
from fastvrrp.config.include import Checks
from fastvrrp.config.instance import RawInstance
from fastvrrp.config.instances import Instances
from fastvrrp.config.ipvsglobals import ipvs_settings, sync_daemon
from fastvrrp.config.keeping import Origin
from fastvrrp.config.keywords import TOP, Keyword, table
from fastvrrp.config.linkbeat import read_linkbeat
from fastvrrp.config.lint import lint
from fastvrrp.config.model import (
    Configuration,
    Loaded,
    Message,
    Severity,
    VirtualAddress,
    VrrpInstance,
)
from fastvrrp.config.node import Node
from fastvrrp.config.remembered import Blocks
from fastvrrp.config.routes import read_routes, read_static_routes
from fastvrrp.config.rules import read_rules, read_static_rules
from fastvrrp.config.scripts import Scripts
from fastvrrp.config.servers import VirtualServer
from fastvrrp.config.servertracking import TrackedServers, read_server_references
from fastvrrp.config.servicegroups import ServiceGroup, check_conflicts, read_group
from fastvrrp.config.source import Source
from fastvrrp.config.taken import runs_programs
from fastvrrp.config.tolerance import Omissions
from fastvrrp.config.trackers import Trackers, read_references
from fastvrrp.config.trackgroups import TrackGroups
from fastvrrp.config.virtualservers import RawVirtualServer, VirtualServers
from fastvrrp.config.vrids import check_addresses, check_vrids

_LINES: dict[str, LineReader] = {
    "addresses": read_addresses,
    "routes": read_routes,
    "rules": read_rules,
    "peers": read_peers,
    "trackers": read_references,
    "servers": read_server_references,
}
_STATIC_LINES: dict[str, LineReader] = {
    "addresses": read_static_addresses,
    "routes": read_static_routes,
    "rules": read_static_rules,
    "delays": read_delays,
    "linkbeat": read_linkbeat,
}


class Loader:
    """One load: what the blocks said, until the model is made of it."""

    def __init__(self, host: HostInfo, net_namespace: str | None, blocks: Blocks) -> None:
        self.net_namespace = net_namespace
        self.blocks = blocks
        self.diagnostics = Diagnostics()
        self.context = Context(self.diagnostics, host)
        self.scripts = Scripts(self.context)
        self.trackers = Trackers(self.context, self.scripts)
        self.garp_groups = GarpGroups(self.context)
        self.top: Entries = {}
        self.globals: Entries = {}
        self.defaults = Defaults({})
        self.instances: dict[str, RawInstance] = {}
        self.groups: dict[str, RawGroup] = {}
        self.virtual_servers: list[RawVirtualServer] = []
        self.count = 0  # of blocks
        self.parsed: dict[str, int] = {}  # blocks that were not taken over, by their keyword
        self.servers_read: list[Origin | None] = []  # see Blocks.memory; None: to be read again
        self.instances_read: list[Origin | None] = []
        self.service_groups: dict[str, ServiceGroup] = {}
        self.tls: Entries = {}
        self.definitions: list[tuple[str, str, int, Node, Entries]] = []
        self.statics: dict[str, list[Any]] = {}
        self.track_groups = TrackGroups(self.context)

    def load(
        self,
        path: Path,
        config_id: str,
        definitions: Definitions,
        checks: Checks,
        omissions: Omissions | None,
    ) -> Loaded:
        builder = Builder(self.diagnostics)
        self.context.is_tolerant = omissions is not None
        blocks = self.blocks
        source = Source(
            self.diagnostics,
            builder,
            definitions,
            config_id,
            checks=checks,
            blocks=blocks,
            shapes=alike.Shapes() if blocks.is_first and omissions is None else None,
            one_by_one=omissions is not None,
        )
        blocks.attend(self.diagnostics, definitions, self.scripts, source.includes)
        configuration = None
        exhausted: tuple[Message, ...] = ()
        try:
            read_files(path, source, builder, self.diagnostics, config_id)
            if omissions is not None and not source.is_lacking:
                omissions.apply(self.diagnostics, builder.root)
            named = any(node.words[0] == "net_namespace" for node in builder.root)
            if named or self.net_namespace is not None:
                self.context.leave_namespace()
            blocks.check(self.context)
            self.count, self.parsed = blocks.parsed(builder.root)
            for order, node in enumerate(builder.root):
                self._statement(node, order)
            configuration = self._configuration(source)
        except TooManyErrors:
            at = self.diagnostics.messages[-1].position
            text = f"{ERRORS_MAX} errors, no more are looked for"
            exhausted = (Message(position=at, severity=Severity.ERROR, text=text),)
        if self.diagnostics.errors:
            configuration = None
        messages = in_order(self.diagnostics.messages, [str(f) for f in source.includes.files])
        return Loaded(configuration=configuration, messages=(*messages, *exhausted))

    def memory(self, config_id: str) -> bytes:
        """What to remember of a load without errors, if there will be a next one."""
        if self.diagnostics.errors or not self.blocks.keeps:
            return b""
        return self.blocks.memory(
            config_id,
            self.context,
            self.trackers,
            self.scripts,
            self.servers_read,
            self.instances_read,
        )

    def _statement(self, node: Node, order: int) -> None:
        """One statement outside all blocks."""
        if type(node.body) is alike.Alike:
            self._instance(node.words[1], node, order)
            return
        context = self.context
        keyword = table()[TOP].get(node.words[0])
        if keyword is None:
            unknown_keyword(context, node, table()[TOP], TOP)
            return
        if not keyword.type.startswith(("block", "lines")):
            # Read through the same code as any other keyword, as a block of one statement.
            single = Node((TOP,), node.file, node.line, node.text, body=[node])
            self.top.update(read_block(context, single, TOP, _LINES))
            return
        if keyword.aliases or keyword.effect != "done":
            warn_effect(context, node, keyword)
        if not has_body(context, node):
            return
        name = ""
        if keyword.type == "block:name":
            given = block_name(context, node)
            if given is None:
                return
            name = given
        elif len(node.words) > 1 and keyword.type != "block:words" and keyword.effect == "done":
            context.extra(node, 1)
        self._block(node, order, keyword, name)

    def _block(self, node: Node, order: int, keyword: Keyword, name: str) -> None:
        kind = keyword.keyword
        if kind == "vrrp_instance":
            self._instance(name, node, order)
            return
        if kind == "virtual_server":
            self.virtual_servers.append(RawVirtualServer(node, self.defaults, order))
            return
        if kind == "virtual_server_group":
            if self._is_new(self.service_groups, name, node):
                self.service_groups[name] = read_group(self.context, node, name)
            return
        if keyword.type.startswith("lines"):
            reader = _STATIC_LINES.get(keyword.type.partition(":")[2])
            if reader is not None:
                self.statics.setdefault(kind, []).extend(reader(self.context, node))
            return
        entries = read_block(self.context, node, kind, _LINES, effective=keyword.effect == "done")
        if kind == "vrrp_sync_group":
            if not self._is_new(self.groups, name, node):
                return
            self.groups[name] = RawGroup(name, node, entries, self.defaults, order)
        elif kind == "global_defs":
            self._global_defs(node, entries)
        elif kind == "SSL":
            if self.tls:
                self.context.warning(node, "SSL again: the one above is forgotten", "keep one")
            self.tls = entries
        elif kind == "garp_group":
            self.garp_groups.add(node, entries)
        elif kind == "track_group":
            self.track_groups.add(name, node, entries)
        elif keyword.effect == "done":
            self.definitions.append((kind, name, order, node, entries))

    def _instance(self, name: str, node: Node, order: int) -> None:
        if self._is_new(self.instances, name, node):
            self.instances[name] = RawInstance(name, node, self.defaults, order)

    def _is_new(
        self, known: Mapping[str, RawInstance | RawGroup | ServiceGroup], name: str, node: Node
    ) -> bool:
        if name not in known:
            return True
        first = known[name].node.position()
        self.context.error(
            node,
            f"{node.words[0]} {shown(name)} is defined already",
            f"the first one is at {first.file}:{first.line}; give this one another name",
            word=1,
        )
        return False

    def _global_defs(self, node: Node, entries: Entries) -> None:
        for defaults, whom, is_above in (
            (INSTANCE_DEFAULTS, "instances", self.instances or self.groups),
            (SERVER_DEFAULTS, "virtual servers", self.virtual_servers),
        ):
            late = defaults & entries.keys()
            if late and is_above:
                first = min(late)
                self.context.warning(
                    entries[first].node,
                    f"{first} does not reach the {whom} above this line",
                    "move global_defs to the beginning",
                )
        self.globals = merge(self.globals, entries)
        self.defaults = Defaults(self.globals)
        if "script_user" in entries and entries["script_user"].value:
            self.scripts.account = entries["script_user"].value
        self.scripts.security |= "enable_script_security" in entries
        self.scripts.supplementary |= get(entries, "set_supplementary_groups", False)
        self.context.names_etc = get(entries, "iproute_etc_dir", self.context.names_etc)
        self.context.names_usr = get(entries, "iproute_usr_dir", self.context.names_usr)

    def _configuration(self, source: Source) -> Configuration:
        context, trackers, scripts = self.context, self.trackers, self.scripts
        global_defs = build(context, self.top, self.globals, scripts)
        self.blocks.check_scripts(scripts)
        if self.net_namespace is not None:
            global_defs = msgspec.structs.replace(global_defs, net_namespace=self.net_namespace)
        add = {
            "vrrp_script": trackers.add_script,
            "track_file": trackers.add_file,
            "vrrp_track_file": trackers.add_file,
            "vrrp_track_process": trackers.add_process,
        }
        for kind, name, order, node, entries in self.definitions:
            add[kind](name, order, node, entries)
        virtual_servers = self._virtual_servers()
        trackers.servers = TrackedServers(context, virtual_servers)
        owners = assign_members(context, self.groups, self.instances)
        made = Instances(context, _LINES, trackers, scripts, self.blocks)
        instances = []
        for kind in ("static_ipaddress", "static_routes", "static_rules"):
            self.statics[kind] = self.track_groups.resolve(self.statics.get(kind, ()))
        followed = self.track_groups.members(self.instances)
        for raw in self.instances.values():
            group = owners.get(raw.name)
            before = self._now()
            weights = group is None or group.weights_allowed
            instance = made.build(
                raw,
                sync_group=group.name if group is not None else None,
                weights_allowed=weights,
            )
            if instance is not None:
                if raw.name in followed:
                    instance = msgspec.structs.replace(instance, track_groups=followed[raw.name])
                instances.append((instance, raw.node))
                self.instances_read.append(self._origin(instance, raw, before, weights=weights))
        built = [build_group(context, group, trackers, scripts) for group in self.groups.values()]
        by_name = {instance.name: instance for instance, _ in instances}
        daemon = sync_daemon(context, self.top, self.globals, by_name, made.sync_daemons)
        ipvs = ipvs_settings(self.top, self.globals, self.tls, daemon, virtual_servers)
        track_scripts, track_files, track_processes = trackers.finish()
        check_vrids(context, instances)
        static_addresses = self._static_addresses(global_defs.default_interface)
        check_addresses(context, instances, static_addresses)
        static_routes = self._static("static_routes")
        groups = {group.name: group for group in built if group is not None}
        lint(context, instances, groups, static_routes)
        return Configuration(
            global_defs=global_defs,
            vrrp_instances=tuple(instance for instance, _ in instances),
            sync_groups=tuple(groups.values()),
            track_scripts=track_scripts,
            track_processes=track_processes,
            track_files=track_files,
            garp_groups=tuple(self.garp_groups.groups),
            interface_delays=bounded(
                context,
                self.statics.get("interface_up_down_delays", ()),
                [instance for instance, _ in instances],
            ),
            static_addresses=static_addresses,
            static_routes=static_routes,
            static_rules=self._static("static_rules"),
            ipvs=ipvs,
            source_files=tuple(str(file) for file in source.includes.files),
        )

    def _virtual_servers(self) -> tuple[VirtualServer, ...]:
        context, groups = self.context, self.service_groups
        make = VirtualServers(context, self.scripts, self.trackers, groups, self.blocks).build
        built: list[tuple[VirtualServer, Node]] = []
        for raw in self.virtual_servers:
            before = self._now()
            server = make(raw)
            if server is not None:
                built.append((server, raw.node))
                self.servers_read.append(self._origin(server, raw, before))
        check_conflicts(context, built)
        for group in groups.values():
            if not group.is_used:
                text = f"virtual_server_group {group.name} is not used"
                hint = f"add virtual_server group {group.name}, or remove it"
                context.warning(group.node, text, hint, word=1)
        return tuple(server for server, _ in built)

    def _now(self) -> tuple[int, int]:
        """What was asked and said so far."""
        return self.context.asks, len(self.diagnostics.messages)

    def _origin(
        self,
        made: VirtualServer | VrrpInstance,
        raw: RawVirtualServer | RawInstance,
        before: tuple[int, int],
        *,
        weights: bool = True,
    ) -> Origin | None:
        """Of what was made since `before`."""
        asks, said = self._now()
        if asks != before[0] or not self.blocks.keeps:
            return None
        has_run = runs_programs(made, raw.node, raw.defaults)
        return Origin(raw.node, raw.defaults, weights, has_run, (before[1], said))

    def _static(self, kind: str) -> Any:
        return tuple(entry.value for entry in self.statics.get(kind, ()))

    def _static_addresses(self, default: str) -> tuple[VirtualAddress, ...]:
        """Without dev they are put on default_interface."""
        addresses = []
        for entry in distinct(self.context, self.statics.get("static_ipaddress", ()), set()):
            address = entry.value
            if address.dev is None:
                self.context.check_interface(entry.node, default, word=0)
                address = msgspec.structs.replace(address, dev=default)
            addresses.append(address)
        return tuple(addresses)
