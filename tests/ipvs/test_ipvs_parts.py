"""The IPVS process's parts together, with a real prober, and what a reload makes anew of them."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from balancing import real, virtual

from fastvrrp.config import model, servers
from fastvrrp.config.base import NS_PER_S
from fastvrrp.config.servers import (
    Connection,
    HttpCheck,
    MiscCheck,
    Schedule,
    TcpCheck,
    UdpCheck,
    Url,
)
from fastvrrp.ipvs import dumps, status
from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.parts import Parts
from fastvrrp.supervisor import pulse
from fastvrrp.supervisor.link import ConfigurationRefused
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.track.runner import Outcome, Result
from looping import FakeRunner, Run, until

SOON = Schedule(delay_loop_ns=NS_PER_S, warmup_ns=0, retry=0)


class Supervisor:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.summaries: list[str] = []
        self.told: dict[str, str] = {}

    def event(self, record: dict[str, Any]) -> None:
        self.events.append(record)

    def summary(self, text: str) -> None:
        self.summaries.append(text)

    def states(self, states: Sequence[InstanceState]) -> None:
        self.told |= {state.name: state.state for state in states}


class Scene:
    """Parts over a table in memory. Use as an asynchronous context manager."""

    def __init__(self, directory: Path, configuration: model.Configuration) -> None:
        self.directory = directory
        self.first = configuration
        self.supervisor = Supervisor()
        self.table = MemoryTable()
        self.pulse = pulse.Ends(pulse.create(), pulse.create_alarm())
        self.page = pulse.Page(self.pulse.page)
        self.runner = FakeRunner()
        self.parts: Parts

    async def __aenter__(self) -> Scene:
        journal = self.directory / "journal"
        self.parts = await Parts.make(
            self.first, journal, self.runner, self.supervisor, pulse=self.pulse, table=self.table
        )
        await self.parts.start(self.first, {})
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.parts.stop(keep_table=False)
        self.page.close()
        for fd in self.pulse:
            os.close(fd)

    def attempts(self, kind: str) -> int:
        """Of all checks of this kind together, in their present lives."""
        snapshot = status.Snapshot(self.parts.plane, {})
        return sum(
            check.get("attempts", 0)
            for running in self.parts.plane.running.values()
            for server in snapshot.virtual_server(running)["servers"]
            for check in server["checks"]
            if check["kind"] == kind
        )


def configuration(
    *virtual_servers: servers.VirtualServer,
    defs: model.GlobalDefs | None = None,
    **ipvs: Any,
) -> model.Configuration:
    return model.Configuration(
        global_defs=defs or model.GlobalDefs(),
        ipvs=servers.Ipvs(virtual_servers=virtual_servers, **ipvs),
    )


def unchecked(number: int) -> servers.RealServer:
    return real(number, checks=())


def local_tcp(port: int) -> TcpCheck:
    return TcpCheck(connection=Connection(address="127.0.0.1", port=port), schedule=SOON)


# ---------------------------------------------------------------------- life


def test_a_life(run: Run, tmp_path: Path) -> None:
    """Summary, events, quorum and pulse, from a real prober's result on."""

    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            first = configuration(virtual(1, real(1, local_tcp(port))), virtual(2, unchecked(2)))
            async with Scene(tmp_path, first) as it:
                told, name = it.supervisor, "[10.1.0.1]:tcp:80"
                assert told.summaries == ["2 virtual servers: 2 up, 2 of 2 real servers up"]
                assert told.told[name] == "UP"
                it.parts.reporter.subscribed = True
                server.close()
                await until(lambda: told.told[name] == "DOWN", limit_s=5)
                await until(lambda: len(told.summaries) == 2, limit_s=5)
                assert told.summaries[1] == "2 virtual servers: 1 up, 1 of 2 real servers up"
                kinds = [(one["kind"], one["up"]) for one in told.events]
                assert kinds == [("check", False), ("server", False), ("quorum", False)]
                assert told.events[0]["detail"] == "connection refused"
                turns = it.page.read().turns
                assert turns > 0
                await it.parts.reload(configuration(virtual(2, unchecked(2))))
                assert told.told[name] == "DELETED"
                assert told.summaries[2] == "1 virtual server: 1 up, 1 of 1 real server up"
                await until(lambda: it.page.read().turns > turns)

    run(scene())


