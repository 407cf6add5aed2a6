"""The log in syslogd's hands: form, and what happens when it does not read."""

from __future__ import annotations

import logging
import os
import re
import socket
from pathlib import Path

from fastvrrp.supervisor.destinations import SyslogHandler


def record(text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("x", level, "", 0, text, None, None)


def test_form_and_a_syslogd_that_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    handler = SyslogHandler("Keepalived_vrrp", "local1", address=str(path))
    handler.emit(record("nobody is there"))
    for _ in range(2):  # the second is a new one under the same name
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(path))
            server.settimeout(5)
            handler.emit(record("first\nsecond", logging.ERROR))
            head = (
                rf"<{17 * 8 + 3}>\w{{3}} [ \d]\d \d\d:\d\d:\d\d Keepalived_vrrp\[{os.getpid()}\]: "
            )
            assert re.fullmatch(head + r"(\(1 messages lost\) )?first", server.recv(999).decode())
            assert re.fullmatch(head + "second", server.recv(999).decode())
    handler.close()


def test_one_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        server.setblocking(False)
        handler = SyslogHandler("k", "daemon", address=str(tmp_path / "log"))
        for number in range(2000):  # more than a queue of the kernel has
            handler.emit(record(f"line {number}"))
        taken = 0
        while True:
            try:
                server.recv(999)
            except BlockingIOError:
                break
            taken += 1
        handler.emit(record("again"))
        assert f"({2000 - taken} messages lost) again" in server.recv(999).decode()
        handler.close()
