"""Alert mail: one message per transition, through one SMTP relay.

Everything that can block (name resolution, the dialogue) happens in one thread that serves one
message after the other. A message is tried three times; then, or when the server refuses it for
good, it is dropped with a log line. The thread is a daemon thread: a dead relay never keeps the
process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import queue
import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastvrrp.config import model

# The standard library's mail modules are loaded for the first message only: without any they are a
# tenth of what starting the process takes.
if TYPE_CHECKING:
    import smtplib
    from email.mime.text import MIMEText

log = logging.getLogger(__name__)

BACKLOG_MAX = 1000  # messages waiting for the relay
RETRY_DELAYS_S = (2.0, 10.0)
CLOSE_LIMIT_S = 3.0
DIALOGUE_LIMIT_S = 120.0  # of one attempt; the connect timeout only limits each silence in it


def subject(router_id: str, kind: str, name: str, state: str) -> str:
    """The subject line keepalived uses; `kind` is "Instance" or "Group"."""
    what = {"STOP": "Stopping", "DELETED": "Deleted"}.get(state, f"Entering {state} state")
    return _one_line(f"[{router_id}] VRRP {kind} {name} - {what}")


def compose(
    mail: model.Mail, router_id: str, kind: str, name: str, state: str, priority: int
) -> MIMEText:
    """The message of one transition, dated now."""
    lines = [f"VRRP {kind.lower()}: {name}", f"State: {state}"]
    if kind == "Instance":
        lines.append(f"Priority: {priority}")
    return write(mail, router_id, subject(router_id, kind, name, state), lines)


def write(mail: model.Mail, router_id: str, subject: str, lines: Sequence[str]) -> MIMEText:
    """A message, dated now. Router and host are added to its lines."""
    import email.utils
    from email.mime.text import MIMEText

    lines = [*lines, f"Router: {router_id}", f"Host: {socket.gethostname()}"]
    message = MIMEText("\n".join(_one_line(line) for line in lines) + "\n")
    message["From"] = _one_line(mail.notification_email_from or _own_address())
    message["To"] = ", ".join(_one_line(address) for address in mail.notification_email)
    message["Subject"] = _one_line(subject)
    message["Date"] = email.utils.formatdate(localtime=True)
    message["X-Mailer"] = "fastvrrp"
    return message


def _own_address() -> str:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = "fastvrrp"
    return f"{user}@{socket.gethostname()}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


class Mailer:
    """Sends messages in the background; does nothing unless server and recipients are set."""

    def __init__(
        self,
        mail: model.Mail,
        router_id: str,
        *,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
        dialogue_limit_s: float = DIALOGUE_LIMIT_S,
    ) -> None:
        self.mail = mail
        self.router_id = router_id
        self._retry_delays_s = retry_delays_s
        self._dialogue_limit_s = dialogue_limit_s
        # Each message with the settings it was written under, None for the end.
        self._messages: queue.Queue[tuple[model.Mail, MIMEText] | None] = queue.Queue(BACKLOG_MAX)
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._done: asyncio.Future[None] | None = None

    @property
    def enabled(self) -> bool:
        return bool(self.mail.smtp_server and self.mail.notification_email)

    def configure(self, mail: model.Mail, router_id: str) -> None:
        """Other settings from now on; what waits is still sent as it was meant."""
        self.mail = mail
        self.router_id = router_id

    def send(self, kind: str, name: str, state: str, priority: int) -> None:
        """Queue the message of a transition; call it in the event loop's thread."""
        if self.enabled and not (state == "FAULT" and self.mail.no_email_faults):
            self._queue(compose(self.mail, self.router_id, kind, name, state, priority))

    def post(self, what: str, lines: Sequence[str]) -> None:
        """Queue a message about `what`, as it is to stand in the subject after the router's name;
        call it in the event loop's thread."""
        if self.enabled:
            title = f"[{self.router_id}] {what}"
            self._queue(write(self.mail, self.router_id, title, lines))

    def _queue(self, message: MIMEText) -> None:
        try:
            self._messages.put_nowait((self.mail, message))
        except queue.Full:
            log.error(
                "alert mail: %d messages wait already, dropped: %s", BACKLOG_MAX, message["Subject"]
            )
            return
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._done = loop.create_future()
            self._thread = threading.Thread(
                target=self._work, args=(loop, self._done), name="mail", daemon=True
            )
            self._thread.start()

    async def close(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Give what waits `limit_s` to be sent, each message tried once more at most."""
        if self._thread is None or self._done is None:
            return
        self._ending.set()
        try:
            self._messages.put_nowait(None)
        except queue.Full:
            log.error("alert mail: too many messages wait, they are dropped")
            return
        _, late = await asyncio.wait({self._done}, timeout=limit_s)
        if late:
            log.error("alert mail: the SMTP server is too slow, messages are dropped")
        self._thread = None

    # ------------------------------------------------------------------ the thread

    def _work(self, loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        while (entry := self._messages.get()) is not None:
            self._deliver(*entry)

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        try:
            loop.call_soon_threadsafe(finish)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    def _deliver(self, mail: model.Mail, message: MIMEText) -> None:
        import smtplib

        for delay_s in (*self._retry_delays_s, None):
            try:
                self._dialogue(mail, message)
                return
            except smtplib.SMTPResponseException as error:
                problem = f"{error.smtp_code} {error.smtp_error!r}"
                if error.smtp_code >= 500:
                    break
            except smtplib.SMTPRecipientsRefused as error:
                problem = f"all recipients refused: {error.recipients}"
                break
            except (smtplib.SMTPException, OSError, ValueError) as error:
                problem = str(error)
            if delay_s is None or self._ending.wait(delay_s):
                break
            log.warning("alert mail: %s; trying again", problem)
        log.error("alert mail %r was not delivered: %s", message["Subject"], problem)

    def _dialogue(self, mail: model.Mail, message: MIMEText) -> None:
        import email.utils
        import smtplib

        sender = email.utils.parseaddr(str(message["From"]))[1]
        recipients = [email.utils.parseaddr(address)[1] for address in mail.notification_email]
        server = smtplib.SMTP(
            local_hostname=mail.smtp_helo_name or socket.gethostname(),
            timeout=max(mail.smtp_connect_timeout_s, 1),
        )
        # A relay that sends a byte now and then would keep all later messages waiting for ever.
        ended = threading.Event()
        limit = (server, ended, self._dialogue_limit_s)
        threading.Thread(target=_limit, args=limit, name="mail limit", daemon=True).start()
        try:
            with server:
                code, reply = server.connect(mail.smtp_server or "", mail.smtp_port)
                if code != 220:
                    raise smtplib.SMTPConnectError(code, reply)
                refused = server.send_message(message, sender, recipients)
        finally:
            ended.set()
        for address, (code, reply) in refused.items():
            log.error("alert mail: %s refused: %d %r", address, code, reply)


def _limit(server: smtplib.SMTP, ended: threading.Event, limit_s: float) -> None:
    """Hang up unless the dialogue ends in time, also one that only then gets its connection."""
    while not ended.wait(limit_s):
        limit_s = min(limit_s, 1.0)
        if server.sock is not None:
            with contextlib.suppress(OSError):  # it has just ended by itself
                server.sock.shutdown(socket.SHUT_RDWR)
