"""Reading one configuration after the other, as a daemon does, and each as if it were the first."""

from __future__ import annotations

from typing import NamedTuple

from config_reading import Reader
from msgspec.structs import replace

from fastvrrp.config.load import load_again
from fastvrrp.config.memory import Last
from fastvrrp.config.model import Configuration, Message
from fastvrrp.config.remembered import KINDS
from fastvrrp.ipvs.decoding import Decoder
from fastvrrp.supervisor.held import Held, Stowed


class Result(NamedTuple):
    """What the daemon gets of a reading. `held` is None after errors."""

    messages: tuple[Message, ...]
    held: Held | None
    parsed: int  # instances and virtual servers
    blocks: dict[str, int]  # all that was parsed, by keyword

    @property
    def outcome(self) -> tuple[Held | None, list[Configuration]]:
        """All but how it was found: what the supervisor needs, what both processes get. Equal
        configurations may be different bytes: a default that was written may be in them."""
        held = self.held
        if held is None:
            return None, []
        parts = {name: replace(part, data=Stowed()) for name, part in held.parts.items()}
        decoded = [held.parts["vrrp"].decode(), Decoder().decode(held.parts["ipvs"].data.get())]
        return replace(held, memory=Stowed(), check=b"", parts=parts), decoded


def reading(read: Reader, before: Held | None) -> Result:
    """Read the file of `read` while `before` is in effect."""
    last = None
    if before is not None and (kept := before.last()):
        last = Last.of(kept)
        assert last is not None
    again = load_again(
        read.path, last, config_id=read.config_id, environ=read.environ, host=read.host
    )
    held = None
    if again.loaded.configuration is not None:
        held = Held.of(again.loaded.configuration, memory=again.memory)
    blocks = again.parsed
    parsed = sum(blocks.get(kind, 0) for kind in KINDS)
    return Result(again.loaded.messages, held, parsed, blocks)


def same(read: Reader, before: Held | None) -> Result:
    """Read it so, and assert that nothing else comes of it than of reading it afresh."""
    found, fresh = reading(read, before), reading(read, None)
    assert found.messages == fresh.messages
    assert found.outcome == fresh.outcome
    return found


def after(read: Reader, text: str, before: Held | None) -> Result:
    read.path.write_text(text)
    return same(read, before)


def first(read: Reader, text: str) -> Held:
    """A configuration that is in effect."""
    read.path.write_text(text)
    held = reading(read, None).held
    assert held is not None
    return held
