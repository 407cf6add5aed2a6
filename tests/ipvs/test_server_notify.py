"""Telling of real servers and quorums: what, to whom, in which order (keepalived's rules)."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from pool_making import check, key, rs, sorry, vs

from fastvrrp.config import model
from fastvrrp.config.servers import Ipvs, ServiceAddress, VirtualServer
from fastvrrp.ipvs import notify as notify_module
from fastvrrp.ipvs.notify import ServerNotifier
from fastvrrp.ipvs.pool import Pool, Why
from fastvrrp.notify.mail import Mailer
from fastvrrp.track.runner import Outcome, Result
from looping import FakeRunner, Run, command, until

VS = "[10.1.0.1]:tcp:80"


class Fake(FakeRunner):
    """Notes what is run; `held` names programs that run until they are released."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.killed: list[str] = []
        self.held: dict[str, asyncio.Event] = {}
        self.most = 0
        self._now = 0

    async def program(self, command: model.Command, timeout_ns: int) -> Result:
        words = " ".join(command.argv)
        self.ran.append(words)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            if words in self.held:
                await self.held[words].wait()
            else:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.killed.append(words)
            raise
        finally:
            self._now -= 1
        return Result(outcome=Outcome.EXITED)


def config(*servers: VirtualServer, **ipvs: Any) -> model.Configuration:
    defs = model.GlobalDefs(router_id="R1")
    return model.Configuration(global_defs=defs, ipvs=Ipvs(virtual_servers=servers, **ipvs))


def told_server(number: int, **values: Any) -> Any:
    """A real server with both scripts."""
    scripts = {
        "notify_up": command("up", str(number)),
        "notify_down": command("down", str(number)),
    }
    return rs(number, **{**scripts, **values})


def told_vs(*servers: Any, **values: Any) -> VirtualServer:
    scripts = {"quorum_up": command("quorum up"), "quorum_down": command("quorum down")}
    return vs(*servers, **{**scripts, **values})


async def fail(notifier: ServerNotifier, pool: Pool, *numbers: int) -> None:
    for number in numbers:
        notifier.tell(pool.virtual_server, pool.result(key(number), 0, False, "refused"))
        await asyncio.sleep(0)


async def recover(notifier: ServerNotifier, pool: Pool, *numbers: int) -> None:
    for number in numbers:
        notifier.tell(pool.virtual_server, pool.result(key(number), 0, True, "connected"))
        await asyncio.sleep(0)


# ---- scripts ----


def test_scripts_run_in_the_order_of_what_happened(run: Run) -> None:
    async def scene() -> None:
        pool = Pool(told_vs(told_server(1), told_server(2), quorum=2))
        fake = Fake()
        notifier = ServerNotifier(config(pool.virtual_server), fake)
        notifier.tell(pool.virtual_server, pool.start())
        await fail(notifier, pool, 1, 2)
        await recover(notifier, pool, 2, 1)
        await until(lambda: len(fake.ran) == 7)
        assert fake.ran == [
            "quorum up",
            "down 1",
            "quorum down",
            "down 2",
            "up 2",
            "up 1",
            "quorum up",
        ]
        assert fake.most == 1
        await notifier.stop()

    run(scene())


def test_other_virtual_servers_do_not_wait(run: Run) -> None:
    async def scene() -> None:
        fake = Fake()
        fake.held["down 1"] = asyncio.Event()
        pools = [Pool(told_vs(told_server(n), name=f"V{n}")) for n in (1, 2)]
        notifier = ServerNotifier(config(*(pool.virtual_server for pool in pools)), fake)
        await fail(notifier, pools[0], 1)
        await fail(notifier, pools[1], 2)
        await until(lambda: len(fake.ran) == 3)
        assert fake.ran == ["down 1", "down 2", "quorum down"]
        fake.held["down 1"].set()
        await until(lambda: len(fake.ran) == 4)
        await notifier.stop()

    run(scene())


