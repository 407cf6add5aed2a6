"""What keepalived and fastvrrp make of the corpus's virtual servers in the kernel's IPVS table.

Each daemon has a namespace of its own, in which some of the servers answer. The tables are read as
`ipvsadm` shows them: at the start, when the checks have said what they can, and after the stop.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from corpus import Case
from corpus_balancer import ANSWERING, Part, lonely, text_of, whole
from guest_tools import ip, namespace, run

from fastvrrp.net.namespace import enter

DAEMONS = ("keepalived", "fastvrrp")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
PATIENCE_S = 150.0  # of a busy machine, on which one daemon fails a server long before the other
STILL_S = 4.0  # a table that has not changed for so long has settled
PAUSE_S = 0.5
STOP_S = 30.0
SERVICE = re.compile(r"-[Aa] (?:-f |-\w (?=10))(10\.\d+\.\d+\.|\d+)")  # the mark of a part
LOG_BYTES = 5000  # of each log, printed

Table = list[str]


class Pair(NamedTuple):
    """Something of keepalived's, and the same of ours."""

    theirs: Table
    ours: Table

    @property
    def differ(self) -> bool:
        return self.theirs != self.ours


class Web:
    """A server of a namespace that answers every request with the same page, in a thread."""

    def __init__(self, space: str) -> None:
        self._space = space
        self._bell, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        enter(self._space)
        with socket.create_server(("0.0.0.0", 80), backlog=1024) as listening:
            open_ones: set[socket.socket] = set()
            poll = select.poll()
            by_number = {listening.fileno(): listening, self._bell.fileno(): self._bell}
            for number in by_number:
                poll.register(number, select.POLLIN)
            while True:
                for number, _ in poll.poll():
                    sock = by_number[number]
                    if sock is self._bell:
                        for one in open_ones:
                            one.close()
                        return
                    if sock is listening:
                        accepted = listening.accept()[0]
                        open_ones.add(accepted)
                        by_number[accepted.fileno()] = accepted
                        poll.register(accepted.fileno(), select.POLLIN)
                        continue
                    with contextlib.suppress(OSError):
                        if sock.recv(4096):
                            sock.send(ANSWER)
                    poll.unregister(number)
                    del by_number[number]
                    open_ones.discard(sock)
                    sock.close()

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join()
        self._bell.close()
        self._wake.close()


def daemon(
    kind: str, space: str, directory: Path, text: str, *options: str
) -> subprocess.Popen[bytes]:
    """Start keepalived, or fastvrrp with keepalived's command line, in a namespace."""
    directory.mkdir(exist_ok=True)
    (directory / "k.conf").write_text(text)
    d = str(directory)
    program = ["keepalived"]
    if kind == "fastvrrp":
        program = [sys.executable, "-m", "fastvrrp", "keepalived", "--run-dir", f"{d}/run"]
    # fmt: off
    command = [
        "ip", "netns", "exec", space, *program, "-n", "-l", "-G", "-D", "-f", f"{d}/k.conf",
        "-p", f"{d}/pid", "-r", f"{d}/vrrp.pid", "-c", f"{d}/checkers.pid", *options,
    ]
    # fmt: on
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@contextlib.contextmanager
def spaces() -> Iterator[tuple[str, str]]:
    """Two namespaces with servers that answer, and a LAN each."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(2):
            space = stack.enter_context(namespace())
            ip(f"-n {space} link add lan0 type dummy")
            ip(f"-n {space} address add 10.9.0.1/16 dev lan0")
            ip(f"-n {space} link set lan0 up multicast on arp on")
            ip(f"-n {space} route add local {ANSWERING} dev lo")
            web = Web(space)
            stack.callback(web.close)
            found.append(space)
        yield found[0], found[1]


class Life:
    """Both daemons with the same file, in a context."""

    def __init__(self, pair: tuple[str, str], directory: Path, text: str, *options: str) -> None:
        self._spaces = pair
        directory.mkdir(parents=True)
        (directory / "x").write_text("")  # the file that is tracked
        text = text_of(text, directory)
        self._logs = [directory / kind / "log" for kind in DAEMONS]
        self._daemons = [
            daemon(kind, space, directory / kind, text, *options)
            for kind, space in zip(DAEMONS, pair, strict=True)
        ]

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *exc: object) -> None:
        for one in self._daemons:
            one.kill()
            one.wait()
        if exc[0] is not None:
            for log in self._logs:
                print(log.read_text(errors="replace")[-LOG_BYTES:])

    def read(self) -> Pair:
        """What `ipvsadm` says in both namespaces: the table, timeouts, sync daemons."""
        return Pair(
            *(
                [
                    line
                    for words in (["-Sn"], ["-L", "--timeout"], ["-L", "--daemon"])
                    for line in run("ip", "netns", "exec", space, "ipvsadm", *words).splitlines()
                ]
                for space in self._spaces
            )
        )

    def settled(
        self,
        services: int,
        different: Callable[[Pair], Any],
        seen: Callable[[Pair], None] = lambda now: None,
    ) -> Pair:
        """Both tables, once keepalived's has so many services, has been the same for a while, and
        the other does not differ; or as they are when that takes too long. `seen` is told whenever
        keepalived's has changed."""
        end = time.monotonic() + PATIENCE_S
        before: Pair | None = None
        since = time.monotonic()
        while True:
            now = self.read()
            if before is None or now.theirs != before.theirs:
                since = time.monotonic()
                seen(now)
            before = now
            are_there = sum(line.startswith("-A") for line in now.theirs) >= services
            is_still = time.monotonic() - since > STILL_S
            if time.monotonic() > end or (are_there and is_still and not different(now)):
                return now
            if are_there:
                time.sleep(PAUSE_S)

    def log(self, which: int) -> list[str]:
        """Of keepalived (0) or of fastvrrp (1)."""
        return self._logs[which].read_text(errors="replace").splitlines()

    def stop(self) -> list[int]:
        """The exit status of both."""
        for one in self._daemons:
            one.terminate()
        return [one.wait(STOP_S) for one in self._daemons]


