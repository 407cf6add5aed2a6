"""What is kept of one load for the next one, beside its configuration (`remembered`).

What was said of a block has places relative to its first line, so that it can be told again
wherever the block stands now.
"""

from __future__ import annotations

import re
from _blake2 import blake2b  # hashlib's, which would load OpenSSL as well: 5 ms of every start
from collections.abc import Iterable

import msgspec

from fastvrrp.config.compact import decoder
from fastvrrp.config.model import Account, Message, Position, Severity
from fastvrrp.config.statements import Place, Stored

_DIGEST_BYTES = 16
_PLACE = re.compile(r" at \S.*:[0-9]")  # where something else stands, perhaps in another file


class Said(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A warning about a block; `below`: so many lines below its first one."""

    below: int
    column: int
    text: str
    hint: str

    def place(self, file: str, line: int) -> Position:
        """Where it belongs in a block that begins there now."""
        return Position(file=file, line=line + self.below, column=self.column)


class Kept(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is kept of a block of which its statements are, and no model."""

    places: list[Place]
    statements: list[Stored]


class Defined(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A definition in a block: its value, or the lines of a template with the numbers of their
    places and the lines below those."""

    name: str
    value: str | None
    lines: tuple[tuple[str, int, int], ...] = ()


class Further(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What most blocks have nothing of.

    opening     words of the first line with their columns, where it cannot be split at blanks
    parameters  number of those that decide about it, see Memory; 0 is none
    made        lines out of templates and repetitions
    has_run     whether it has programs run
    of_text     said when its text was read
    of_meaning  said when the model was made of it
    of_all      said when it was compared with everything else
    is_whole    it is one block, of which a model may be kept
    files       that it includes
    defined     what it defines
    places      of that
    kept        None where there is a model
    tree        of an entry of YAML of which only this is kept (`native.trees`)
    """

    opening: tuple[tuple[str, ...], tuple[int, ...]] | None = None
    parameters: int = 0
    made: int = 0
    has_run: bool = False
    of_text: tuple[Said, ...] = ()
    of_meaning: tuple[Said, ...] = ()
    of_all: tuple[Said, ...] = ()
    is_whole: bool = True
    files: tuple[str, ...] = ()
    defined: tuple[Defined, ...] = ()
    places: tuple[Place, ...] = ()
    kept: Kept | None = None
    tree: bytes = b""


NOTHING = Further()


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A block.

    head      its first line, by which it is found
    digest    of its text: `lines` lines, `size` characters
    defaults  number of what global_defs said above it, see Memory
    weights   whether the trackers of an instance could have weights (`tracking`)
    further   None where there is nothing of it
    """

    head: str
    digest: bytes
    lines: int
    size: int
    defaults: int = 0
    weights: bool = True
    further: Further | None = None

    @property
    def more(self) -> Further:
        return self.further or NOTHING


class Memory(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of one load beside its configuration.

    version        of this program, which read it
    config_id      decided about `@` lines
    is_elsewhere   whether it was for another network namespace
    is_here        whether the interfaces of the machine were known
    interfaces     that were asked for and existed
    programs       that scripts run without a message, and the account where one is named
    accounts       words that name one, it, and with the groups that settings give it
    scripts        digest of what else decided about those
    defaults       digests
    parameters     names and digests of what they mean, see Further
    trackers       digest of what they give to who refers to them
    servers        by number in the configuration; None: to be read again
    instances      the same
    others         of which statements are kept, or trees of YAML
    """

    version: str
    config_id: str
    is_elsewhere: bool
    is_here: bool
    interfaces: tuple[str, ...]
    programs: tuple[tuple[str, Account | None], ...]
    accounts: tuple[tuple[tuple[str, ...], Account, Account], ...]
    scripts: bytes
    defaults: tuple[bytes, ...]
    parameters: tuple[tuple[tuple[str, ...], bytes], ...]
    trackers: bytes
    servers: tuple[Record | None, ...]
    instances: tuple[Record | None, ...]
    others: tuple[Record, ...]


class Last(msgspec.Struct, array_like=True, frozen=True):
    """What the configuration in effect was made of: its Memory, and its bytes; `check` is a digest
    of them, because they are kept for months."""

    memory: bytes
    ipvs: bytes
    vrrp: bytes
    check: bytes

    @classmethod
    def of(cls, data: bytes) -> Last | None:
        """What was encoded; None if another version of this program did it, which went on running
        when its files were replaced, or if it is not what it was."""
        try:
            last: Last = decoder(cls).decode(data)
        except msgspec.MsgspecError:
            return None
        return last if last.check == digest(last.memory, last.ipvs, last.vrrp) else None


def digest(*data: bytes) -> bytes:
    """Of a text, or of several parts."""
    made = blake2b(digest_size=_DIGEST_BYTES)
    for part in data:
        made.update(part)
    return made.digest()


def relative(
    messages: Iterable[Message], file: str, line: int, lines: int
) -> tuple[Said, ...] | None:
    """Messages about a block of so many lines, which begins there; None if one of them could not be
    told again: it stands elsewhere, or names another place."""
    found = []
    for message in messages:
        at = message.position
        below = at.line - line
        if (
            at.file != file
            or not 0 <= below < lines
            or message.severity is not Severity.WARNING
            or _PLACE.search(f"{message.text}\n{message.hint}")
        ):
            return None
        found.append(Said(below, at.column, message.text, message.hint))
    return tuple(found)


def are_placed_by_text(said: Iterable[Said]) -> bool:
    """Whether the text of a message says where it stands in the block."""
    places: dict[str, Said] = {}
    return all(places.setdefault(one.text, one) == one for one in said)
