"""Alert mail through a real SMTP server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import email
import email.message
import email.policy
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from notify_helpers import Fake, configuration, instance

from fastvrrp.config import model
from fastvrrp.notify import mail as mail_module
from fastvrrp.notify.mail import Mailer, compose, subject
from fastvrrp.notify.queue import Notifier
from looping import Run, until

ALERT = model.Notify(smtp_alert=True)


class Server:
    """An SMTP server that keeps what it got; `replies` are given to the first DATA commands."""

    def __init__(self) -> None:
        self.envelopes: list[tuple[str, str, list[str]]] = []
        self.messages: list[email.message.EmailMessage] = []
        self.replies: list[str] = []
        self.refuse: set[str] = set()
        self.attempts = 0
        # In a thread of its own: the loop of the test is what must not be held up.
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            self._loop.create_server(
                lambda: SMTP(self, hostname="relay.example", loop=self._loop), "127.0.0.1", 0
            )
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address in self.refuse:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.attempts += 1
        if self.replies:
            return self.replies.pop(0)
        self.envelopes.append((session.host_name, envelope.mail_from, envelope.rcpt_tos))
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, email.message.EmailMessage)
        self.messages.append(message)
        return "250 OK"

    @property
    def subjects(self) -> list[str]:
        return [message["Subject"] for message in self.messages]

    async def _end_sessions(self) -> None:
        sessions = asyncio.all_tasks() - {asyncio.current_task()}
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        self._loop.run_until_complete(self._end_sessions())
        self._loop.close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.stop()


def settings(server: Server, **changes: Any) -> model.Mail:
    values: dict[str, Any] = {
        "smtp_server": "127.0.0.1",
        "smtp_port": server.port,
        "smtp_helo_name": "helo.example",
        "smtp_connect_timeout_s": 2,
        "notification_email": ("Ops Team <ops@example.com>", "second@example.com"),
        "notification_email_from": "router@example.com",
    }
    return model.Mail(**{**values, **changes})


@pytest.mark.parametrize(
    ("kind", "state", "expected"),
    [
        ("Instance", "MASTER", "[R1] VRRP Instance VI_1 - Entering MASTER state"),
        ("Instance", "FAULT", "[R1] VRRP Instance VI_1 - Entering FAULT state"),
        ("Instance", "STOP", "[R1] VRRP Instance VI_1 - Stopping"),
        ("Instance", "DELETED", "[R1] VRRP Instance VI_1 - Deleted"),
        ("Group", "BACKUP", "[R1] VRRP Group VI_1 - Entering BACKUP state"),
    ],
)
def test_subjects(kind: str, state: str, expected: str) -> None:
    assert subject("R1", kind, "VI_1", state) == expected


def test_headers_cannot_be_forged() -> None:
    mail = model.Mail(notification_email=("a@b\nBcc: x@y",), notification_email_from="f@g\r\nX: y")
    message = compose(mail, "R\n1", "Instance", "A\nSubject: z", "MASTER", 1)
    parsed = email.message_from_string(message.as_string())
    body = {"Content-Type", "MIME-Version", "Content-Transfer-Encoding"}
    assert len(parsed.keys()) == 8
    assert set(parsed.keys()) - body == {"From", "To", "Subject", "Date", "X-Mailer"}


def test_default_sender() -> None:
    message = compose(model.Mail(notification_email=("a@b",)), "R", "Instance", "A", "MASTER", 1)
    assert message["From"].endswith(f"@{socket.gethostname()}")


def test_transitions_are_mailed_once_each(run: Run, server: Server) -> None:
    group = model.SyncGroup(name="G", members=("A",), notify=ALERT)
    config = configuration(
        instance("A", ALERT),
        instance("quiet"),
        groups=[group],
        router_id="R1",
        mail=settings(server),
    )

    async def scene() -> None:
        notifier = Notifier(config, Fake())
        await notifier.start()
        notifier.instance_state("A", "BACKUP", 100)
        notifier.instance_state("quiet", "BACKUP", 100)
        notifier.instance_state("A", "BACKUP", 100)
        notifier.group_state("G", "BACKUP")
        notifier.instance_state("A", "FAULT", 100)
        await until(lambda: len(server.messages) == 3)
        await notifier.stop_all()

    run(scene())
    assert server.subjects == [
        "[R1] VRRP Instance A - Entering BACKUP state",
        "[R1] VRRP Group G - Entering BACKUP state",
        "[R1] VRRP Instance A - Entering FAULT state",
        "[R1] VRRP Instance A - Stopping",
        "[R1] VRRP Group G - Stopping",
    ]
    assert set(map(str, server.envelopes)) == {
        str(("helo.example", "router@example.com", ["ops@example.com", "second@example.com"]))
    }
    message = server.messages[0]
    assert message["X-Mailer"] == "fastvrrp"
    assert message["From"] == "router@example.com"
    assert message["To"] == "Ops Team <ops@example.com>, second@example.com"
    assert abs(message["Date"].datetime.timestamp() - time.time()) < 60
    assert "Priority: 100" in message.get_content()
    assert "Priority" not in server.messages[1].get_content()


def test_no_email_faults(run: Run, server: Server) -> None:
    async def scene() -> None:
        mailer = Mailer(settings(server, no_email_faults=True), "R1")
        mailer.send("Instance", "A", "FAULT", 1)
        mailer.send("Instance", "A", "MASTER", 1)
        await mailer.close()

    run(scene())
    assert server.subjects == ["[R1] VRRP Instance A - Entering MASTER state"]


def test_nothing_without_server_or_recipients(run: Run, server: Server) -> None:
    async def scene() -> None:
        for mail in (
            settings(server, smtp_server=None),
            settings(server, notification_email=()),
        ):
            mailer = Mailer(mail, "R1")
            mailer.send("Instance", "A", "MASTER", 1)
            assert not mailer.enabled
            await mailer.close()

    run(scene())
    assert not any(thread.name == "mail" for thread in threading.enumerate())


def test_temporary_failure_is_tried_again(run: Run, server: Server) -> None:
    server.replies = ["451 later", "421 later"]

    async def scene() -> None:
        mailer = Mailer(settings(server), "R1", retry_delays_s=(0.01, 0.01))
        mailer.send("Instance", "A", "MASTER", 1)
        await until(lambda: server.messages)
        await mailer.close()

    run(scene())
    assert server.attempts == 3


def test_a_reload_neither_waits_nor_loses(run: Run, server: Server) -> None:
    """A message that is to be tried again goes out as it was meant, new ones as they are."""
    server.replies = ["451 later"]
    before = configuration(instance("A", ALERT), router_id="R1", mail=settings(server))
    after = configuration(
        instance("A", ALERT),
        router_id="R2",
        mail=settings(server, notification_email=("new@example.com",)),
    )

    async def scene() -> None:
        notifier = Notifier(before, Fake())
        notifier._mailer._retry_delays_s = (0.3,)
        await notifier.start()
        notifier.instance_state("A", "BACKUP", 100)
        await until(lambda: server.attempts)
        await notifier.reload(after)
        assert server.messages == []
        notifier.instance_state("A", "MASTER", 100)
        await until(lambda: len(server.messages) == 2)
        await notifier.stop_all()

    run(scene())
    assert server.subjects[:2] == [
        "[R1] VRRP Instance A - Entering BACKUP state",
        "[R2] VRRP Instance A - Entering MASTER state",
    ]
    recipients = [to for _, _, to in server.envelopes]
    assert recipients[:2] == [["ops@example.com", "second@example.com"], ["new@example.com"]]


def test_a_connection_that_comes_after_the_limit_is_ended() -> None:
    """Looking up the relay's name may take longer than everything else."""
    late = SimpleNamespace(sock=None)
    ended = threading.Event()
    arguments = (late, ended, 0.01)
    thread = threading.Thread(target=mail_module._limit, args=arguments)
    thread.start()
    time.sleep(0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        late.sock = ours
        theirs.settimeout(3)
        assert theirs.recv(1) == b""
        ended.set()
        thread.join()


@pytest.mark.parametrize(("replies", "attempts"), [(["554 never"], 1), (["451 later"] * 9, 3)])
def test_giving_up(
    run: Run,
    server: Server,
    replies: list[str],
    attempts: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.replies = list(replies)

    async def scene() -> None:
        mailer = Mailer(settings(server), "R1", retry_delays_s=(0.01, 0.01))
        mailer.send("Instance", "A", "MASTER", 1)
        await until(lambda: "was not delivered" in caplog.text)
        server.replies = []
        mailer.send("Instance", "A", "BACKUP", 1)
        await mailer.close()

    run(scene())
    assert server.attempts == attempts + 1
    assert server.subjects == ["[R1] VRRP Instance A - Entering BACKUP state"]


def test_one_refused_recipient_does_not_stop_the_others(
    run: Run, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse = {"ops@example.com"}

    async def scene() -> None:
        mailer = Mailer(settings(server), "R1")
        mailer.send("Instance", "A", "MASTER", 1)
        await mailer.close()

    run(scene())
    assert [to for _, _, to in server.envelopes] == [["second@example.com"]]
    assert "ops@example.com refused: 550" in caplog.text


def test_dead_relay_does_not_hold_up_the_end(
    run: Run, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # accepts, and never says a word
        port = silent.getsockname()[1]

        async def scene() -> None:
            mailer = Mailer(settings(server, smtp_port=port), "R1")
            for _ in range(5):
                mailer.send("Instance", "A", "MASTER", 1)
            start = time.monotonic()
            await mailer.close(0.2)
            assert time.monotonic() - start < 1

        run(scene())
    assert "too slow" in caplog.text
