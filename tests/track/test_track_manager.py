"""All trackers together: what reaches an instance, and what a reload keeps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from track_helpers import MakeScript

from fastvrrp.config import model
from fastvrrp.supervisor.runner import Executor
from fastvrrp.track import manager as manager_module
from fastvrrp.track.manager import Trackers
from fastvrrp.track.runner import Outcome, Result
from fastvrrp.track.weights import FAULT_AWAIT, FAULT_FILE, FAULT_SCRIPT, FAULT_SERVER
from looping import FakeRunner, Run, S, command, until

MS = 1_000_000


class Fake(FakeRunner):
    """A runner whose programs end at once, with a status the test can change per program."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.runs: list[str] = []
        self.accounts: list[model.Account | None] = []
        self.held = asyncio.Event()
        self.held.set()

    async def program(self, command: model.Command, timeout_ns: int) -> Result:
        self.runs.append(command.argv[0])
        self.accounts.append(command.account)
        await self.held.wait()
        await asyncio.sleep(0)
        return Result(outcome=Outcome.EXITED, code=self.codes.get(command.argv[0], 0))


def script(name: str, **changes: object) -> model.TrackScript:
    values: dict[str, object] = {"name": name, "command": command(name), "interval_ns": 20 * MS}
    return model.TrackScript(**{**values, **changes})  # type: ignore[arg-type]


def instance(name: str, **changes: object) -> model.VrrpInstance:
    values: dict[str, object] = {
        "name": name,
        "virtual_router_id": 1,
        "family": 4,
        "version": 2,
    }
    return model.VrrpInstance(**{**values, **changes})  # type: ignore[arg-type]


def tracked(name: str, weight: int = 0, reverse: bool = False) -> model.Tracked:
    return model.Tracked(name=name, weight=weight, reverse=reverse)


class Scene:
    def __init__(self, config: model.Configuration, runner: Fake | Executor) -> None:
        self.log: list[tuple[str, int, int]] = []
        self.trackers = Trackers(config, runner, lambda *change: self.log.append(change))


def test_initial_awaits_weight_zero_scripts_only(run: Run) -> None:
    config = model.Configuration(
        vrrp_instances=(
            instance("A", track_script=(tracked("zero"), tracked("plus", 10))),
            instance("B", track_script=(tracked("plus", 10), tracked("minus", -5))),
            instance("C", track_script=(tracked("failed"),)),
            instance("D"),
        ),
        track_scripts=(
            script("zero"),
            script("plus"),
            script("minus"),
            script("failed", init_fail=True),
        ),
    )

    async def scene() -> None:
        one = Scene(config, Fake())
        assert one.trackers.initial("A") == (0, FAULT_AWAIT)
        assert one.trackers.initial("B") == (0, 0)
        assert one.trackers.initial("C") == (0, FAULT_SCRIPT)
        assert one.trackers.initial("D") == (0, 0)
        assert one.trackers.initial("unknown") == (0, 0)
        await one.trackers.start()
        await until(lambda: len(one.log) >= 3)
        assert sorted(one.log) == [("A", 10, 0), ("B", 10, 0), ("C", 0, 0)]
        await one.trackers.stop()

    run(scene())


def test_changes_of_one_turn_are_told_once(run: Run) -> None:
    names = [f"s{n}" for n in range(8)]
    config = model.Configuration(
        vrrp_instances=(instance("A", track_script=tuple(tracked(n, -10) for n in names)),),
        track_scripts=tuple(script(n, interval_ns=3600 * S) for n in names),
    )

    async def scene() -> None:
        fake = Fake(**dict.fromkeys(names, 1))
        fake.held.clear()
        one = Scene(config, fake)
        await one.trackers.start()
        await until(lambda: len(fake.runs) == 8)
        fake.held.set()
        await until(lambda: one.log)
        assert one.log == [("A", -80, 0)]
        await one.trackers.stop()

    run(scene())


def test_group_trackers_reach_every_member(run: Run) -> None:
    group = model.SyncGroup(name="G", members=("A", "B"), track_script=(tracked("s"),))
    config = model.Configuration(
        vrrp_instances=(
            instance("A", sync_group="G"),
            instance("B", sync_group="G"),
            instance("C"),
        ),
        sync_groups=(group,),
        track_scripts=(script("s"),),
    )

    async def scene() -> None:
        one = Scene(config, Fake(s=1))
        assert one.trackers.initial("B") == (0, FAULT_AWAIT)
        await one.trackers.start()
        await until(lambda: len(one.log) == 2)
        assert sorted(one.log) == [("A", 0, FAULT_SCRIPT), ("B", 0, FAULT_SCRIPT)]
        await one.trackers.stop()

    run(scene())


