"""Reloads in every direction, many instances, too many signals: nobody else may notice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from operator_tools import (
    ALLOWANCE_NS,
    MS,
    Router,
    children,
    descriptors,
    now_ns,
    written_kb,
)

from fastvrrp.lab.network import wait_for
from fastvrrp.supervisor.main import Supervisor
from keepalived_text import block, config, instance

INTERVAL_S = 0.2
PARTS = 4  # of the steps, so that no test takes long
COUNT = 60  # instances, half of them on each interface
GROWTH_KB = 128  # by which the memory of a process comes and goes
SETTLED_S = 10.0  # in which what reloads leave behind is given back, when no more of them come


def vip(number: int) -> str:
    return f"10.0.{lan(number)}.{number}/32"


def lan(number: int) -> int:
    return 0 if number <= COUNT // 2 else 1


def one(number: int, *extra: str, **more: Any) -> str:
    settings = {
        "name": f"I{number}",
        "interface": f"eth{lan(number)}",
        "vrid": number,
        "vips": (f"{vip(number)} dev eth{lan(number)}",),  # a network of its own there
        "advert_int": INTERVAL_S,
    }
    return instance("garp_master_delay 0", *extra, **settings | more)


def many(changed: dict[int, str] | None = None, *others: str) -> str:
    """All instances; `changed` replaces some (an empty text: left out)."""
    changed = changed or {}
    return config(*others, *(changed.get(n, one(n)) for n in range(1, COUNT + 1)))


def password(text: str) -> str:
    return block("authentication", "auth_type PASS", f"auth_pass {text}")


GROUP = block("vrrp_sync_group G", block("group", "I20", "I21"))
# What is changed: the instances concerned, and how the file looks then.
STEPS: dict[str, tuple[set[int], str]] = {
    "priority": ({1}, many({1: one(1, priority=200)})),
    "removed": ({2}, many({2: ""})),
    "renamed": (set(), many({3: one(3, name="Renamed")})),
    "another VRID": ({4}, many({4: one(4, vrid=204)})),
    "another interface": ({5}, many({5: one(5, interface="eth1", vrid=205)})),
    "addresses swapped": (set(), many({6: one(6, vips=(vip(7),)), 7: one(7, vips=(vip(6),))})),
    "grouped": (set(), many(None, GROUP)),
    "another group": (set(), many(None, GROUP.replace("I21", "I22"))),
    "another version": ({8}, many({8: one(8, version=2, advert_int=1)})),
    "password": ({8}, many({8: one(8, password("canary1"), version=2, advert_int=1)})),
    "another password": ({8}, many({8: one(8, password("canary2"), version=2, advert_int=1)})),
    "faster": ({9}, many({9: one(9, advert_int=0.1)})),
    "unicast": ({10}, many({10: one(10, block("unicast_peer", "192.0.2.9"))})),
    "broken": (set(), many().replace("virtual_router_id 60", "virtual_router_id sixty")),
    "empty": (set(), "! nothing\n"),
    "tracked": (set(), many({11: one(11, block("track_interface", "eth1 weight 5"))})),
}


@pytest.mark.netns
@pytest.mark.timing
@pytest.mark.parametrize("part", range(PARTS))
def test_unchanged_instances_notice_nothing(router: Router, part: int) -> None:
    """A to B to A for every kind of change; each time all others keep their beat and addresses."""
    router.start(many())
    router.wait_log("Entering MASTER STATE", COUNT)
    for name, (concerned, text) in list(STEPS.items())[part::PARTS]:
        begin = now_ns()
        for content in (text, many()):
            router.daemon.config.write_text(content)
            refused = content == text and name in ("broken", "empty")
            assert router.command("reload").returncode == refused, name
        wait_for(lambda: set(router.states().values()) == {"MASTER"}, 5, f"{name}: all are back")
        untouched = set(range(1, COUNT + 1)) - concerned
        gaps = router.longest_gaps_ns({n: lan(n) for n in untouched}, since_ns=begin)
        assert max(gaps.values()) < INTERVAL_S * 1e9 + ALLOWANCE_NS, (name, gaps)
        gone = {e.address for e in router.addresses.events() if not e.added and e.time_ns >= begin}
        assert gone <= {vip(n).split("/")[0] for n in concerned}, name
        assert {vip(n) for n in range(1, COUNT + 1)} <= router.held(), name
    assert "canary" not in router.daemon.log()
    assert router.daemon.stop() == 0


@pytest.mark.netns
@pytest.mark.timing
def test_a_storm_of_signals(router: Router) -> None:
    """Every kind of signal as fast as it comes; afterwards a reload still works at once."""
    texts = [config(instance(priority=priority)) for priority in (100, 101)]
    router.start(texts[0])
    router.wait_log("Entering MASTER STATE")
    pids = (router.daemon.pid, router.child())
    begin = now_ns()
    rng = random.Random(5)
    for number in range(60):
        router.daemon.config.write_text(texts[number % 2])
        kinds = (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
        os.kill(router.daemon.pid, rng.choice(kinds))
        time.sleep(rng.random() * 0.03)
    router.daemon.config.write_text(texts[1])
    done = router.command("reload")
    assert done.returncode == 0, done.stderr
    log = router.daemon.log()
    assert log.count(" Reloading ") == log.count("Reloaded: ") + log.count("reload refused")
    assert router.status()["instances"][0]["base_priority"] == 101
    assert router.longest_gap_ns(lan=0, vrid=51, since_ns=begin) < 100 * MS + ALLOWANCE_NS
    assert (router.daemon.pid, router.child()) == pids


def test_reloads_take_turns() -> None:
    """Whoever asks gets a reload that began after he asked, and never two run at once."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        supervisor = Supervisor.__new__(Supervisor)
        supervisor._loop = loop
        supervisor._reloading = asyncio.Lock()
        supervisor._reload_next = None
        supervisor._tasks = set()
        rng = random.Random(7)
        clock = 0
        running = 0

        async def reload() -> dict[str, Any]:
            nonlocal running
            running += 1
            assert running == 1
            began = clock
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            running -= 1
            return {"began": began}

        async def ask() -> None:
            asked = clock
            result = await supervisor.reload()
            assert result["began"] >= asked

        supervisor._reload = reload  # type: ignore[method-assign]
        asking = []
        for clock in range(1, 2000):  # noqa: B007 - read by the others
            if rng.random() < 0.5:
                asking.append(loop.create_task(ask()))
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*asking), 5)

    asyncio.run(scene())