def test_the_services_go_while_scripts_of_the_end_run(run: Run, tmp_path: Path) -> None:
    """The process may be killed before these are over: nobody would remove the services then."""

    class Slow(FakeRunner):
        def __init__(self) -> None:
            self.begun: list[str] = []
            self.over = asyncio.Event()

        async def program(self, command: model.Command, timeout_ns: int) -> Result:
            self.begun.append(command.argv[0])
            await self.over.wait()
            return Result(outcome=Outcome.EXITED)

    async def main() -> None:
        down = model.Command(argv=("/bin/down",))
        server = msgspec.structs.replace(unchecked(1), notify_down=down)
        it = Scene(tmp_path, configuration(virtual(1, server, omega=True)))
        it.runner = runner = Slow()
        await it.__aenter__()
        assert await it.table.services()
        stopping = asyncio.create_task(it.__aexit__())
        await until(lambda: runner.begun == ["/bin/down"] and not it.parts.upkeep._mine)
        assert not await it.table.services()
        assert not stopping.done()
        runner.over.set()
        await stopping

    run(main())


def test_the_largest_numbers_that_a_file_may_have(run: Run, tmp_path: Path) -> None:
    """Neither the prober nor the event loop's checks refuse what was accepted before."""
    schedule = Schedule(
        delay_loop_ns=4_294_967 * NS_PER_S,
        delay_before_retry_ns=4_294_967 * NS_PER_S,
        warmup_ns=4_294_967 * NS_PER_S,
        retry=2**32 - 1,
    )
    connection = Connection(
        address="127.0.0.1", port=65535, timeout_ns=4_294_967_295_000, fwmark=2**32 - 1
    )
    checks = [kind(connection=connection, schedule=schedule) for kind in (TcpCheck, UdpCheck)]

    async def main() -> None:
        it = Scene(tmp_path, configuration(virtual(1, real(1, *checks, weight=2**31 - 1))))
        async with it:
            assert len(it.parts.plane.checks) == 2

    run(main())