def test_unused_scripts_do_not_run_and_accounts_are_filled_in(run: Run) -> None:
    account = model.Account(user="nobody", uid=65534, gid=65534)
    config = model.Configuration(
        global_defs=model.GlobalDefs(script_account=account),
        vrrp_instances=(instance("A", track_script=(tracked("s"),)),),
        track_scripts=(script("s"), script("unused")),
    )

    async def scene() -> None:
        fake = Fake()
        one = Scene(config, fake)
        await one.trackers.start()
        await until(lambda: len(fake.runs) >= 3)
        await one.trackers.stop()
        assert set(fake.runs) == {"s"}
        assert set(fake.accounts) == {account}
        assert [s["name"] for s in one.trackers.status()] == ["s"]

    run(scene())


def test_files_and_scripts_together(run: Run, tmp_path: Path, make_script: MakeScript) -> None:
    value, flag = tmp_path / "value", tmp_path / "flag"
    config = model.Configuration(
        vrrp_instances=(
            instance(
                "A",
                track_script=(tracked("s"),),
                track_file=(tracked("value", 2), tracked("flag")),
            ),
        ),
        track_scripts=(script("s", command=command(make_script(f"test ! -e {flag}x"))),),
        track_files=(
            model.TrackFile(name="value", file=str(value), init_value=5),
            model.TrackFile(name="flag", file=str(flag)),
        ),
    )

    async def scene() -> None:
        executor = Executor()
        one = Scene(config, executor)
        assert value.read_text() == "5\n"
        assert one.trackers.initial("A") == (10, FAULT_AWAIT)
        await one.trackers.start()
        await until(lambda: one.log == [("A", 10, 0)])
        flag.write_text("1")
        await until(lambda: one.log[-1] == ("A", 10, FAULT_FILE))
        (tmp_path / "flagx").touch()
        await until(lambda: one.log[-1] == ("A", 10, FAULT_FILE | FAULT_SCRIPT))
        flag.unlink()
        await until(lambda: one.log[-1] == ("A", 10, FAULT_SCRIPT))
        value.write_text("-127")
        await until(lambda: one.log[-1] == ("A", 0, FAULT_FILE | FAULT_SCRIPT))
        await one.trackers.stop()
        await executor.close()

    run(scene())


