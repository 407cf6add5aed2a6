"""The engine's workers (engine_worker.py, threads_worker.py) as the tests see them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from fastvrrp import _core
from fastvrrp.lab.network import Node, wait_for


class Worker:
    """A worker in a node, its events collected."""

    def __init__(self, node: Node, program: str = "engine_worker.py", **what: object) -> None:
        defaults = {
            "interface": "eth0",
            "mac": node.mac(),
            "source": node.ipv4(),
            "vrid": 51,
            "priority": 200,
            "advert_int_ms": 100,
            "vip": "10.0.0.100",
        }
        self.process = node.call(
            subprocess.Popen,
            [sys.executable, Path(__file__).parent / program, json.dumps(defaults | what)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def say(self, command: str) -> None:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def events(self, kind: int, slot: int = 0) -> list[dict]:
        return [e for e in self.lines if e.get("kind") == kind and e["slot"] == slot]

    def states(self, slot: int = 0) -> list[int]:
        """In their order, whichever of several engines they were read from first."""
        entered = self.events(_core.EV_STATE, slot)
        return [e["b"] for e in sorted(entered, key=lambda e: e["sequence"])]

    def ask(self, command: str, timeout_s: float = 10) -> object:
        """Say a command that is answered by a line with one key."""
        before = len(self.lines)
        self.say(command)
        wait_for(lambda: any(len(x) == 1 for x in self.lines[before:]), timeout_s, command)
        return next(iter(next(x for x in self.lines[before:] if len(x) == 1).values()))

    def close(self) -> None:
        if self.process.poll() is None:
            self.say("stop")
            self.process.wait(10)
        self.process.stdin.close()


class Heard:
    """Adverts that one worker sent and another one heard. They cannot be asked at one moment, so
    the sender is asked before and after the hearer."""

    IN_FLIGHT = 2  # sent, but not read yet

    def __init__(self, sender: Worker, hearer: Worker) -> None:
        self._sender = sender
        self._hearer = hearer
        self._before = self._count()

    def _count(self) -> tuple[int, int, int]:
        sent = self._sender.ask("status 0")["advert_sent"]
        heard = self._hearer.ask("status 0")["advert_rcvd"]
        return sent, heard, self._sender.ask("status 0")["advert_sent"]

    def since(self) -> tuple[int, int, int]:
        """Heard since then, and the least and the most that may be."""
        first, heard, last = self._before
        new_first, new_heard, new_last = self._count()
        return (
            new_heard - heard,
            new_first - last - self.IN_FLIGHT,
            new_last - first + self.IN_FLIGHT,
        )
