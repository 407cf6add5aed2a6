"""SMTP_CHECK: banner 220, HELO answered 250, QUIT answered by any line (RFC 5321 3.1, 4.1.1).

`Dialogue` is what the server says and what to say next; `SmtpProbe` has the socket and the time.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import NamedTuple

from fastvrrp.config.servers import SmtpCheck
from fastvrrp.ipvs.checks.base import Done, Outcome, Surroundings, Verdict, detail
from fastvrrp.ipvs.checks.dial import Dial, describe

LINE_BYTES_MAX = 512  # RFC 5321 4.5.3.1.5, with its line end


class Step(NamedTuple):
    """What follows from something the server said."""

    send: bytes = b""  # the next question: its answer has connect_timeout again
    failure: str = ""
    over: bool = False  # successfully


# what was asked -> how the line that answers it begins
_CODES = {"banner": b"220 ", "HELO": b"250 ", "QUIT": b""}


class Dialogue:
    """One session's lines. Pure: bytes in, bytes to send out."""

    __slots__ = ("_asked", "_helo", "_received")

    def __init__(self, helo_name: str) -> None:
        self._helo = b"HELO " + helo_name.encode() + b"\r\n"
        self._asked = "banner"
        self._received = b""

    @property
    def asked(self) -> str:
        """What the server is to answer: banner, HELO, QUIT."""
        return self._asked

    def received(self, data: bytes) -> Step:
        """Take what the server said, of any length; to be called no more after an end.

        What comes together with a line, behind it, was said before the next question: it is no
        answer to that, and forgotten.
        """
        self._received += data
        line, end, _ = self._received.partition(b"\n")
        if len(line) + len(end) > LINE_BYTES_MAX:
            return Step(failure=f"{self._asked}: a line of more than {LINE_BYTES_MAX} bytes")
        if not end:
            return Step()
        self._received = b""
        if not line.startswith(_CODES[self._asked]):
            return Step(failure=f"{self._asked}: {line.rstrip().decode('latin-1')}")
        match self._asked:
            case "banner":
                self._asked = "HELO"
                return Step(send=self._helo)
            case "HELO":
                self._asked = "QUIT"
                return Step(send=b"QUIT\r\n")
            case _:
                return Step(over=True)


class SmtpProbe:
    """See base.py."""

    __slots__ = (
        "_began_ns",
        "_connection",
        "_dial",
        "_dialogue",
        "_done",
        "_helo_name",
        "_loop",
        "_sock",
        "_timer",
    )

    steps = 1

    def __init__(self, check: SmtpCheck, surroundings: Surroundings) -> None:
        self._connection = check.connection
        self._helo_name = check.helo_name
        self._loop = surroundings.loop
        self._done: Done | None = None
        self._dial: Dial | None = None
        self._dialogue: Dialogue | None = None
        self._sock: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began_ns = 0

    def start(self, step: int, done: Done) -> None:
        """See Probe."""
        assert self._done is None
        assert step == 0
        self._done = done
        self._began_ns = time.monotonic_ns()
        self._dial = Dial(self._loop, self._connection, self._connected, self._end)

    def cancel(self) -> None:
        """See Probe."""
        self._done = None
        self._dialogue = None
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _connected(self, sock: socket.socket) -> None:
        self._dial = None
        self._sock = sock
        self._dialogue = Dialogue(self._helo_name)
        self._loop.add_reader(sock.fileno(), self._readable)
        self._wait()

    def _wait(self) -> None:
        """The next line has connect_timeout, however many bytes it comes in."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._connection.timeout_ns / 1e9, self._late)

    def _readable(self) -> None:
        assert self._sock is not None
        assert self._dialogue is not None
        asked = self._dialogue.asked
        try:
            data = self._sock.recv(LINE_BYTES_MAX)
            if not data:
                self._end(Verdict.DOWN, f"{asked}: connection closed")
                return
            step = self._dialogue.received(data)
            # A few bytes into an empty buffer of the kernel's.
            if step.send and self._sock.send(step.send) < len(step.send):
                self._end(Verdict.LOCAL, f"{asked}: our answer was not sent completely")
                return
        except BlockingIOError:
            return
        except OSError as e:
            self._end(Verdict.DOWN, f"{asked}: {describe(e)}")
            return
        if step.failure:
            self._end(Verdict.DOWN, step.failure)
        elif step.over:
            self._end(Verdict.UP, "banner, HELO and QUIT answered")
        elif step.send:
            self._wait()

    def _late(self) -> None:
        assert self._dialogue is not None
        self._end(Verdict.DOWN, f"{self._dialogue.asked}: no line in time")

    def _end(self, verdict: Verdict, text: str) -> None:
        done = self._done
        assert done is not None
        self.cancel()
        done(Outcome(verdict, detail(text), time.monotonic_ns() - self._began_ns))
