"""Reading a configuration as keepalived runs it: a mistake costs the statement that has it, with a
warning, and not the daemon.

The file is read again without the statements that the errors are about, until there are none. What
keepalived gives up on is an error here, too. So is, at a reload, what would cost a whole block: the
configuration in effect stays then, for half a file must not take addresses away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec.structs import replace

from fastvrrp.config.context import NEEDS
from fastvrrp.config.diagnostics import ERRORS_MAX, Diagnostics, in_order
from fastvrrp.config.model import Loaded, Message, Severity
from fastvrrp.config.node import Node

_ROUNDS = 8  # a statement that is left out may be missed elsewhere
_Place = tuple[str, int]  # file, line


class Omissions:
    """Statements that are left out, by their places. `is_reload`: neither whole blocks nor what
    could not be understood are."""

    def __init__(self, *, is_reload: bool) -> None:
        self._is_reload = is_reload
        # 1: the innermost ones that begin there, 2: those around them on the same line as well, ...
        self._layers: dict[_Place, int] = {}

    def add(self, errors: Iterable[Message]) -> None:
        """What these are about; when it was left out already, what is around it."""
        for place in {(error.position.file, error.position.line) for error in errors}:
            self._layers[place] = self._layers.get(place, 0) + 1

    def apply(self, diagnostics: Diagnostics, nodes: list[Node]) -> None:
        """After the files were read: what could not be understood is not among the statements, and
        what is listed here is taken away. Not where that leaves no statement at all."""
        if not nodes or (self._is_reload and diagnostics.errors):
            return
        before = list(nodes)
        self._prune(nodes)
        if not nodes:
            nodes[:] = before  # no configuration at all
            return
        if self._is_reload:
            kept = set(map(id, nodes))
            nodes.extend(node for node in before if node.body is not None and id(node) not in kept)
        diagnostics.messages[:] = map(forgiven, diagnostics.messages)
        diagnostics.errors = 0

    def _prune(self, nodes: list[Node]) -> dict[_Place, int]:
        """Returns how many layers of statements begin at the places of these."""
        layers: dict[_Place, int] = {}
        kept = []
        for node in nodes:
            place = node.file, node.line
            within = self._prune(node.body) if node.body else {}
            layer = within.get(place, 0) + 1
            layers[place] = max(layers.get(place, 0), layer)
            if layer > self._layers.get(place, 0):
                kept.append(node)
        nodes[:] = kept
        return layers


class Read(Protocol):
    """Reads the files from the beginning, without lots of what is alike."""

    def __call__(self, omissions: Omissions) -> Loaded: ...


def forgiven(message: Message) -> Message:
    """The message about what is left out."""
    if message.severity is not Severity.ERROR:
        return message
    return replace(message, severity=Severity.WARNING, text=f"{message.text}; left out")


def tolerated(strict: Loaded, read: Read, *, is_reload: bool) -> Loaded:
    """What is left of a file that has errors without the statements they are about; `strict`, what
    was read of it, where that leaves errors."""
    omissions = Omissions(is_reload=is_reload)
    said: dict[Message, None] = {}
    loaded = read(omissions)  # some mistakes cost a word only: Context.is_tolerant
    for _ in range(_ROUNDS):
        errors = loaded.errors
        if not errors:
            break
        if len(errors) >= ERRORS_MAX or any(error.text.endswith(NEEDS) for error in errors):
            return strict
        said |= dict.fromkeys(map(forgiven, errors))
        omissions.add(errors)
        loaded = read(omissions)
    if loaded.configuration is None:
        return strict
    told = dict.fromkeys((*said, *loaded.messages))
    return replace(loaded, messages=tuple(in_order(told, loaded.configuration.source_files)))
