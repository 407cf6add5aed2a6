"""A valid configuration as the supervisor keeps it: what it needs itself, and each child's part.

The parts are bytes (`config.compact`), a thousandth of the parser's memory. No
child gets what is not its own: a router need not know of 37,000 real servers.
"""

from collections.abc import Iterable, Mapping
from typing import Self

import msgspec

from fastvrrp.config import compact, model, servers
from fastvrrp.config.memory import Last, digest
from fastvrrp.config.packing import PackedServer
from fastvrrp.config.taken import TakenServer, in_bytes
from fastvrrp.supervisor.roles import IPVS, VRRP

WORTH_PACKING = 96 * 1024  # bytes; of less zlib takes as much as it saves


class Stowed(msgspec.Struct, array_like=True, gc=False):
    """Bytes that are used when a child dies or a file is read again, and otherwise only kept.
    `pack` compresses them; what they say never changes."""

    data: bytes = b""
    is_packed: bool = False

    def get(self) -> bytes:
        """As they were. Raises ValueError if they are not what they were."""
        if not self.is_packed:
            return self.data
        import zlib  # `pack` has loaded it

        try:
            return zlib.decompress(self.data)
        except zlib.error as exc:
            raise ValueError(f"what was kept in memory is damaged: {exc}") from exc

    def pack(self) -> None:
        if self.is_packed:
            return
        import zlib  # a start has no use for it

        try:
            packed = zlib.compress(self.data, 1)
        except MemoryError:
            return  # the next time perhaps
        if len(packed) < len(self.data):
            self.data, self.is_packed = packed, True


_NOTHING = compact.encode(model.Configuration())


class Part(model.Struct):
    """What one child gets. The defaults are those of a child that has nothing to do."""

    needed: bool = False  # there is work for the process
    data: Stowed = msgspec.field(default_factory=lambda: Stowed(_NOTHING))
    count: int = 0  # of instances or virtual servers
    commands: tuple[model.Command, ...] = ()  # that it may have run, each once
    follows: tuple[str, ...] = ()  # instances or virtual servers whose state it wants to know
    by_time: bool = False  # its loop has work of its own: what hangs there harms at once

    def decode(self) -> model.Configuration:
        """The configuration of the routers, without places in files; the other process reads its
        own with `ipvs.decoding`. Raises msgspec.MsgspecError, ValueError."""
        return compact.decode(self.data.get())


class Held(model.Struct):
    """A configuration, in parts."""

    global_defs: model.GlobalDefs
    source_files: tuple[str, ...]
    namespace_ipvs: str | None  # in which the IPVS process works, where that is another one
    parts: dict[str, Part]  # by name of the role (roles.Role)
    # for the next reading, see config.remembered
    memory: Stowed = msgspec.field(default_factory=Stowed)
    check: bytes = b""  # of the memory and what belongs to it, see Last

    @classmethod
    def of(
        cls, configuration: model.Configuration, *, only: str | None = None, memory: bytes = b""
    ) -> Self:
        """`only`: name of the one role that is run; the others have nothing to do."""
        makers = {VRRP.name: vrrp_part, IPVS.name: ipvs_part}
        parts = {name: Part() for name in makers} | {
            name: make(configuration, alone=name == only)
            for name, make in makers.items()
            if only in (None, name)
        }
        return cls(
            global_defs=configuration.global_defs,
            source_files=configuration.source_files,
            namespace_ipvs=configuration.ipvs.net_namespace,
            parts=parts,
            memory=Stowed(memory),
            check=_digest(memory, parts) if memory else b"",
        )

    def last(self) -> bytes:
        """What the next reader gets of it; nothing where nothing is to be taken over."""
        try:
            memory = self.memory.get()
            ipvs, vrrp = self.parts[IPVS.name].data.get(), self.parts[VRRP.name].data.get()
            return msgspec.msgpack.encode(Last(memory, ipvs, vrrp, self.check)) if memory else b""
        except ValueError:
            return b""  # as the reader does with what is not what it was
        except MemoryError:
            return b""  # everything is read then

    def pack(self) -> None:
        """Keep it in little memory; who has a part of it has it so, too."""
        stowed = [self.memory, *(part.data for part in self.parts.values())]
        if sum(len(one.data) for one in stowed) >= WORTH_PACKING:
            for one in stowed:
                one.pack()


def _digest(memory: bytes, parts: Mapping[str, Part]) -> bytes:
    return digest(memory, parts[IPVS.name].data.get(), parts[VRRP.name].data.get())


def dropped(configuration: model.Configuration, only: str | None) -> list[model.Message]:
    """Warnings about what links both processes, when only one of them is run."""
    messages = []

    def tell(position: model.Position | None, text: str, hint: str) -> None:
        if position is None:
            position = model.Position(file=(*configuration.source_files, "")[0], line=1)
        severity = model.Severity.WARNING
        messages.append(model.Message(position=position, severity=severity, text=text, hint=hint))

    if only == VRRP.name:
        owners: list[model.VrrpInstance | model.SyncGroup] = [*configuration.vrrp_instances]
        owners += configuration.sync_groups
        for owner in owners:
            for tracked in owner.track_virtual_server:
                tell(
                    tracked.position or owner.position,
                    f"{owner.name}: virtual server {tracked.name} is not tracked: "
                    "no virtual server is run",
                    "remove `--only vrrp`, or track_virtual_server",
                )
    sync = configuration.ipvs.sync_daemon
    if only == IPVS.name and sync is not None and sync.instance is not None:
        tell(
            None,
            f"lvs_sync_daemon does not follow {sync.instance}: no instance is run",
            "remove `--only ipvs`, or the instance: master and backup run both then",
        )
    return messages


