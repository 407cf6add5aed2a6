"""Where large blocks of memory come from, and what is kept of a large configuration."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from supervised import Daemon, wait_for

from fastvrrp.config.memory import Last, digest
from fastvrrp.config.model import GlobalDefs
from fastvrrp.control.protocol import NOT_FOUND, ControlError
from fastvrrp.supervisor.held import WORTH_PACKING, Held, Part, Stowed

MB = 1 << 20
SERVERS = 3000
MANY = 4096

PROGRAM = """
import ctypes
from pathlib import Path
from fastvrrp.supervisor.process import LARGE, keep_large_apart

keep_large_apart()
for size in (16 * LARGE, 4 * LARGE, 2 * LARGE):
    block = bytearray(size)
    at = ctypes.addressof(ctypes.c_char.from_buffer(block))
    for line in Path("/proc/self/maps").read_text("ascii").splitlines():
        begin, end = (int(text, 16) for text in line.split()[0].split("-"))
        if begin <= at < end:
            print("heap" if line.endswith("[heap]") else "apart")
    del block
"""


def test_large_blocks_do_not_come_from_the_heap() -> None:
    """Not even after larger ones were freed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["apart"] * 3


def balancer(paths: Sequence[str]) -> str:
    """A virtual server with an HTTP check for each of these paths."""
    return "".join(
        f"virtual_server 10.0.{n >> 8}.{n & 255} 80 {{\n"
        f"lvs_sched rr\nlvs_method NAT\nprotocol TCP\n"
        f"real_server 10.1.0.1 80 {{\nHTTP_GET {{\nurl {{\npath /{path}\n}}\n}}\n}}\n}}\n"
        for n, path in enumerate(paths, 1)
    )


def routers(count: int) -> str:
    return "".join(
        f"vrrp_instance V{n} {{\ninterface sup{n // 255}\nvirtual_router_id {n % 255 + 1}\n"
        f"virtual_ipaddress {{\n10.{n >> 8}.{n & 255}.1/32\n}}\n}}\n"
        for n in range(count)
    )


def noise(count: int, size: int) -> list[str]:
    """Of which no half can be saved."""
    chance = random.Random(1)
    return [chance.randbytes(size // 2).hex() for _ in range(count)]


def anonymous(daemon: Daemon) -> int:
    """Bytes that the supervisor itself has."""
    rollup = Path(f"/proc/{daemon.process.pid}/smaps_rollup").read_text("ascii")
    (line,) = [line for line in rollup.splitlines() if line.startswith("Anonymous:")]
    return int(line.split()[1]) * 1024


def test_a_large_configuration_is_kept_in_little_memory(tmp_path: Path) -> None:
    """And is what it was when a child is started again, and for the next reading."""
    daemon = Daemon(tmp_path)
    daemon.configure(balancer(["x"]))
    with daemon:
        daemon.ready()
        small = anonymous(daemon)
        text = balancer(["x" * 900] * SERVERS)
        daemon.configure(text)
        assert daemon.request("reload")["ok"]
        wait_for(lambda: anonymous(daemon) < small + len(text) / 4, "little memory")
        ((_, pid),) = daemon.lives("ipvs")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: daemon.did("ipvs").count("configure 2 ") == 2, "a second child has it")
        before, after = [line for line in daemon.did("ipvs").splitlines() if "configure 2 " in line]
        assert before.split()[2:] == after.split()[2:]
        result = daemon.request("reload")
        assert (result["ok"], result["blocks"], result["parsed"]) == (True, SERVERS, 0)


def test_nothing_stays_of_the_first_configuration(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    little, much = balancer(["x"]), balancer(noise(SERVERS, 900))
    daemon.configure(little)
    with daemon:
        daemon.ready()
        small = anonymous(daemon)
    daemon = Daemon(tmp_path)
    daemon.configure(much)
    with daemon:
        daemon.ready()
        daemon.configure(little)
        assert daemon.request("reload")["ok"]
        wait_for(lambda: anonymous(daemon) < small + len(much) / 4, "little memory")


def test_nothing_stays_of_what_a_crash_took(tmp_path: Path) -> None:
    """Priority 0 for thousands of masters takes what they are, and the next child says of each how
    it is."""

    def answers(daemon: Daemon) -> bool:
        try:
            daemon.request("status", name="nobody")
        except ControlError as exc:
            return exc.code == NOT_FOUND
        return False

    def crash(daemon: Daemon, life: int) -> None:
        os.kill(daemon.lives()[-1][1], signal.SIGKILL)
        wait_for(lambda: daemon.did().count("configure 1 ") > life, "another child has it")
        wait_for(lambda: answers(daemon), "it runs, and has said how they are")

    def crash_often(daemon: Daemon) -> None:
        daemon.ready()
        for life in range(1, 4):  # the last time what the start took is long gone
            crash(daemon, life)

    daemon = Daemon(tmp_path)
    daemon.configure(routers(1))
    with daemon:
        crash_often(daemon)
        small = anonymous(daemon)
    (tmp_path / "vrrp.log").unlink()
    daemon = Daemon(tmp_path)
    daemon.configure(routers(MANY))
    with daemon:
        crash_often(daemon)
        wait_for(lambda: anonymous(daemon) < small + 700 * MANY, "little memory")


@pytest.mark.parametrize("data", [b"x" * MB, random.Random(1).randbytes(MB), b"x", b""])
def test_what_is_kept_is_what_it_was(data: bytes) -> None:
    stowed = Stowed(data)
    for _ in range(2):
        stowed.pack()
        assert len(stowed.data) == len(data) if data[:2] != b"xx" else len(stowed.data) < MB / 100
        assert stowed.get() == data


def held_of(size: int) -> Held:
    """A configuration with so many bytes in each of its parts."""
    memory, ipvs, vrrp = (letter * size for letter in (b"m", b"i", b"v"))
    return Held(
        global_defs=GlobalDefs(),
        source_files=(),
        namespace_ipvs=None,
        parts={"vrrp": Part(data=Stowed(vrrp)), "ipvs": Part(data=Stowed(ipvs))},
        memory=Stowed(memory),
        check=digest(memory, ipvs, vrrp),
    )


def test_a_small_configuration_stays_as_it_is() -> None:
    """zlib would take more than it saves."""
    least = -(-WORTH_PACKING // 3)
    for size, is_packed in ((least - 1, False), (least, True)):
        held = held_of(size)
        held.pack()
        assert held.parts["vrrp"].data.is_packed == is_packed
        assert held.memory.is_packed == is_packed


def test_where_memory_is_short_it_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_short(data: bytes, *given: object) -> bytes:
        raise MemoryError

    held = held_of(MB)
    with monkeypatch.context() as patched:
        patched.setattr("zlib.compress", too_short)
        held.pack()
    whole = held.last()
    assert Last.of(whole) == Last(b"m" * MB, b"i" * MB, b"v" * MB, held.check)
    held.pack()
    with monkeypatch.context() as patched:
        patched.setattr("zlib.decompress", too_short)
        assert held.last() == b"", "the next reading takes nothing over"
    assert held.last() == whole


def test_what_was_damaged_is_not_used() -> None:
    held = held_of(MB)
    held.pack()
    assert Last.of(held.last()) == Last(b"m" * MB, b"i" * MB, b"v" * MB, held.check)
    for one in (held.memory, held.parts["vrrp"].data, held.parts["ipvs"].data):
        whole = one.data
        one.data = whole[:-1] + bytes([whole[-1] ^ 1])
        with pytest.raises(ValueError, match="damaged"):
            one.get()
        assert held.last() == b""
        one.data = whole
