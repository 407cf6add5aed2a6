"""The prober shows that it lives: what the supervisor's watch makes of one that works, is idle, or
hangs in a system call."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastvrrp._core import Prober
from fastvrrp.supervisor import pulse
from fastvrrp.supervisor.pulse import Page, Watch

LIMIT_S = 0.3
HANGING_PORT = 7

# A connect() to one port never returns, as with a broken driver or filter.
_SHIM = f"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
int connect(int fd, const struct sockaddr *to, socklen_t size) {{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    const struct sockaddr_in *four = (const struct sockaddr_in *) to;
    if (to->sa_family == AF_INET && ntohs(four->sin_port) == {HANGING_PORT})
        for (;;) pause();
    return real(fd, to, size);
}}
"""

# Arguments: the page and the alarm; each line of its input is a port to probe.
_PROGRAM = """
import sys
from fastvrrp._core import Prober

MS = 1_000_000
prober = Prober(pulse=int(sys.argv[1]), alarm=int(sys.argv[2]), alarm_ns=300 * MS)
prober.start()
print(flush=True)
for line in sys.stdin:
    prober.add(b"\\x7f\\0\\0\\1", int(line), timeout_ns=100 * MS, delay_loop_ns=20 * MS,
               delay_before_retry_ns=20 * MS, warmup_ns=0, retry=0, random=0)
"""


@pytest.fixture
def page() -> Iterator[tuple[int, Page]]:
    fd = pulse.create()
    made = Page(fd)
    yield fd, made
    made.close()
    os.close(fd)


def test_it_shows_its_turns_and_that_it_ended(page: tuple[int, Page]) -> None:
    fd, signs = page
    prober = Prober(pulse=fd)
    assert signs.read() == pulse.Signs(0, 0, 0), "nothing before it runs"
    prober.start()
    deadline = time.monotonic() + 5
    while signs.read().due_ns != pulse.NEVER_NS:
        assert time.monotonic() < deadline, "idle"
        time.sleep(0.001)
    values = {"timeout_ns": 10**9, "delay_loop_ns": 10**12, "delay_before_retry_ns": 10**9}
    before = time.monotonic_ns()
    prober.add(b"\x7f\0\0\1", 1, warmup_ns=10**12, retry=0, random=2**31, **values)  # type: ignore[arg-type]
    while not before + 10**9 < signs.read().due_ns < pulse.NEVER_NS:
        assert time.monotonic() < deadline, "it waits for its check"
        time.sleep(0.001)
    assert signs.read().turns > 0
    prober.stop()
    assert prober.join(5)
    assert signs.read().due_ns == pulse.NEVER_NS
    del prober


def test_a_bad_descriptor_makes_none() -> None:
    with pytest.raises(OSError, match="pulse"):
        Prober(pulse=2**20)


def test_one_that_hangs_is_found(page: tuple[int, Page], tmp_path: Path) -> None:
    fd, signs = page
    (tmp_path / "shim.c").write_text(_SHIM)
    shim = str(tmp_path / "shim.so")
    command = ["cc", "-shared", "-fPIC", "-o", shim, str(tmp_path / "shim.c"), "-ldl"]
    subprocess.run(command, check=True)
    watch = Watch(LIMIT_S, "prober")
    alarm = pulse.create_alarm()
    with (
        os.fdopen(alarm, "rb", buffering=0),
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(fd), str(alarm)],
            env=os.environ | {"LD_PRELOAD": shim},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[fd, alarm],
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # it runs

        def look(port: int, turns: int) -> str:
            """What is wrong when this port is probed, too; nothing, when it turns so often."""
            assert process.stdin is not None
            process.stdin.write(f"{port}\n".encode())
            process.stdin.flush()
            last, deadline = signs.read().turns + turns, time.monotonic() + 10
            while signs.read().turns < last:
                reason, _ = watch.look(signs.read(), time.monotonic())
                if reason:
                    return reason
                assert time.monotonic() < deadline, "neither works nor hangs"
                time.sleep(0.02)
            return ""

        try:
            assert look(server.getsockname()[1], 30) == ""
            assert not select.select([alarm], [], [], 0)[0], "it was always put off"
            assert look(HANGING_PORT, 10**9).startswith("its prober has stood still for ")
            assert select.select([alarm], [], [], 10)[0], "the supervisor is woken up"
        finally:
            process.kill()