def of_parts(parts: Sequence[Part], pair: Pair) -> Iterator[tuple[Part, Pair]]:
    """The lines about each virtual server."""

    def by_mark(lines: Table) -> dict[str, Table]:
        found: dict[str, Table] = {}
        for line in lines:
            if match := SERVICE.match(line):
                found.setdefault(match[1], []).append(line)
        return found

    theirs, ours = by_mark(pair.theirs), by_mark(pair.ours)
    for part in parts:
        lines = [
            [line for mark in part.marks for line in of.get(mark, ())] for of in (theirs, ours)
        ]
        yield part, Pair(*lines)


@dataclass
class Told:
    """What came of many files together: by part what differs, the reasons of what differs on
    purpose, and how many servers keepalived's table had; both after the stop, and their status."""

    different: dict[str, Pair]
    meant: set[str]
    servers: dict[str, int]
    left: Pair
    status: list[int]


def together(parts: Sequence[Part], directory: Path, services: int) -> Told:
    """Run both with all of these; `services` is how many keepalived's table will have at least."""

    history: dict[str, list[Table]] = {part.name: [] for part in parts}

    def was_same(part: Part, pair: Pair) -> bool:
        """Whether keepalived had it so at any time, perhaps between two looks."""
        if part.is_lasting:
            return False
        without = [line for line in pair.ours if not line.startswith("-a ")]
        text = f" from VS [{part.marks[0]}"
        is_removed = pair.theirs == without and any(
            line.count("Removing service") and text in line for line in life.log(0)
        )
        return is_removed or pair.ours in history[part.name]

    def different(now: Pair) -> dict[str, Pair]:
        return {
            part.name: pair
            for part, pair in of_parts(parts, now)
            if pair.differ and not part.meant and not was_same(part, pair)
        }

    def seen(now: Pair) -> None:
        for part, pair in of_parts(parts, now):
            if pair.theirs not in history[part.name]:
                history[part.name].append(pair.theirs)

    with spaces() as both, Life(both, directory, whole(list(parts)), "-C") as life:
        found = life.settled(services, different, seen)
        tables = list(of_parts(parts, found))
        meant = {part.meant for part, pair in tables if part.meant and pair.differ}
        servers = {
            part.name: sum(line.startswith("-a ") for line in pair.theirs) for part, pair in tables
        }
        status = life.stop()
        return Told(different(found), meant, servers, life.read(), status)


def alone(case: Case, directory: Path) -> dict[str, Pair]:
    """Run both with one file; what differs: when both have started, and after the stop."""
    with spaces() as pair, Life(pair, directory, lonely(case)) as life:
        found = {"start": life.settled(0, lambda now: now.differ)}
        status = life.stop()
        found["stopped"] = life.read()
        found["status"] = Pair(*([str(one)] for one in status))
    return {step: one for step, one in found.items() if one.differ}