def test_a_slow_script_loses_no_final_state(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        fake = Fake()
        fake.held["down 1"] = asyncio.Event()
        pool = Pool(told_vs(*(told_server(n) for n in range(1, 31))))
        notifier = ServerNotifier(config(pool.virtual_server), fake)
        await fail(notifier, pool, 1)
        for _ in range(3):
            await fail(notifier, pool, *range(2, 31))
            await recover(notifier, pool, *range(2, 30))
        await fail(notifier, pool, 2, 3)
        fake.held["down 1"].set()
        await until(lambda: notifier.status()["queues"][0]["idle"])
        last = {line.split()[1]: line.split()[0] for line in fake.ran if line[0] != "q"}
        assert last == {str(n): "down" if n in (1, 2, 3, 30) else "up" for n in range(1, 31)}
        assert notifier.status()["queues"][0]["skipped"] > 50
        await notifier.stop()

    run(scene())


def test_scripts_run_as_the_default_account(run: Run) -> None:
    account = model.Account(user="nobody", uid=65534, gid=65534)
    seen: list[model.Account | None] = []

    class Accounts(Fake):
        async def program(self, command: model.Command, timeout_ns: int) -> Result:
            seen.append(command.account)
            return await super().program(command, timeout_ns)

    async def scene() -> None:
        pool = Pool(told_vs(told_server(1), omega=True))
        defs = model.GlobalDefs(script_account=account)
        ipvs = Ipvs(virtual_servers=(pool.virtual_server,))
        fake = Accounts()
        notifier = ServerNotifier(model.Configuration(global_defs=defs, ipvs=ipvs), fake)
        await fail(notifier, pool, 1)
        await until(lambda: len(fake.ran) == 2)
        await recover(notifier, pool, 1)
        await until(lambda: len(fake.ran) == 4)
        await notifier.stop([(pool.virtual_server, pool.stop())])
        assert len(fake.ran) == 6
        assert seen == [account] * 6

    run(scene())


# ---- first states ----


def start_of(virtual_server: VirtualServer, **ipvs: Any) -> list[str]:
    """What is run at the start."""
    fake = Fake()

    async def scene() -> None:
        pool = Pool(virtual_server)
        notifier = ServerNotifier(config(virtual_server, **ipvs), fake)
        notifier.tell(virtual_server, pool.start())
        await asyncio.sleep(0.01)
        await notifier.stop()

    asyncio.run(scene())
    return fake.ran


def test_first_states_of_servers_are_told_with_rs_init_notifies_only() -> None:
    virtual_server = told_vs(told_server(1), told_server(2, checks=(check(alpha=True),)))
    assert start_of(virtual_server) == ["quorum up"]
    assert start_of(virtual_server, rs_init_notifies=True) == ["up 1", "quorum up"]


def test_a_missing_quorum_is_told_at_the_start_when_the_sorry_server_serves() -> None:
    alpha = told_server(1, checks=(check(alpha=True),))
    assert start_of(told_vs(alpha)) == []
    assert start_of(told_vs(alpha, sorry_server=sorry())) == ["quorum down"]


def test_the_first_failure_with_alpha_is_told(run: Run) -> None:
    async def scene() -> None:
        fake = Fake()
        pool = Pool(told_vs(told_server(1, checks=(check(alpha=True),))))
        notifier = ServerNotifier(config(pool.virtual_server), fake)
        await fail(notifier, pool, 1, 1)
        await until(lambda: fake.ran)
        assert fake.ran == ["down 1"]
        await notifier.stop()

    run(scene())


# ---- reload and the end ----


def test_removed_servers_are_told_down_without_omega(run: Run) -> None:
    async def scene() -> None:
        fake = Fake()
        pool = Pool(told_vs(told_server(1), told_server(2)))
        notifier = ServerNotifier(config(pool.virtual_server), fake)
        new = told_vs(told_server(2))
        notifier.tell(new, pool.reload(new))
        notifier.tell(new, pool.stop(Why.REMOVED))
        await notifier.reload(config())
        await until(lambda: len(fake.ran) == 3)
        assert fake.ran == ["down 1", "down 2", "quorum down"]
        await notifier.reload(config())
        assert notifier.status()["queues"] == []
        await notifier.stop()

    run(scene())


def test_at_the_end_only_omega_is_told_servers_first(run: Run) -> None:
    async def scene() -> None:
        fake = Fake()
        loud = Pool(told_vs(told_server(1), told_server(2), omega=True))
        quiet = Pool(told_vs(told_server(3), name="V2"))
        notifier = ServerNotifier(config(loud.virtual_server, quiet.virtual_server), fake)
        await fail(notifier, loud, 2)
        await until(lambda: fake.ran == ["down 2"])
        await notifier.stop([(pool.virtual_server, pool.stop()) for pool in (quiet, loud)])
        assert fake.ran == ["down 2", "down 1", "quorum down"]

    run(scene())


def test_scripts_of_the_end_run_side_by_side_but_not_all_at_once(run: Run) -> None:
    async def scene() -> None:
        fake = Fake()
        pool = Pool(told_vs(*(told_server(n) for n in range(1, 101)), omega=True))
        notifier = ServerNotifier(config(pool.virtual_server), fake)
        await notifier.stop([(pool.virtual_server, pool.stop())])
        assert len(fake.ran) == 101
        assert fake.ran[-1] == "quorum down"
        assert fake.most == notify_module.STOP_SCRIPTS

    run(scene())


def test_the_end_does_not_wait_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify_module, "STOP_TOTAL_S", 0.1)

    async def scene() -> None:
        fake = Fake()
        fake.held["down 1"] = asyncio.Event()
        pool = Pool(told_vs(told_server(1), omega=True))
        notifier = ServerNotifier(config(pool.virtual_server), fake)
        await notifier.stop([(pool.virtual_server, pool.stop())])
        assert fake.killed == ["down 1"]
        assert "no time for all" in caplog.text
        await fail(notifier, pool, 1)
        assert fake.ran == ["down 1"]

    run(scene())