def test_a_burst_is_one_summary(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        async with Scene(tmp_path, configuration(virtual(1, unchecked(1)))) as it:
            reporter = it.parts.reporter
            for _ in range(100):
                reporter.summarise_soon()
            await asyncio.sleep(0)
            assert len(it.supervisor.summaries) == 1, "only that of the start"
            await until(lambda: len(it.supervisor.summaries) == 2)
            reporter.summarise_soon()
            reporter.summarise()
            assert len(it.supervisor.summaries) == 3, "and what was to come is said"
            assert reporter._summary is None

    run(scene())


@pytest.mark.parametrize("order", [1, -1])
def test_a_mark_of_both_families_has_quorum_when_both_have(
    run: Run, tmp_path: Path, order: int
) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            four, six = (servers.ServiceAddress(family=n, fwmark=7) for n in (4, 6))
            inside = real(2, local_tcp(port), address="2001:db8::2", family=6)
            both = (
                virtual(1, unchecked(1), name="FWM 7", services=(four,)),
                virtual(1, inside, name="FWM 7", services=(six,)),
            )
            async with Scene(tmp_path, configuration(*both[::order])) as it:
                told = it.supervisor.told
                assert told == {"FWM 7": "UP"}
                server.close()
                await until(lambda: told["FWM 7"] == "DOWN", limit_s=5)

    run(scene())


def test_two_of_a_group_are_two(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            first = configuration(
                virtual(1, unchecked(1), name="[G]:0", group="G"),
                virtual(1, real(2, local_tcp(port)), protocol="UDP", name="[G]:1", group="G"),
            )
            async with Scene(tmp_path, first) as it:
                told = it.supervisor.told
                assert told == {"[G]:0": "UP", "[G]:1": "UP"}
                server.close()
                await until(lambda: told == {"[G]:0": "UP", "[G]:1": "DOWN"}, limit_s=5)

    run(scene())


def test_what_cannot_change(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        async with Scene(tmp_path, configuration(virtual(1, unchecked(1)))) as it:
            other = configuration(virtual(2, unchecked(2)), net_namespace="elsewhere")
            with pytest.raises(ConfigurationRefused, match="net_namespace_ipvs cannot change"):
                await it.parts.reload(other)
            assert list(it.parts.plane.running) == ["[10.1.0.1]:tcp:80 TCP 4"]

    run(scene())


# ---------------------------------------------------------------------- what is made anew


def test_renewed_certificates_begin_ssl_checks_anew(run: Run, tmp_path: Path) -> None:
    """Under the same name; a reload that finds the same file leaves them alone."""
    authority = tmp_path / "ca.pem"
    authority.write_bytes(certificate(tmp_path, "first"))

    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            ssl, tcp = https(port), local_tcp(port)
            tls = servers.TlsContext(ca=str(authority))
            config = configuration(virtual(1, real(1, ssl, tcp)), tls=tls)
            async with Scene(tmp_path, config) as it:

                def both() -> bool:
                    return it.attempts("SSL_GET") > 0 and it.attempts("TCP_CHECK") > 0

                server.close()  # refused is soonest
                await until(both, limit_s=5)
                seen = it.attempts("TCP_CHECK")
                await it.parts.reload(config)
                assert it.attempts("SSL_GET") > 0, "nothing changed"
                new = tmp_path / "new"
                new.write_bytes(certificate(tmp_path, "second"))
                new.rename(authority)
                context = it.parts._surroundings
                await it.parts.reload(config)
                assert it.attempts("SSL_GET") == 0, "a new life"
                assert it.attempts("TCP_CHECK") >= seen, "not theirs"
                assert it.parts._surroundings is not context
                await until(both, limit_s=5)

    run(scene())


def https(port: int) -> HttpCheck:
    where = Connection(address="127.0.0.1", port=port)
    return HttpCheck(connection=where, schedule=SOON, tls=True, urls=(Url(path="/"),))


def certificate(directory: Path, name: str) -> bytes:
    """A self-signed one."""
    file = directory / f"{name}.crt"
    kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9"
    command = ["openssl", "req", *kind.split(), "-subj", f"/CN={name}", "-out", str(file)]
    subprocess.run([*command, "-keyout", str(directory / "key")], check=True, capture_output=True)
    return file.read_bytes()


def test_another_account_begins_scripts_anew(run: Run, tmp_path: Path) -> None:
    """Those that have none of their own."""
    nobody, other = (model.Account(user=name, uid=n, gid=n) for n, name in ((7, "a"), (8, "b")))
    command = model.Command(argv=("/check",))
    own = msgspec.structs.replace(command, account=other)
    checks = [MiscCheck(command=c, timeout_ns=NS_PER_S, schedule=SOON) for c in (command, own)]
    made: list[tuple[str, model.Account | None]] = []

    class Runner(FakeRunner):
        async def program(self, command: model.Command, timeout_ns: int) -> Any:
            made.append((command.argv[0], command.account))
            await asyncio.sleep(1000)

    async def scene() -> None:
        before = configuration(
            virtual(1, real(1, checks[0]), real(2, checks[1])),
            defs=model.GlobalDefs(script_account=nobody),
        )
        it = Scene(tmp_path, before)
        it.parts = await Parts.make(
            before,
            tmp_path / "journal",
            Runner(),
            it.supervisor,
            pulse=it.pulse,
            table=it.table,
        )
        await it.parts.start(before, {})
        await until(lambda: len(made) == 2, limit_s=5)
        assert {account for _, account in made} == {nobody, other}
        made.clear()
        third = model.Account(user="c", uid=9, gid=9)
        defs = model.GlobalDefs(script_account=third)
        await it.parts.reload(msgspec.structs.replace(before, global_defs=defs))
        await until(lambda: made, limit_s=5)
        assert [account for _, account in made] == [third], "the other one goes on"
        await it.__aexit__()

    run(scene())


# ---------------------------------------------------------------------- dumps


def test_dumps(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        sorry = servers.SorryServer(address="10.0.0.200", port=80, family=4)
        config = configuration(
            virtual(1, real(1, local_tcp(1)), sorry_server=sorry), virtual(2, unchecked(2))
        )
        async with Scene(tmp_path, config) as it:
            found = await status.status(it.parts.plane, await it.parts.statistics())
            text, json = tmp_path / "keepalived_check.data", tmp_path / "check.json"
            text.write_text("of yesterday")
            dumps.write("data", text, found)
            dumps.write("json", json, found)
            dumps.write("stats", tmp_path / "stats", found)
            lines = text.read_text().splitlines()
            assert [line for line in lines if "VIP" in line] == [
                "VIP = [10.1.0.1]:tcp:80",
                "VIP = [10.1.0.2]:tcp:80",
            ]
            at = lines.index("  RIP = [10.0.0.1]:tcp:80")
            assert "    weight = 1" in lines[at:]
            assert "    TCP_CHECK" in lines[at:]
            assert "  quorum = 1" in lines[:at]
            decoded = msgspec.json.decode(json.read_bytes())
            assert [one["name"] for one in decoded] == [
                "[10.1.0.1]:tcp:80",
                "[10.1.0.2]:tcp:80",
            ]
            assert decoded[0]["sorry_server"]["active"] is False
            assert not (tmp_path / "stats").exists(), "we have none"
            assert not list(tmp_path.glob(".*")), "no half of one"  # noqa: ASYNC240

    run(scene())


def test_a_dump_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "dump"
    place.mkdir()
    (place / "something").touch()
    with pytest.raises(OSError, match="dump"):
        dumps.write("data", place, {"virtual_servers": []})
    assert [one.name for one in tmp_path.iterdir()] == ["dump"]
