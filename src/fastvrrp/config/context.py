"""What the readers of a configuration share: messages, the host, and remembered decisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fastvrrp.config.diagnostics import Diagnostics, shown, suggestion
from fastvrrp.config.host import ETC_DIR, USR_DIR, HostInfo
from fastvrrp.config.hostaddresses import Addresses
from fastvrrp.config.keywords import Keyword
from fastvrrp.config.model import Account
from fastvrrp.config.node import Node

NEEDS = " needs a value"
"""How the message about a mandatory argument that is missing ends."""
HAS_NONE = " has no value"
"""How it ends where keepalived leaves the statement out; of others it is what it gives up on."""
_LEFT_OUT = frozenset(
    (("global_defs", "lvs_sync_daemon"), ("virtual_server/real_server/BFD_CHECK", "name"))
)


class Context:
    """One load.

    asks   counts what was asked of the machine or of other blocks, by which the same words may
           mean something else another time (`remembered`)
    """

    def __init__(self, diagnostics: Diagnostics, host: HostInfo) -> None:
        self.asks = 0
        self.diagnostics = diagnostics
        self.error = diagnostics.error
        self.warning = diagnostics.warning
        self._host = host
        self.names_etc = ETC_DIR
        self.names_usr = USR_DIR
        # (block path, whether it has an effect) -> words of a statement -> name and value.
        self.known: dict[tuple[str, bool], dict[tuple[str, ...], tuple[str, Any]]] = {}
        self.interfaces = host.interfaces()  # names; None: not known
        self.is_elsewhere = False  # in another network namespace
        self.is_tolerant = False  # an option of an address or of a tunnel may be wrong
        self._addresses: Addresses | None = None
        self._reported: set[str] = set()
        self.met: set[str] = set()  # interfaces that were asked for and exist
        # Of which nothing is to be said: programs with their accounts, and words that name one.
        self.programs: set[tuple[str, Account | None]] = set()
        self.accounts: set[tuple[str, ...]] = set()

    @property
    def host(self) -> HostInfo:
        """The machine."""
        self.asks += 1
        return self._host

    def leave_namespace(self) -> None:
        """The interfaces are those of another network namespace: nothing is known of them."""
        self.interfaces = None
        self.is_elsewhere = True

    def mtu(self, interface: str | None) -> int | None:
        """Bytes, or None if it cannot be known."""
        return None if interface is None or self.is_elsewhere else self.host.mtu(interface)

    def lacks_multicast(self, interface: str) -> bool:
        """Whether an interface is known to take no multicast."""
        return self.is_here(interface) and self._host.has_multicast(interface) is False

    def is_here(self, interface: str | None) -> bool:
        """Whether an interface is known to exist."""
        return self.interfaces is not None and interface in self.interfaces

    def addresses(self) -> Addresses:
        """The addresses of the host's interfaces by name, without those that are not known."""
        if self._addresses is None:
            known = None if self.interfaces is None else self.host.addresses()
            self._addresses = {} if known is None else known
        return self._addresses

    def missing(self, node: Node, keyword: Keyword) -> None:
        """A mandatory argument is not there."""
        wanted = f"{keyword.keyword} {keyword.syntax}".strip()
        end = HAS_NONE if (keyword.block, keyword.keyword) in _LEFT_OUT else NEEDS
        self.error(
            node,
            f"{keyword.keyword}{end}",
            f"write {wanted}",
            word=len(node.words) - 1,
        )

    def extra(self, node: Node, used: int) -> None:
        """Words behind the last argument. Their text is not shown: it may be a secret."""
        count = len(node.words) - used
        what = "one more word" if count == 1 else f"{count} more words"
        self.warning(
            node,
            f"{what} than {node.words[0]} takes, ignored",
            "remove it, or quote words that belong together",
            word=used,
        )

    def unknown(
        self,
        node: Node,
        what: str,
        known: Collection[str],
        *,
        word: int = 0,
        hint: str = "",
        is_ignored: bool = False,
    ) -> None:
        """A word that means nothing here; without a `hint` it is compared with those that do."""
        text = node.words[word]
        guess = hint or suggestion(text, known)
        if not guess:
            names = sorted(k for k in known if not k.startswith("("))
            guess = "known: " + ", ".join(names) if 0 < len(names) <= 12 else "remove or correct it"
        if is_ignored:
            self.warning(node, f"unknown {what} {shown(text)}, ignored", guess, word=word)
        else:
            self.error(node, f"unknown {what} {shown(text)}", guess, word=word)

    def check_interface(self, node: Node, name: str, *, word: int = 1) -> None:
        """Mention, once, an interface that does not exist now."""
        if self.interfaces is None:
            return
        if name in self.interfaces:
            self.met.add(name)
            return
        self.asks += 1
        if name in self._reported:
            return
        self._reported.add(name)
        self.warning(
            node,
            f"interface {shown(name)} does not exist now",
            suggestion(name, self.interfaces) or "it is used as soon as it appears",
            word=word,
        )

    def names(self, table: str) -> Mapping[str, int]:
        """iproute2's names."""
        return self.host.names(table, self.names_etc, self.names_usr)
