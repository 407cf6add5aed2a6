"""A whole daemon in a namespace of the guest, and servers of it that come and go."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest_tools import run

from fastvrrp.control.client import Client, Unreachable
from fastvrrp.net.namespace import enter

LIMIT_S = 30.0


def wait_for(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {limit_s} s"
        time.sleep(0.05)
    return value


class Servers:
    """TCP servers of a namespace that accept and close, in a thread of this process."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._listening: dict[tuple[str, int], socket.socket] = {}
        self._changes: list[tuple[tuple[str, int], bool, threading.Event]] = []
        self._bell, self._wake = socket.socketpair()
        self._ended = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended = True
        self._wake.send(b"x")
        self._thread.join()
        for sock in (*self._listening.values(), self._bell, self._wake):
            sock.close()

    def up(self, *places: tuple[str, int]) -> None:
        for place in places:
            self._change(place, True)

    def down(self, *places: tuple[str, int]) -> None:
        for place in places:
            self._change(place, False)

    def _change(self, place: tuple[str, int], up: bool) -> None:
        done = threading.Event()
        self._changes.append((place, up, done))
        self._wake.send(b"x")
        assert done.wait(10)

    def _serve(self) -> None:
        enter(self._namespace)
        while not self._ended:
            ready, _, _ = select.select([self._bell, *self._listening.values()], [], [])
            for sock in ready:
                if sock is not self._bell:
                    sock.accept()[0].close()
            if self._bell in ready:
                self._bell.recv(1)
                while self._changes:
                    place, up, done = self._changes.pop(0)
                    if up:
                        self._listening[place] = socket.create_server(place)
                    else:
                        self._listening.pop(place).close()
                    done.set()


class Daemon:
    """`fastvrrp run` in a namespace; at the end of the context it is killed if it still runs."""

    def __init__(self, namespace: str, directory: Path, *options: str) -> None:
        self.namespace = namespace
        self.file = directory / "test.conf"
        self.run_dir = directory / "run"
        self.stderr = directory / "stderr"
        self._options = options
        self.process: subprocess.Popen[bytes]

    def start(self, text: str) -> Daemon:
        """Start it, and wait until it is ready."""
        self.file.write_text(text)
        before = self.log().count("Ready: ")
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-m", "fastvrrp", "run"]
        with self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*command, "-f", str(self.file), "--run-dir", str(self.run_dir), *self._options],
                stdin=subprocess.DEVNULL,
                stderr=stderr,
            )
        wait_for(lambda: self.log().count("Ready: ") > before or self.ended, "ready")
        return self

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self.ended:
            self.process.kill()
        print(self.log())

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def log(self) -> str:
        return self.stderr.read_text() if self.stderr.exists() else ""

    def stop(self) -> int:
        """An orderly stop; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def kill(self, name: str) -> None:
        """kill -9 of a child ("vrrp", "ipvs") or of the supervisor ("")."""
        pid = self.status()["daemon"][name]["pid"] if name else self.process.pid
        os.kill(pid, signal.SIGKILL)
        if not name:
            self.process.wait()

    def request(self, method: str, **params: Any) -> Any:
        with Client(self.run_dir) as client:
            return client.request(method, params)

    def status(self) -> Any:
        return wait_for(self._status, "an answer")

    def _status(self) -> Any:
        try:
            return self.request("status")
        except Unreachable:
            return None

    def reload(self, text: str) -> Any:
        self.file.write_text(text)
        return self.request("reload")

    def cli(self, *words: str) -> str:
        return run(sys.executable, "-m", "fastvrrp", *words, "--run-dir", str(self.run_dir))

    def table(self, namespace: str = "") -> list[str]:
        """`ipvsadm -Sn`, which is sorted."""
        command = ("ip", "netns", "exec", namespace or self.namespace, "ipvsadm", "-Sn")
        return run(*command).splitlines()

    def has(self, *lines: str) -> None:
        """Wait until the table is exactly this."""
        try:
            wait_for(lambda: self.table() == list(lines), "the table")
        except AssertionError:
            assert self.table() == list(lines), "in the end"
