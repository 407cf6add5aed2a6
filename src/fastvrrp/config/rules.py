"""Entries of virtual_rules and static_rules."""

from __future__ import annotations

from collections.abc import Callable

from fastvrrp.config import lookups
from fastvrrp.config.blocks import Entry, plain_lines
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.keywords import WORKS_WITHOUT, Keyword, table
from fastvrrp.config.model import VirtualRule
from fastvrrp.config.node import Node
from fastvrrp.config.options import Options
from fastvrrp.config.routes import KEEPALIVED_PROTOCOL

OPTIONS = "vrrp_instance/virtual_rules"
TYPES = frozenset(("blackhole", "unreachable", "prohibit"))
_INT_FIELDS = {
    "preference": "preference",
    "order": "preference",
    "priority": "preference",
    "suppress_prefixlength": "suppress_prefixlength",
    "sup_pl": "suppress_prefixlength",
    "tunnel-id": "tunnel_id",
    "goto": "goto",
}
_SHORT = {"sup_pl": "suppress_prefixlength", "sup_group": "suppress_ifgroup"}


def read_rules(context: Context, node: Node) -> list[Entry]:
    return _read(context, node, is_static=False)


def read_static_rules(context: Context, node: Node) -> list[Entry]:
    return _read(context, node, is_static=True)


def _read(context: Context, node: Node, *, is_static: bool) -> list[Entry]:
    lines = plain_lines(context, node)
    rules = ((_Rule(context, line, is_static).read(), line) for line in lines)
    return [Entry(rule, line) for rule, line in rules if rule is not None]


