"""Programs of the operator: FIFO readers of another account, what becomes of their end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from operator_tools import Router

from fastvrrp.config import model
from fastvrrp.lab.network import wait_for
from fastvrrp.notify.fifo import FifoWriter
from fastvrrp.notify.mail import Mailer
from keepalived_text import block, config, instance


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that other accounts can reach; pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.netns
def test_a_fifo_reader_with_an_account_of_its_own(router: Router, public: Path) -> None:
    """As in the user guide: the FIFO belongs to the account that its reader runs as."""
    lines = public / "lines"
    lines.touch()
    nobody = pwd.getpwnam("nobody")
    os.chown(lines, nobody.pw_uid, nobody.pw_gid)
    reader = public / "reader"
    reader.write_text(f'#!/bin/sh\nid -un >{lines}\nexec cat "$1" >>{lines}\n')
    reader.chmod(0o755)
    router.start(
        config(
            instance(),
            defs=(
                f"vrrp_notify_fifo {public}/fifo nobody",
                f"vrrp_notify_fifo_script {reader} nobody",
            ),
        )
    )
    router.wait_log("Entering MASTER STATE")
    assert router.daemon.stop() == 0
    assert lines.read_text().splitlines() == [
        "nobody",
        *(f'INSTANCE "VI" {state} 100' for state in ("BACKUP", "MASTER", "STOP")),
    ]
    # Its end was wanted: nothing to warn of.
    assert "warning" not in router.daemon.log()


class Recorder:
    """A Runner that starts nothing."""

    def __init__(self, fifo: Path) -> None:
        self.fifo = fifo
        self.found: list[int] = []
        self.terminated_with_open_fifo: list[bool] = []
        self.writer: FifoWriter | None = None

    async def run(self, *args: object, **kwargs: object) -> object:
        raise AssertionError("nothing is run")

    async def start(self, command: model.Command, *, extra_args: object = ()) -> int:
        self.found.append(self.fifo.stat().st_uid)
        return 1

    async def terminate(self, handle: int, *, grace_ns: int = 0) -> None:
        assert self.writer is not None
        self.terminated_with_open_fifo.append(self.writer.is_open)


async def _scene(kind: str, tmp_path: Path) -> Recorder:
    path = tmp_path / "fifo"
    if kind == "file":
        path.write_text("precious\n")
    elif kind == "link":
        os.mkfifo(tmp_path / "target")
        path.symlink_to("target")
    account = model.Account(user="nobody", uid=65534, gid=65534)
    script = model.Command(argv=("/bin/cat",))
    recorder = Recorder(path)
    fifo = model.Fifo(path=str(path), script=script, account=account)
    writer = FifoWriter(fifo, recorder, script_account=None)  # type: ignore[arg-type]
    recorder.writer = writer
    await writer.open()
    writer.write("I", "line", final=True)
    await writer.close()
    return recorder


@pytest.mark.parametrize("kind", ["missing", "file", "link"])
def test_the_reader_comes_last_and_only_to_a_fifo(kind: str, tmp_path: Path) -> None:
    recorder = asyncio.run(_scene(kind, tmp_path))
    if kind == "missing":
        assert recorder.found == [65534]  # it belongs to the reader when that is started
        assert recorder.terminated_with_open_fifo == [True]  # told before it can see the end
        assert not (tmp_path / "fifo").exists()
    else:
        assert recorder.found == []
    if kind == "file":
        assert (tmp_path / "fifo").read_text() == "precious\n"


def test_a_relay_that_drips_does_not_hold_up_the_next_mail() -> None:
    """One byte of a greeting every now and then, for ever."""
    attempts = []

    def drip(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while True:
                client.send(b"2")
                time.sleep(0.02)

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                attempts.append(client)
                threading.Thread(target=drip, args=(client,), daemon=True).start()

    async def scene(port: int) -> None:
        mail = model.Mail(
            smtp_server="127.0.0.1",
            smtp_port=port,
            notification_email=("a@example.com",),
            notification_email_from="b@example.com",
        )
        mailer = Mailer(mail, "edge", retry_delays_s=(), dialogue_limit_s=0.2)
        for state in ("BACKUP", "MASTER"):
            mailer.send("Instance", "VI", state, 100)
        await mailer.close(3)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        began = time.monotonic()
        asyncio.run(scene(listener.getsockname()[1]))
        assert time.monotonic() - began < 2
        listener.shutdown(socket.SHUT_RDWR)
    assert len(attempts) == 2


@pytest.mark.netns
def test_quorum_of_processes_in_words(router: Router) -> None:
    tracker = block("vrrp_track_process p", "process python", "quorum 1000", "quorum_max 2000")
    router.start(config(tracker, instance(block("track_process", "p"))))
    wait_for(lambda: router.states() == {"VI": "FAULT"}, 5, "too few processes")
    assert "found, 1000 to 2000 needed" in router.command("status", "VI").stdout