# ---- FIFOs ----


def inside(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_fifo_lines(run: Run, tmp_path: Path) -> None:
    both, lvs = tmp_path / "both", tmp_path / "lvs"

    async def scene() -> None:
        mark = ServiceAddress(family=4, fwmark=7)
        members = (ServiceAddress(family=4, address="10.1.0.2", port=80),)
        pools = [
            Pool(vs(rs(1))),
            Pool(vs(rs(2, port=0), name="FWM 7", services=(mark,))),
            Pool(vs(rs(3, address="2001:db8::3"), name="[GRP]:0", group="GRP", services=members)),
        ]
        defs = model.GlobalDefs(
            notify_fifo=model.Fifo(path=str(both)), lvs_notify_fifo=model.Fifo(path=str(lvs))
        )
        notifier = ServerNotifier(model.Configuration(global_defs=defs), Fake())
        await notifier.start()
        fds = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in (both, lvs)]
        for pool in pools:
            server = pool.virtual_server.real_servers[0]
            place = key(1)._replace(address=server.address, port=server.port)
            notifier.tell(pool.virtual_server, pool.result(place, 0, False))
        notifier.tell(pools[0].virtual_server, pools[0].result(key(1), 0, True))
        for fd in fds:
            assert os.read(fd, 4096).decode() == (
                "RS [10.0.0.1]:tcp:80 [10.1.0.1]:tcp:80 DOWN\n"
                "VS [10.1.0.1]:tcp:80 DOWN\n"
                "RS [10.0.0.2]:none:0 FWM 7 DOWN\n"
                "VS FWM 7 DOWN\n"
                "RS [2001:db8::3]:tcp:80 [GRP]:0 DOWN\n"
                "VS [GRP]:0 DOWN\n"
                "RS [10.0.0.1]:tcp:80 [10.1.0.1]:tcp:80 UP\n"
                "VS [10.1.0.1]:tcp:80 UP\n"
            )
            os.close(fd)
        await notifier.stop()
        assert not both.exists()
        assert not lvs.exists()

    run(scene())


