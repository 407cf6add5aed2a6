"""What the supervisor and a child say to each other, as typed messages.

The supervisor sends Configure, Stop, Dump, Call, Subscribe, Ping and States; the child sends
Configured, Ready, States, Summary, Stopping, HandedOver, Stopped, Reply and Event.
`channel.Channel` carries them.
A message is MessagePack with the type's name as tag; unknown fields are ignored, so either side
may grow.
"""

from typing import Any, dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Wire(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Base of every message."""


# ------------------------------------------------------------------ supervisor -> child


class Configure(Wire):
    """A configuration to apply; one file descriptor comes with it.

    The descriptor is a sealed memfd holding `model.Configuration` (`config.compact`). The first
    Configure of a child starts it, later ones are reloads. Answered by Configured with the epoch.
    """

    epoch: int


class Stop(Wire):
    """Undo everything in good order, tell whoever wants to know; then Stopped and exit 0."""


class Dump(Wire):
    """Write a dump. `kind` is "data", "stats" or "json"; `path` is the file to replace."""

    kind: str
    path: str


class Call(Wire):
    """A request of a control client; answered by Reply with the same id."""

    id: int
    method: str
    params: dict[str, Any] = {}


class Subscribe(Wire):
    """Whether anybody listens to events at the moment: without a listener none need be sent."""

    on: bool


class Ping(Wire):
    """Answered by writing the number into the shared page (`pulse.Page.answer`)."""

    number: int = 0


# ------------------------------------------------------------------ child -> supervisor


class Configured(Wire):
    """Answer to Configure. When not ok the child keeps what it had before."""

    epoch: int
    ok: bool = True
    error: str = ""
    changes: tuple[str, ...] = ()  # for a person: what was added, removed, changed


class Ready(Wire):
    """It works: sent once, after the first configuration is in effect."""


class InstanceState(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of one instance, with what a clean-up after a crash needs to know; or of one virtual
    server."""

    name: str
    # INIT, BACKUP, MASTER, FAULT; a virtual server: UP, DOWN; STOPPED or DELETED: forget it
    state: str
    source: str = ""  # the address its adverts leave from, text; empty: unknown


class States(Wire):
    """Instances whose state or source address changed, or virtual servers whose quorum did. Sent
    at every transition.

    The supervisor tells each child in the same words of those it follows of the other
    (`held.Part`).
    """

    states: tuple[InstanceState, ...]


class Summary(Wire):
    """How the child is, in a few words for one line of `systemctl status`."""

    text: str


class HandedOver(Wire):
    """The child is stopping and holds no address any more: nobody reaches this host by one."""


class Stopping(Wire):
    """The child began to stop, because it was told to or on its own account (`reason`)."""

    reason: str = ""


class Stopped(Wire):
    """Everything is undone; the process exits next."""


class Reply(Wire):
    """Answer to Call: a result, or an error text with its code (`control.protocol`)."""

    id: int
    result: Any = None
    error: str = ""
    code: str = ""


class Event(Wire):
    """One record of the event stream, as documented in docs/control-socket.md."""

    record: dict[str, Any]


FromSupervisor = Configure | Stop | Dump | Call | Subscribe | Ping
FromChild = Configured | Ready | States | Summary | Stopping | HandedOver | Stopped | Reply | Event
AnyMessage = FromSupervisor | FromChild