def test_reload_keeps_results(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("3")
    old = model.Configuration(
        vrrp_instances=(
            instance("A", track_script=(tracked("kept"), tracked("rate"), tracked("argv"))),
            instance("B", track_script=(tracked("gone"),)),
        ),
        track_scripts=(
            script("kept", rise=2, fall=3),
            script("rate"),
            script("argv"),
            script("gone"),
        ),
        track_files=(model.TrackFile(name="file", file=str(path)),),
    )
    moved = model.Position(file="x", line=99)
    new = model.Configuration(
        vrrp_instances=(
            instance(
                "A",
                track_script=(tracked("kept"), tracked("rate")),
                track_file=(tracked("file", 1),),
            ),
            instance("C", track_script=(tracked("kept"), tracked("argv"))),
        ),
        track_scripts=(
            script("kept", rise=2, fall=3, position=moved),
            script("rate", interval_ns=30 * MS, rise=5, fall=7),
            script("argv", command=command("argv", "other")),
        ),
        track_files=(model.TrackFile(name="file", file=str(path), position=moved),),
    )

    async def scene() -> None:
        fake = Fake()
        one = Scene(old, fake)
        await one.trackers.start()
        await until(lambda: len(one.log) == 2)
        assert one.log == [("A", 0, 0), ("B", 0, 0)]
        fake.held.clear()
        runs = len(fake.runs)
        await until(lambda: len(fake.runs) > runs)
        await one.trackers.reload(new)
        # Known results stay; a script with other arguments is a new one.
        assert one.trackers.initial("C") == (0, FAULT_AWAIT)
        states = {s["name"]: s.get("state", s.get("value")) for s in one.trackers.status()}
        assert states == {"kept": "up", "rate": "up", "argv": "init", "file": 3}
        counters = {s["name"]: s.get("counter") for s in one.trackers.status()}
        assert counters["rate"] == 11  # fully up under rise 5, fall 7
        await until(lambda: len(one.log) >= 3)
        assert one.log[2:] == [("A", 3, 0)]
        fake.held.set()
        await until(lambda: len(one.log) >= 4)
        assert one.log[3:] == [("C", 0, 0)]
        await one.trackers.stop()

    run(scene())


def test_reload_without_change_disturbs_nothing(run: Run, tmp_path: Path) -> None:
    config = model.Configuration(
        vrrp_instances=(instance("A", track_script=(tracked("s"),), track_file=(tracked("f"),)),),
        track_scripts=(script("s", interval_ns=3600 * S),),
        track_files=(model.TrackFile(name="f", file=str(tmp_path / "f"), init_value=0),),
    )

    async def scene() -> None:
        fake = Fake()
        one = Scene(config, fake)
        await one.trackers.start()
        await until(lambda: one.log == [("A", 0, 0)])
        (tmp_path / "f").unlink()
        tasks = {task.get_name() for task in asyncio.all_tasks()}
        await one.trackers.reload(msgspec.structs.replace(config, source_files=("x",)))
        assert fake.runs == ["s"]
        assert {task.get_name() for task in asyncio.all_tasks()} == tasks
        assert not (tmp_path / "f").exists()  # init_file is for the start
        await asyncio.sleep(0)
        assert one.log == [("A", 0, 0)]
        await one.trackers.stop()

    run(scene())


def test_reload_kills_a_changed_script_before_its_next_run(
    run: Run, make_script: MakeScript, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    path = make_script(f"echo start >> {log}; sleep 30; echo end >> {log}")
    slow = script("s", command=command(path), timeout_ns=60 * S)
    config = model.Configuration(
        vrrp_instances=(instance("A", track_script=(tracked("s"),)),), track_scripts=(slow,)
    )
    changed = msgspec.structs.replace(
        config, track_scripts=(msgspec.structs.replace(slow, rise=3),)
    )

    async def scene() -> None:
        executor = Executor()
        one = Scene(config, executor)
        await one.trackers.start()
        await until(lambda: log.exists() and log.read_text())  # made, and then written
        await one.trackers.reload(changed)
        await until(lambda: log.read_text() == "start\nstart\n")
        await until(lambda: len(executor.pids) == 1)
        await one.trackers.stop()
        assert not executor.pids
        await executor.close()

    run(scene())


@pytest.mark.parametrize(("count", "spread"), [(50, False), (51, True)])
def test_many_scripts_are_spread_out(
    run: Run, count: int, spread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_module, "JITTER_MAX_NS", S // 5)
    names = [f"s{n}" for n in range(count)]
    config = model.Configuration(
        vrrp_instances=(instance("A", track_script=tuple(tracked(n) for n in names)),),
        track_scripts=tuple(script(n, interval_ns=3600 * S) for n in names),
    )

    async def scene() -> None:
        fake = Fake()
        one = Scene(config, fake)
        await one.trackers.start()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (len(fake.runs) < count) == spread
        await until(lambda: len(fake.runs) == count)
        await one.trackers.stop()

    run(scene())


def test_virtual_servers(run: Run) -> None:
    """Who is told of them by another process: weights, faults, reverse, and a reload."""
    config = model.Configuration(
        vrrp_instances=(
            instance("A", track_virtual_server=(tracked("x", -30), tracked("y", 20))),
            instance("B", track_virtual_server=(tracked("x"),)),
            instance("C", track_virtual_server=(tracked("x", reverse=True),)),
            instance("D", track_virtual_server=(tracked("x", 20, reverse=True),)),
        ),
    )

    async def scene() -> None:
        servers: dict[str, bool] = {}
        log: list[tuple[str, int, int]] = []
        trackers = Trackers(config, Fake(), lambda *change: log.append(change), servers=servers)

        def initial() -> list[tuple[int, int]]:
            return [tuple(trackers.initial(name)) for name in "ABCD"]

        assert initial() == [(0, 0), (0, FAULT_AWAIT), (0, FAULT_AWAIT), (0, 0)]
        assert trackers.servers == {"x", "y"}
        await trackers.start()
        for name in ("x", "y", "another"):
            servers[name] = True
            trackers.server_changed(name)
        await until(lambda: len(log) == 4)
        assert log == [("A", 20, 0), ("B", 0, 0), ("C", 0, FAULT_SERVER), ("D", -20, 0)]
        log.clear()
        servers["x"] = False
        trackers.server_changed("x")
        await until(lambda: len(log) == 4)
        assert log == [("A", -10, 0), ("B", 0, FAULT_SERVER), ("C", 0, 0), ("D", 0, 0)]
        states = {one["name"]: one["state"] for one in trackers.status()}
        assert states == {"x": "down", "y": "up"}
        without = msgspec.structs.replace(
            config, vrrp_instances=(instance("A", track_virtual_server=(tracked("y", 5),)),)
        )
        await trackers.reload(without)
        assert trackers.servers == {"y"}
        assert trackers.initial("A") == (5, 0)
        await trackers.stop()

    run(scene())