def test_a_full_fifo_keeps_the_final_state_of_everybody(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"

    async def scene() -> None:
        defs = model.GlobalDefs(lvs_notify_fifo=model.Fifo(path=str(path)))
        notifier = ServerNotifier(model.Configuration(global_defs=defs), Fake())
        await notifier.start()
        pool = Pool(vs(*(rs(n) for n in range(1, 101)), quorum=100))
        for _ in range(20):
            for n in range(1, 101):
                notifier.tell(pool.virtual_server, pool.result(key(n), 0, False))
            for n in range(1, 100):
                notifier.tell(pool.virtual_server, pool.result(key(n), 0, True))
        assert notifier.status()["fifos"][0]["dropped"] > 0
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        seen: dict[str, str] = {}

        def look() -> bool:
            data = b""
            try:
                while chunk := os.read(fd, 65536):
                    data += chunk
            except BlockingIOError:
                pass
            for line in data.decode().splitlines():
                seen[" ".join(line.split()[:2])] = line.split()[-1]
            return data == b""

        await until(lambda: not look())
        await asyncio.sleep(0.05)
        await until(look)
        expected = {f"RS [10.0.0.{n}]:tcp:80": "UP" for n in range(1, 100)}
        assert seen == {
            **expected,
            "RS [10.0.0.100]:tcp:80": "DOWN",
            f"VS {VS}": "DOWN",
        }
        os.close(fd)
        await notifier.stop()

    run(scene())


def test_a_reload_may_bring_another_fifo(run: Run, tmp_path: Path) -> None:
    old, new, kept = tmp_path / "old", tmp_path / "new", tmp_path / "kept"

    def of(lvs: Path) -> model.Configuration:
        both = model.Fifo(path=str(kept))
        defs = model.GlobalDefs(lvs_notify_fifo=model.Fifo(path=str(lvs)), notify_fifo=both)
        return model.Configuration(global_defs=defs)

    async def scene() -> None:
        notifier = ServerNotifier(of(old), Fake())
        await notifier.start()
        before = kept.stat()
        await notifier.reload(of(new))
        assert not old.exists()
        assert new.is_fifo()
        assert kept.stat() == before
        await notifier.stop()

    run(scene())


def test_fifos_may_be_chosen_by_the_caller(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        fifo = model.Fifo(path=str(tmp_path / "one"))
        defs = model.GlobalDefs(notify_fifo=model.Fifo(path=str(tmp_path / "common")))
        configuration = model.Configuration(global_defs=defs)
        notifier = ServerNotifier(configuration, Fake(), fifos=[fifo])
        await notifier.start()
        assert inside(tmp_path) == ["one"]
        await notifier.reload(configuration, fifos=[])
        assert inside(tmp_path) == []
        await notifier.stop()

    run(scene())


# ---- mail ----


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    sent: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(Mailer, "post", lambda self, what, lines: sent.append((what, list(lines))))
    return sent


Mails = list[tuple[str, list[str]]]
RS1 = f"Realserver [10.0.0.1]:tcp:80 of virtual server {VS}"


def test_mail_of_a_check_says_why(mails: Mails) -> None:
    pool = Pool(vs(rs(1, smtp_alert=True), rs(2)))
    notifier = ServerNotifier(config(), Fake())
    notifier.tell(pool.virtual_server, pool.result(key(1), 0, False, "connection refused"))
    notifier.tell(pool.virtual_server, pool.result(key(1), 0, True))
    notifier.tell(pool.virtual_server, pool.result(key(2), 0, False))
    assert mails == [
        (f"{RS1} - DOWN", ["=> TCP_CHECK failed on service <=", "Reason: connection refused"]),
        (f"{RS1} - UP", ["=> TCP_CHECK succeeded on service <="]),
    ]


def test_no_checker_emails_leaves_those_of_servers(mails: Mails) -> None:
    server = rs(1, check(1), check(2), smtp_alert=True)
    for quiet in (False, True):
        pool = Pool(vs(server, rs(2)))
        notifier = ServerNotifier(config(no_checker_emails=quiet), Fake())
        for position, up in ((0, False), (1, False), (0, True), (1, True)):
            notifier.tell(pool.virtual_server, pool.result(key(1), position, up))
        subjects = [subject.rpartition(" ")[2] for subject, _ in mails]
        # the second failure and the first recovery change nothing: the server is down
        assert subjects == (["DOWN", "UP"] if quiet else ["DOWN", "DOWN", "DOWN", "UP"])
        mails.clear()


def test_mail_of_the_quorum(mails: Mails) -> None:
    pool = Pool(vs(rs(1), rs(2), quorum=2, smtp_alert=True, omega=True))
    notifier = ServerNotifier(config(), Fake())
    notifier.tell(pool.virtual_server, pool.start())
    notifier.tell(pool.virtual_server, pool.result(key(1), 0, False))
    notifier.tell(pool.virtual_server, pool.result(key(1), 0, True))
    assert mails == [
        (f"Virtualserver {VS} - UP", ["=> Starting with quorum up 2+0=2 <= 2 <="]),
        (f"Virtualserver {VS} - DOWN", ["=> Lost quorum 2-0=2 > 1 <="]),
        (f"Virtualserver {VS} - UP", ["=> Gained quorum 2+0=2 <= 2 <="]),
    ]


@pytest.mark.parametrize(
    ("omega", "why", "words"),
    [
        (True, Why.STOP, "=> Shutting down <="),
        (False, Why.STOP, None),
        (True, Why.REMOVED, "=> Removing <="),
        (False, Why.REMOVED, "=> Removing <="),
    ],
)
def test_mail_of_the_end(mails: Mails, omega: bool, why: Why, words: str | None) -> None:
    async def scene() -> None:
        pool = Pool(vs(rs(1, smtp_alert=True), smtp_alert=True, omega=omega))
        notifier = ServerNotifier(config(), Fake())
        if why is Why.REMOVED:
            notifier.tell(pool.virtual_server, pool.stop(why))
        else:
            await notifier.stop([(pool.virtual_server, pool.stop(why))])

    asyncio.run(scene())
    expected = [(f"{RS1} - DOWN", [words]), (f"Virtualserver {VS} - DOWN", [words])]
    assert mails == (expected if words else [])


# ---- the event stream ----


def test_events() -> None:
    seen: list[dict[str, Any]] = []
    pool = Pool(vs(rs(1)))
    notifier = ServerNotifier(config(), Fake(), events=seen.append)
    notifier.tell(pool.virtual_server, pool.result(key(1), 0, False))
    server = "[10.0.0.1]:tcp:80"
    common = {"event": "server", "virtual_server": VS, "state": "DOWN"}
    assert seen == [
        {**common, "kind": "REAL_SERVER", "name": server},
        {**common, "kind": "VIRTUAL_SERVER", "name": VS},
    ]


# ---- log ----


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    caplog.clear()
    return found


def test_the_log_in_the_words_of_keepalived(caplog: pytest.LogCaptureFixture) -> None:
    """Lines of keepalived 2.2.7 in the same life, but for those of checks."""
    caplog.set_level(logging.INFO)
    pool = Pool(vs(rs(1), rs(2), quorum=2, sorry_server=sorry(address="10.0.0.99")))
    notifier = ServerNotifier(config(), Fake())
    notifier.tell(pool.virtual_server, pool.start())
    assert lines(caplog) == [f"Gained quorum 2+0=2 <= 2 for VS {VS}"]
    notifier.tell(pool.virtual_server, pool.result(key(2), 0, False))
    assert lines(caplog) == [
        f"Removing service [10.0.0.2]:tcp:80 from VS {VS}",
        f"Lost quorum 2-0=2 > 1 for VS {VS}",
        f"Adding sorry server [10.0.0.99]:tcp:80 to VS {VS}",
        f"Removing alive servers from the pool for VS {VS}",
    ]
    notifier.tell(pool.virtual_server, pool.result(key(2), 0, True))
    assert lines(caplog) == [
        f"Adding service [10.0.0.2]:tcp:80 to VS {VS}",
        f"Gained quorum 2+0=2 <= 2 for VS {VS}",
        f"Removing sorry server [10.0.0.99]:tcp:80 from VS {VS}",
        f"Adding alive servers to the pool for VS {VS}",
    ]
    asyncio.run(notifier.stop([(pool.virtual_server, pool.stop())]))
    assert lines(caplog) == [
        f"Shutting down service [10.0.0.{n}]:tcp:80 from VS {VS}" for n in (1, 2)
    ]


def test_the_log_of_inhibited_servers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    last = sorry(address="10.0.0.99", inhibit=True)
    pool = Pool(vs(rs(1, inhibit_on_failure=True), sorry_server=last))
    notifier = ServerNotifier(config(), Fake())
    notifier.tell(pool.virtual_server, pool.result(key(1), 0, False))
    notifier.tell(pool.virtual_server, pool.result(key(1), 0, True))
    assert [line for line in lines(caplog) if "quorum" not in line and "pool" not in line] == [
        f"Disabling service [10.0.0.1]:tcp:80 of VS {VS}",
        f"Enabling sorry server [10.0.0.99]:tcp:80 to VS {VS}",
        f"Enabling service [10.0.0.1]:tcp:80 of VS {VS}",
        f"Disabling sorry server [10.0.0.99]:tcp:80 from VS {VS}",
    ]


def test_the_log_of_a_quorum_missed_from_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pool = Pool(vs(rs(1, check(alpha=True)), sorry_server=sorry()))
    ServerNotifier(config(), Fake()).tell(pool.virtual_server, pool.start())
    assert lines(caplog)[0] == f"Starting with quorum down 1-0=1 > 0 for VS {VS}"


def test_the_log_of_weights(caplog: pytest.LogCaptureFixture) -> None:
    from fastvrrp.ipvs.pool import Source

    caplog.set_level(logging.INFO)
    pool = Pool(vs(rs(1, weight=10), rs(2)))
    notifier = ServerNotifier(config(), Fake())
    name = f"service [10.0.0.1]:tcp:80 of VS {VS}"
    notifier.tell(pool.virtual_server, pool.weigh(key(1), 0, Source(-8)))
    assert lines(caplog) == [f"Changing weight from 10 to 2 for active {name}"]
    pool.result(key(1), 0, False)
    notifier.tell(pool.virtual_server, pool.weigh(key(1), 0, Source(0)))
    assert lines(caplog) == [f"Changing weight from 2 to 10 for inactive {name}"]