@pytest.mark.netns
def test_nothing_grows(router: Router, tmp_path: Path) -> None:
    """Descriptors, processes, threads and memory after many different configurations."""
    reader = tmp_path / "reader"
    reader.write_text('#!/bin/sh\nexec cat "$1" >/dev/null\n')
    reader.chmod(0o755)

    def text(n: int) -> str:
        fifo = f"vrrp_notify_fifo {tmp_path}/fifo{n % 2}"
        script = block(f"vrrp_script s{n % 3}", f'script "/bin/true {n}"', "interval 1", "weight 1")
        file = block(f"track_file f{n % 2}", f"file {tmp_path}/f{n % 3}")
        process = block(f"vrrp_track_process p{n % 2}", "process no-such-program", "weight 1")
        trackers = (
            block("track_script", f"s{n % 3}"),
            block("track_file", f"f{n % 2}"),
            block("track_process", f"p{n % 2}"),
        )
        pair = (f"I{4 + n % 2}", f"I{6 + n % 3}")
        group = block(f"vrrp_sync_group G{n % 2}", block("group", *pair))
        rest = (one(k, "notify /bin/true") for k in range(4, 9 + n % 4))
        return config(
            script, file, process, group, *(one(k, *trackers) for k in (1, 2, 3)), *rest,
            defs=(fifo, f"vrrp_notify_fifo_script {reader}"),
        )  # fmt: skip

    router.start(text(0))
    pids = (router.daemon.pid, router.child())
    seen = []
    sizes = []
    for n in range(1, 25):
        router.daemon.reload(text(n))
        router.wait_log("Reloaded: ", n)
        if n in (12, 24):
            # Scripts that run just now have some, too.
            looks = [[descriptors(pid) for pid in pids] for _ in range(50) if not time.sleep(0.01)]
            seen.append([min(look[k] for look in looks) for k in (0, 1)])
        if n == 12:
            sizes = [written_kb(pid) for pid in pids]
    assert seen[0] == seen[1]

    def grown() -> list[int]:
        return [written_kb(pid) - size for pid, size in zip(pids, sizes, strict=True)]

    wait_for(lambda: max(grown()) < GROWTH_KB, SETTLED_S, "memory as before")
    assert (router.daemon.pid, router.child()) == pids
    # The VRRP process, the reader of the FIFO, perhaps a script that runs just now.
    wait_for(lambda: len(children(router.daemon.pid)) <= 3, 7, "no process is left over")
    log = router.daemon.log()
    assert " warning: " not in log, log
    assert " error: " not in log, log


@pytest.mark.netns
def test_the_child_dies_in_a_reload(router: Router) -> None:
    """Somebody gets an answer, the router comes back, the next reload works."""
    router.start(config(instance()))
    router.wait_log("Entering MASTER STATE")
    asking = subprocess.Popen(
        router.daemon.command("reload"),
        env=router.daemon.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.kill(router.child(), signal.SIGKILL)
    output, _ = asking.communicate(timeout=10)
    assert output.startswith(("reloaded", "refused"))
    router.wait_log("Entering MASTER STATE", 2)
    assert router.command("reload").returncode == 0
    assert router.states() == {"VI": "MASTER"}
    assert router.daemon.stop() == 0
    assert not {address for address in router.held() if address.startswith("192.0.2.100")}


@pytest.mark.netns
def test_a_file_that_is_being_written(router: Router) -> None:
    """Half of it may be valid: it counts when it is whole."""
    first, second = instance(), instance(name="W", vrid=52, vips=("192.0.2.110/24",))
    router.start(config(first, second))
    router.wait_log("Entering MASTER STATE", 2)
    asking = []
    for _ in range(10):
        with router.daemon.config.open("w") as file:
            os.kill(router.daemon.pid, signal.SIGHUP)
            time.sleep(0.01)
            file.write(config(first))
            file.flush()
            os.kill(router.daemon.pid, signal.SIGHUP)
            time.sleep(0.02)
            file.write(second + "\n")
        asking.append(router.command("reload"))
    assert [done.returncode for done in asking] == [0] * 10
    assert set(router.states().values()) == {"MASTER"}
    log = router.daemon.log()
    assert "removed" not in log
    assert "added" not in log


@pytest.mark.netns
def test_to_nothing_and_back(router: Router) -> None:
    text = config(instance())
    router.start(text)
    router.wait_log("Entering MASTER STATE")
    router.daemon.config.write_text("global_defs { }\n")
    assert router.command("reload").returncode == 0
    assert "no vrrp_instance" in router.command("status").stdout
    assert "192.0.2.100/24" not in router.held()
    router.daemon.config.write_text(text)
    assert router.command("reload").returncode == 0
    router.wait_log("Entering MASTER STATE", 2)
    wait_for(lambda: "192.0.2.100/24" in router.held(), 2, "the address is back")