def vrrp_part(configuration: model.Configuration, *, alone: bool) -> Part:
    """What the VRRP process gets: everything but the virtual servers.

    Alone it does not track any: nobody would ever say how they are.
    """
    if alone:
        configuration = _without_servers(configuration)
    defs = configuration.global_defs
    commands: list[model.Command | None] = [s.command for s in configuration.track_scripts]
    notifies = [i.notify for i in configuration.vrrp_instances]
    notifies += [g.notify for g in configuration.sync_groups]
    for notify in {id(notify): notify for notify in notifies}.values():  # mostly one for all
        commands += [
            notify.notify,
            notify.notify_master,
            notify.notify_backup,
            notify.notify_fault,
            notify.notify_stop,
            notify.notify_deleted,
            notify.notify_master_rx_lower_pri,
        ]
    commands += _fifo_scripts(defs.vrrp_notify_fifo)
    owners: list[model.VrrpInstance | model.SyncGroup] = [*configuration.vrrp_instances]
    owners += configuration.sync_groups
    tracked = [tracking for one in owners if (tracking := one.track_virtual_server)]
    part = msgspec.structs.replace(
        configuration, global_defs=_without_reader(defs), ipvs=servers.Ipvs()
    )
    return Part(
        needed=_has_vrrp(configuration),
        count=len(configuration.vrrp_instances),
        data=Stowed(compact.encode(part)),
        commands=_distinct(commands),
        follows=tuple({one.name: None for servers_of in tracked for one in servers_of}),
        by_time=bool(
            configuration.track_scripts
            or configuration.track_files
            or configuration.track_processes
            or defs.log_unknown_vrids
        ),
    )


def _without_servers(configuration: model.Configuration) -> model.Configuration:
    return msgspec.structs.replace(
        configuration,
        vrrp_instances=tuple(
            msgspec.structs.replace(instance, track_virtual_server=())
            for instance in configuration.vrrp_instances
        ),
        sync_groups=tuple(
            msgspec.structs.replace(group, track_virtual_server=())
            for group in configuration.sync_groups
        ),
    )


def ipvs_part(configuration: model.Configuration, *, alone: bool) -> Part:
    """What the IPVS process gets: global settings, tracked files and the virtual servers."""
    ipvs = configuration.ipvs
    virtual_servers = in_bytes(ipvs.virtual_servers)
    sync = ipvs.sync_daemon
    defs = configuration.global_defs
    commands: list[model.Command | None] = []
    for taken in ipvs.virtual_servers:
        if isinstance(taken, TakenServer):
            commands += taken.commands()
    for server in virtual_servers:
        if not isinstance(server, PackedServer):
            continue  # one of those
        commands += [server.quorum_up, server.quorum_down]
        for real in server.patterns:
            commands += [real.notify_up, real.notify_down]
            commands += [c.command for c in real.checks if isinstance(c, servers.MiscCheck)]
    commands += _fifo_scripts(defs.lvs_notify_fifo)
    part = model.Configuration(
        global_defs=_without_reader(defs),
        track_files=configuration.track_files,
        ipvs=msgspec.structs.replace(ipvs, virtual_servers=virtual_servers),
        source_files=configuration.source_files,
    )
    return Part(
        count=len(ipvs.virtual_servers),
        needed=bool(ipvs.virtual_servers or sync or ipvs.timeouts != servers.Timeouts()),
        data=Stowed(compact.encode(part)),
        commands=_distinct(commands),
        follows=() if sync is None or sync.instance is None else (sync.instance,),
        by_time=True,
    )


def _has_vrrp(configuration: model.Configuration) -> bool:
    return bool(
        configuration.vrrp_instances
        or configuration.static_addresses
        or configuration.static_routes
        or configuration.static_rules
    )


def _without_reader(defs: model.GlobalDefs) -> model.GlobalDefs:
    """The reader of the common notify_fifo is the supervisor's (`common_fifo`)."""
    if defs.notify_fifo is None:
        return defs
    common = msgspec.structs.replace(defs.notify_fifo, script=None)
    return msgspec.structs.replace(defs, notify_fifo=common)


def _fifo_scripts(*fifos: model.Fifo | None) -> list[model.Command | None]:
    return [fifo.script for fifo in fifos if fifo is not None]


def _distinct(commands: Iterable[model.Command | None]) -> tuple[model.Command, ...]:
    """Without their places, which are not known of all."""
    found = {(command.argv, command.account) for command in commands if command is not None}
    return tuple(
        model.Command(argv=argv, account=account) for argv, account in sorted(found, key=repr)
    )
