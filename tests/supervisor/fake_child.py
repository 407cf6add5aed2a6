"""A child that speaks the channel and behaves as its plan says; what it did goes to a file.

Called with the name of a role. FAKE_PLAN is a JSON object with a list for each role, of one
behaviour per life; the last one repeats: run, crash, kill, hang, hang-later, stuck-engine, refuse,
refuse-reload, crash-on-reload, permission, slow-stop, slow-goodbye, deaf. FAKE_LOG is the directory
of the files, which are called ROLE.log.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastvrrp.config import model
from fastvrrp.control.protocol import NOT_FOUND, ControlError
from fastvrrp.supervisor import pulse
from fastvrrp.supervisor.link import Arguments, ConfigurationRefused, Link, adopt
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.supervisor.roles import IPVS, VRRP
from fastvrrp.track.runner import RunnerClient, resolve

ROLE = {"vrrp": VRRP, "ipvs": IPVS}[sys.argv[1]]
LOG = Path(os.environ["FAKE_LOG"]) / f"{ROLE.name}.log"
PLAN = json.loads(os.environ["FAKE_PLAN"])[ROLE.name]


def note(*words: object) -> None:
    with LOG.open("a") as file:
        file.write(f"{time.monotonic():.6f} {os.getpid()} {' '.join(map(str, words))}\n")


def behaviour() -> str:
    lives = LOG.read_text().count(" born") if LOG.exists() else 0
    note("born")
    return PLAN[min(lives, len(PLAN) - 1)]


class Fake:
    def __init__(self, arguments: Arguments) -> None:
        self.plan = ""
        self.configuration = model.Configuration()
        self.runner = RunnerClient(arguments.scripts)
        self.engine = pulse.Page(arguments.pulse.page)
        self.alarm = arguments.pulse.alarm
        self.link = Link(arguments, self, role=ROLE, on_states=self.states)
        self.turning = asyncio.create_task(self.turn())

    async def turn(self) -> None:
        """The turns of an engine that sends adverts every 50 ms."""
        while True:
            due_ns = time.monotonic_ns() + 50_000_000
            self.engine.turn(due_ns)
            pulse.set_alarm(self.alarm, due_ns + model.NS_PER_S)
            await asyncio.sleep(0.05)

    async def configure(self, configuration: model.Configuration, epoch: int) -> Sequence[str]:
        if not self.plan:
            self.plan = behaviour()  # born now: before, it may turn out not to be needed
        instances = [instance.name for instance in configuration.vrrp_instances]
        servers = [server.name for server in configuration.ipvs.virtual_servers]
        note("configure", epoch, *instances, *servers)
        assert not (servers if ROLE is VRRP else instances), "what is not its own"
        names = instances or servers
        reload = self.configuration != model.Configuration()
        if self.plan == "refuse" or (self.plan == "refuse-reload" and reload):
            raise ConfigurationRefused("it does not please me")
        if self.plan == "permission":
            os._exit(4)
        if self.plan == "crash" or (self.plan == "crash-on-reload" and reload):
            self.link.states([InstanceState(name, "MASTER") for name in names])
            os._exit(9)
        self.configuration = configuration
        if ROLE is VRRP:
            self.link.states([InstanceState(name, "MASTER", "192.0.2.1") for name in names])
        else:
            self.link.summary(f"{len(names)} virtual servers")
        if not reload:
            self.link.ready()
        if self.plan == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.plan == "stuck-engine":
            self.turning.cancel()
        if self.plan == "hang-later":
            self.rest()
            asyncio.get_running_loop().call_later(0.5, self.hang)
        if self.plan == "hang":
            asyncio.get_running_loop().call_later(0.1, time.sleep, 1000)
        return [f"{'instances' if ROLE is VRRP else 'servers'}: {' '.join(names)}"]

    def states(self, states: Sequence[InstanceState]) -> None:
        for state in states:
            note("follows", state.name, state.state)

    def hang(self) -> None:
        note("hanging")
        time.sleep(1000)

    async def stop(self) -> None:
        note("stop")
        if self.plan == "slow-goodbye":
            await asyncio.sleep(0.3)
            note("handed over")  # before: who hears of it is quick to write his own note
            self.link.handed_over()
            await asyncio.sleep(0.5)
        if self.plan == "slow-stop":
            await asyncio.sleep(1000)
        self.rest()

    def rest(self) -> None:
        """An engine with nothing to do."""
        self.turning.cancel()
        self.engine.turn(pulse.NEVER_NS)
        pulse.set_alarm(self.alarm, 0)

    async def dump(self, kind: str, path: Path) -> None:
        path.write_text(kind)  # noqa: ASYNC240 (a fake may block)
        note("dump", kind)

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        if self.plan == "deaf":
            await asyncio.sleep(1000)
        name = params.get("name")
        names = [instance.name for instance in self.configuration.vrrp_instances]
        names += [server.name for server in self.configuration.ipvs.virtual_servers]
        if name is not None and name not in names:
            raise ControlError(NOT_FOUND, f"no {name}")
        if ROLE is IPVS:
            return {"virtual_servers": [{"name": n} for n in names if name in (None, n)]}
        if method == "counters":
            defs = self.configuration.global_defs
            command = resolve(self.configuration.track_scripts[0].command, defs.script_account)
            if "argv" in params:
                command = model.Command(argv=tuple(params["argv"]), account=command.account)
            result = await self.runner.run(command, timeout_ns=5 * model.NS_PER_S)
            return {"script": str(result)}
        instances = [{"name": n, "pad": "x" * 100_000} for n in names]
        return {"instances": instances, "groups": [], "trackers": [], "engine": {}, "lateness": {}}

    def subscribe(self, on: bool) -> None:
        note("subscribe", on)
        if on:
            self.link.event({"kind": "state", "instance": "V1", "from": "BACKUP", "to": "MASTER"})


async def main(arguments: Arguments) -> None:
    fake = Fake(arguments)
    await fake.link.closed()
    note("end")


if __name__ == "__main__":
    asyncio.run(main(adopt(sys.argv[2:], role=ROLE)))
