"""A supervisor under test: started as a process, watched from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastvrrp.control.client import Client

LAUNCH = Path(__file__).with_name("launch.py")
SOURCE = Path(__file__).parents[2] / "src"

CONFIGURATION = """\
child_wait_time 1
global_defs {{
    enable_script_security
    script_user root
    {extra}
}}
vrrp_script chk {{
    script "/bin/true"
}}
vrrp_instance V1 {{
    interface sup-absent
    virtual_router_id 1
    priority 100
    virtual_ipaddress {{
        192.0.2.100/24
    }}
    track_script {{
        chk weight 1
    }}
}}
"""

SECOND = """\
vrrp_instance V2 {
    interface sup-absent
    virtual_router_id 2
    virtual_ipaddress {
        192.0.2.102/24
    }
}
"""


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Poll until `condition()` is true; returns its value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.02)


SERVER = """\
virtual_server 192.0.2.200 80 {
    delay_loop 6
    lb_algo rr
    lb_kind NAT
    protocol TCP
    real_server 198.51.100.1 80 {
        TCP_CHECK {
            connect_timeout 3
        }
    }
}
"""


def processes(run_dir: Path) -> list[int]:
    """Everything that has to do with a run directory or with the files beside it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if os.fsencode(run_dir.parent) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


class Daemon:
    """Context manager: a supervisor with fake children in `directory`. `plan` is the VRRP
    process's, `servers` the IPVS process's."""

    def __init__(
        self,
        directory: Path,
        *plan: str,
        extra: str = "",
        watchdog_us: int = 0,
        settings: dict[str, Any] | None = None,
        servers: Sequence[str] = ("run",),
        only: str | None = None,
    ) -> None:
        self.directory = directory
        self.run_dir = directory / "run"
        self.file = directory / "test.conf"
        self.only = () if only is None else (only,)
        self.stderr = directory / "stderr"
        self.configure(CONFIGURATION.format(extra=extra))
        self.plan = {"vrrp": plan or ("run",), "ipvs": servers}
        self.name = f"fastvrrp-test-{uuid.uuid4()}"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind("\0" + self.name)
        self.notify.settimeout(30)
        self.watchdog_us = watchdog_us
        self.settings = settings or {}
        self.process: subprocess.Popen[bytes]

    def configure(self, text: str) -> None:
        self.file.write_text(text)

    def __enter__(self) -> Daemon:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join((str(SOURCE), os.environ.get("PYTHONPATH", ""))),
            "NOTIFY_SOCKET": "@" + self.name,
            "FAKE_LOG": str(self.directory),
            "FAKE_PLAN": json.dumps(self.plan),
        }
        if self.watchdog_us:
            environment["WATCHDOG_USEC"] = str(self.watchdog_us)
        with self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, str(LAUNCH), str(self.file), str(self.run_dir)),
                    json.dumps(self.settings),
                    *self.only,
                ],
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.notify.close()
        if kind is not None:
            sys.stderr.write(self.stderr.read_text())

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def logged(self, text: str) -> bool:
        return text in self.stderr.read_text()

    def notified(self) -> dict[str, str]:
        """The next datagram to systemd, as its assignments."""
        lines = self.notify.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def notified_with(self, key: str) -> dict[str, str]:
        """The next datagram that has `key`."""
        while True:
            got = self.notified()
            if key in got:
                return got

    def ready(self) -> None:
        assert self.notified_with("READY")["READY"] == "1"

    def did(self, child: str = "vrrp") -> str:
        """What a child of this role did, all its lives."""
        path = self.directory / f"{child}.log"
        return path.read_text() if path.exists() else ""

    def when(self, what: str, child: str = "vrrp") -> float:
        """The time at which a child did something first."""
        line = next(line for line in self.did(child).splitlines() if what in line)
        return float(line.split()[0])

    def lives(self, child: str = "vrrp") -> list[tuple[float, int]]:
        """When each child was born, and its process id."""
        text = self.did(child)
        born = [line.split() for line in text.splitlines() if line.endswith(" born")]
        return [(float(when), int(pid)) for when, pid, _ in born]

    def child_said(self, text: str, child: str = "vrrp") -> bool:
        return text in self.did(child)

    def request(self, method: str, **params: Any) -> Any:
        with Client(self.run_dir) as client:
            return client.request(method, params)
