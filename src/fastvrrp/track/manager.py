"""All trackers of a configuration, and what they do to each instance.

`Trackers` owns the scripts, the process and the file watcher, and is told of virtual servers,
which another process checks. Whenever the sum of soft weights
or the set of fault reasons of an instance changes it calls `on_change` once per turn of the event
loop, however many trackers changed in it. Interface tracking is not here: the core does it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from fastvrrp.config import model
from fastvrrp.track.file import FileWatcher, initialise
from fastvrrp.track.process import ProcessWatcher
from fastvrrp.track.runner import Runner, resolve
from fastvrrp.track.script import ScriptTracker
from fastvrrp.track.weights import NO_EFFECT, Binding, Effect, Kind, bindings_of, total

log = logging.getLogger(__name__)

JITTER_ABOVE = 50  # scripts: from here on first runs are spread out
JITTER_MAX_NS = model.NS_PER_S

OnChange = Callable[[str, int, int], None]

_SERVER_STATES = {
    True: ("up", "has quorum"),
    False: ("down", "has no quorum"),
    None: ("unknown", ""),
}


class Trackers:
    """Trackers of one configuration.

    Construction reads tracked files (creating those with `init_file`) and counts processes, so
    `initial` can be asked before `start`. Everything else happens in the running loop.
    """

    def __init__(
        self,
        config: model.Configuration,
        runner: Runner,
        on_change: OnChange,
        *,
        servers: Mapping[str, bool] = MappingProxyType({}),
        statics: Mapping[str, bool] = MappingProxyType({}),
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`on_change(instance_name, adjust, fault_bits)`; `servers` tells of virtual servers by
        name whether they have quorum, as far as it is known, and may change (`server_changed`);
        `statics` the same of track_groups, whether their objects are there, where unknown means
        yes; `clock` is monotonic nanoseconds."""
        self._servers = servers
        self._statics = statics
        self._runner = runner
        self._on_change = on_change
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush_handle: asyncio.Handle | None = None
        self._dirty: set[str] = set()
        self._bindings: dict[str, tuple[Binding, ...]] = {}
        self._dependents: dict[tuple[Kind, str], list[str]] = {}
        self._reported: dict[str, Effect] = {}
        self._bind(config)
        for definition in self._used_files(config):
            initialise(definition)
        self._files = FileWatcher(self._used_files(config), self._file_changed)
        self._processes = ProcessWatcher(
            self._used_processes(config), self._process_changed, clock=clock
        )
        self._scripts = {
            definition.name: self._script(definition, config)
            for definition in self._used_scripts(config)
        }
        for name in self._bindings:
            self._reported[name] = self._effect(name)

    def initial(self, instance_name: str) -> tuple[int, int]:
        """(adjust, fault bits) of an instance now; (0, 0) for a name without trackers.

        `on_change` tells of differences from what was returned here.
        """
        if instance_name not in self._bindings:
            self._reported.pop(instance_name, None)
            return NO_EFFECT
        effect = self._reported[instance_name] = self._effect(instance_name)
        return effect

    async def start(self) -> None:
        """Begin to run scripts and to follow files and processes."""
        self._loop = asyncio.get_running_loop()
        self._files.start()
        self._processes.start()
        self._start_scripts(list(self._scripts.values()))
        self._mark(self._bindings)

    async def reload(self, new_config: model.Configuration) -> None:
        """Follow another configuration.

        A script with the same name, arguments and account keeps its result, its counter scaled to
        the new rise and fall; one whose definition is the same altogether goes on undisturbed.
        Afterwards `on_change` tells what became different for instances that were here before;
        for new ones ask `initial`.
        """
        # Between here and the end bindings and trackers do not belong together.
        loop, self._loop = self._loop, None
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        self._bind(new_config)
        fresh = await self._reload_scripts(new_config)
        files = self._used_files(new_config)
        if files != self._files.definitions:
            await self._files.redefine(files)
        processes = self._used_processes(new_config)
        if processes != self._processes.definitions:
            await self._processes.redefine(processes)
        for name in self._bindings.keys() - self._reported.keys():
            self._reported[name] = self._effect(name)
        names = {instance.name for instance in new_config.vrrp_instances}
        for name in self._reported.keys() - self._bindings.keys():
            if name not in names or self._reported[name] == NO_EFFECT:
                del self._reported[name]
        self._loop = loop
        if loop is not None:
            self._start_scripts(fresh)
            self._mark(self._reported)

    async def _reload_scripts(self, config: model.Configuration) -> list[ScriptTracker]:
        """Replace the scripts; returns those still to be started."""
        old_scripts = self._scripts
        scripts: dict[str, ScriptTracker] = {}
        fresh: list[ScriptTracker] = []
        for definition in self._used_scripts(config):
            name = definition.name
            command = self._command(definition, config)
            old = old_scripts.get(name)
            if old is not None and not _same_command(old.command, command):
                old = None
            if old is not None and old.definition == definition:
                scripts[name] = old
                continue
            scripts[name] = self._script(definition, config, old)
            fresh.append(scripts[name])
        self._scripts = scripts
        ending = [old for name, old in old_scripts.items() if scripts.get(name) is not old]
        await asyncio.gather(*(old.stop() for old in ending))
        return fresh

    async def stop(self) -> None:
        """Stop following, killing scripts that run. `on_change` is not called any more."""
        await asyncio.gather(*(tracker.stop() for tracker in self._scripts.values()))
        await self._files.stop()
        await self._processes.stop()
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        self._loop = None

    def status(self) -> list[dict[str, object]]:
        """Every tracker with its state, for the control socket."""
        return [
            *(tracker.status() for tracker in self._scripts.values()),
            *self._processes.status(),
            *self._files.status(),
            *self._server_status(),
            *self._static_status(),
        ]

    def _server_status(self) -> Iterator[dict[str, object]]:
        for kind, name in self._dependents:
            if kind is Kind.SERVER:
                state, words = _SERVER_STATES[self._servers.get(name)]
                yield {"kind": kind.value, "name": name, "state": state, "last_result": words}

    def _static_status(self) -> Iterator[dict[str, object]]:
        for kind, name in self._dependents:
            if kind is Kind.STATIC:
                state = self._statics.get(name, True)
                words = "" if state else "a static object is lost"
                up = "up" if state else "down"
                yield {"kind": kind.value, "name": name, "state": up, "last_result": words}

    def static_changed(self, name: str) -> None:
        """What `statics` says of a track_group is something else now."""
        self._changed(Kind.STATIC, name)

    @property
    def servers(self) -> set[str]:
        """The virtual servers that are tracked."""
        return {name for kind, name in self._dependents if kind is Kind.SERVER}

    def server_changed(self, name: str) -> None:
        """What `servers` says of a virtual server is something else now."""
        self._changed(Kind.SERVER, name)

    # ------------------------------------------------------------------ configuration

    def _bind(self, config: model.Configuration) -> None:
        groups = {group.name: group for group in config.sync_groups}
        self._bindings = {}
        self._dependents = {}
        for instance in config.vrrp_instances:
            group = None if instance.sync_group is None else groups.get(instance.sync_group)
            bindings = bindings_of(instance, group)
            if bindings:  # of thousands, most have none
                self._bindings[instance.name] = bindings
            for binding in bindings:
                key = (binding.kind, binding.name)
                self._dependents.setdefault(key, []).append(instance.name)

    def _used_scripts(self, config: model.Configuration) -> list[model.TrackScript]:
        used = [d for d in config.track_scripts if (Kind.SCRIPT, d.name) in self._dependents]
        return [_unplaced(d) for d in used]

    def _used_processes(self, config: model.Configuration) -> list[model.TrackProcess]:
        used = [d for d in config.track_processes if (Kind.PROCESS, d.name) in self._dependents]
        return [msgspec.structs.replace(d, position=None) for d in used]

    def _used_files(self, config: model.Configuration) -> list[model.TrackFile]:
        used = [d for d in config.track_files if (Kind.FILE, d.name) in self._dependents]
        return [msgspec.structs.replace(d, position=None) for d in used]

    def _command(self, definition: model.TrackScript, config: model.Configuration) -> model.Command:
        return resolve(definition.command, config.global_defs.script_account)

    def _script(
        self,
        definition: model.TrackScript,
        config: model.Configuration,
        previous: ScriptTracker | None = None,
    ) -> ScriptTracker:
        name = definition.name
        return ScriptTracker(
            definition,
            self._command(definition, config),
            self._runner,
            lambda: self._changed(Kind.SCRIPT, name),
            clock=self._clock,
            previous=previous,
        )

    @staticmethod
    def _start_scripts(trackers: list[ScriptTracker]) -> None:
        if len(trackers) <= JITTER_ABOVE:
            for tracker in trackers:
                tracker.start(0)
            return
        import random  # slow to load, and rarely needed

        for tracker in trackers:
            tracker.start(random.randrange(JITTER_MAX_NS))

    # ------------------------------------------------------------------ changes

    def _state(self, kind: Kind, name: str) -> bool | int | None:
        match kind:
            case Kind.SCRIPT:
                return self._scripts[name].up
            case Kind.PROCESS:
                return self._processes.up(name)
            case Kind.FILE:
                return self._files.value(name)
            case Kind.SERVER:
                return self._servers.get(name)
            case Kind.STATIC:
                return self._statics.get(name, True)

    def _effect(self, instance_name: str) -> Effect:
        bindings = self._bindings.get(instance_name)
        return NO_EFFECT if bindings is None else total(bindings, self._state)

    def _file_changed(self, name: str) -> None:
        self._changed(Kind.FILE, name)

    def _process_changed(self, name: str) -> None:
        self._changed(Kind.PROCESS, name)

    def _changed(self, kind: Kind, name: str) -> None:
        self._mark(self._dependents.get((kind, name), ()))

    def _mark(self, instance_names: Iterable[str]) -> None:
        self._dirty.update(instance_names)
        if self._loop is not None and self._flush_handle is None and self._dirty:
            self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_handle = None
        dirty, self._dirty = self._dirty, set()
        for name in sorted(dirty & self._reported.keys()):
            effect, old = self._effect(name), self._reported[name]
            if name in self._bindings:
                self._reported[name] = effect
            else:
                del self._reported[name]  # it has lost its trackers
            if effect != old:
                self._on_change(name, effect.adjust, effect.fault)


def _same_command(one: model.Command, other: model.Command) -> bool:
    return one.argv == other.argv and one.account == other.account


def _unplaced(definition: model.TrackScript) -> model.TrackScript:
    """The definition without what moving it in the file changes."""
    command = msgspec.structs.replace(definition.command, position=None)
    return msgspec.structs.replace(definition, position=None, command=command)