class _Rule(Options):
    """One entry being read."""

    kind = "rule"

    def __init__(self, context: Context, node: Node, is_static: bool) -> None:
        super().__init__(context, node, is_static)
        self.rows = table()[OPTIONS]
        self.by_type: dict[str, Callable[[Keyword], None]] = {
            "prefix": self._prefix,
            "table": self._table,
            "int": self._int,
            "dsfield": self._dsfield,
            "fwmark": self._fwmark,
            "realms": self._realms,
            "group": self._group,
            "interface": self._interface,
            "range": self._range,
            "protocol": self._protocol,
            "ipproto": self._ipproto,
            "rule-type": self._type,
            "word": self._word,
        }

    def read(self) -> VirtualRule | None:
        """The rule, or None after an error."""
        while self.index < len(self.words):
            self._option()
            self.index += 1
        return self._finish() if self.good else None

    def _option(self) -> None:
        word = _SHORT.get(self.words[self.index], self.words[self.index])
        if word in ("inet", "inet6"):
            self.is_family(4 if word == "inet" else 6)
        elif word == "not":
            self.fields["negate"] = True
        elif word in ("l3mdev", "no_track"):
            self.fields[word] = True
        elif word == "nop":
            self._action("nop")
        elif word in TYPES or word == "nat":
            self._type_of(word)
        else:
            row = self.rows.get(word)
            if row is None or not row.type:
                self.good = False
                self.context.unknown(self.node, "option", [*self.rows, *TYPES], word=self.index)
                self.index = len(self.words)
            elif word == "track_group" and not self.is_static:
                self.error("track_group is for static_rules only", "remove it")
            else:
                self._valued(row)

    def _valued(self, row: Keyword) -> None:
        if row.effect != "done":
            self.context.warning(self.node, row.no_effect(), WORKS_WITHOUT, word=self.index)
        if self.index + 1 >= len(self.words):
            self.error(f"{row.keyword} needs a value", f"write {row.keyword} {row.syntax}")
            return
        self.index += 1
        self.by_type[row.type](row)

    def _action(self, action: str) -> None:
        if "action" in self.fields:
            self.error("a rule has one action", "remove the others")
        self.fields["action"] = action

    def _prefix(self, row: Keyword) -> None:
        found = lookups.prefix(self.context, self.node, self.index, left_out="the rule")
        if found is None:
            self.good = False
            return
        self.is_family(found[1])
        if found[0] != "default":
            self.fields["from_" if row.keyword == "from" else "to"] = found[0]

    def _table(self, row: Keyword) -> None:
        self._action("lookup")
        self.named("table", "rt_tables", "routing table", lookups.U32_MAX)
        if self.fields.get("table") == 0:  # RT_TABLE_UNSPEC, linux/rtnetlink.h: any unused one
            self.error("a rule cannot lead to table 0", "write the table of the routes")

    def _int(self, row: Keyword) -> None:
        value = lookups.in_range(self.context, self.node, row, self.index)
        if row.keyword == "goto":
            self._action("goto")
        self.put(_INT_FIELDS[row.keyword], value)

    def _dsfield(self, row: Keyword) -> None:
        self.named("tos", "rt_dsfield", "type of service", 255)

    def _fwmark(self, row: Keyword) -> None:
        """N[/MASK]."""
        first, slash, second = self.words[self.index].partition("/")
        value = lookups.number(first)
        mask = lookups.number(second) if slash else lookups.U32_MAX
        if value is None or mask is None or max(value, mask) > lookups.U32_MAX:
            self.error(
                f"{shown(self.words[self.index])} is not a firewall mark", "write MARK or MARK/MASK"
            )
            return
        self.fields["fwmark"] = value
        if slash:
            self.fields["fwmask"] = mask

    def _realms(self, row: Keyword) -> None:
        self.put("realms", lookups.realms(self.context, self.node, self.index))

    def _group(self, row: Keyword) -> None:
        self.named("suppress_ifgroup", "group", "link group", lookups.U32_MAX)

    def _interface(self, row: Keyword) -> None:
        self.interface("oif" if row.keyword == "oif" else "iif")

    def _range(self, row: Keyword) -> None:
        field = "uid_range" if row.keyword == "uidrange" else row.keyword
        self.put(field, lookups.pair(self.context, self.node, row, self.index))

    def _protocol(self, row: Keyword) -> None:
        self.named("protocol", "rt_protos", "protocol", 255)

    def _ipproto(self, row: Keyword) -> None:
        text = self.words[self.index]
        value = lookups.number(text)
        if value is None:
            value = self.context.host.protocol(text.lower())
        if value is None or not 0 < value <= 255:
            self.error(
                f"there is no IP protocol {shown(text)}", "write a name of /etc/protocols or 1..255"
            )
            return
        self.fields["ipproto"] = value

    def _type(self, row: Keyword) -> None:
        self._type_of(self.words[self.index])

    def _type_of(self, word: str) -> None:
        if word not in TYPES:
            self.error(
                f"a rule cannot be of type {shown(word)}", f"write {' or '.join(sorted(TYPES))}"
            )
            return
        self._action(word)

    def _word(self, row: Keyword) -> None:
        self.fields["track_group"] = self.words[self.index]

    def _finish(self) -> VirtualRule | None:
        fields = self.fields
        if "action" not in fields and not fields.get("l3mdev"):
            self.error("a rule needs an action", "add table N, goto N, nop or blackhole", 0)
            return None
        preference, target = fields.get("preference"), fields.get("goto")
        if preference is not None and target is not None and preference >= target:
            self.error(
                f"goto {target} leads backwards from preference {preference}",
                f"write goto with more than {preference}",
                0,
            )
            return None
        if preference is None:
            self.context.warning(
                self.node,
                "the rule has no preference, one is counted down from 16384",
                "add preference N, the same on all nodes",
            )
        if not fields.get("no_track") and fields.get("protocol") not in (
            None,
            KEEPALIVED_PROTOCOL,
        ):
            self.context.warning(
                self.node,
                f"a tracked rule has protocol {KEEPALIVED_PROTOCOL}, which is used",
                "add no_track, or remove protocol",
            )
            fields["protocol"] = None
        return VirtualRule(family=self.family or 4, position=self.node.position(), **fields)
