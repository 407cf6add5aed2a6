"""Entries of virtual_routes and static_routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastvrrp.config import lookups
from fastvrrp.config.addresses import scope
from fastvrrp.config.blocks import Entry, plain_lines
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.encap import read_encap
from fastvrrp.config.keywords import WORKS_WITHOUT, Keyword, table
from fastvrrp.config.model import NextHop, VirtualRoute
from fastvrrp.config.node import Node
from fastvrrp.config.options import Options

OPTIONS = "vrrp_instance/virtual_routes"
KEEPALIVED_PROTOCOL = 18  # RTPROT_KEEPALIVED, linux/rtnetlink.h
TYPES = frozenset(
    (
        "unicast",
        "local",
        "broadcast",
        "multicast",
        "throw",
        "unreachable",
        "prohibit",
        "blackhole",
        "nat",
        "anycast",
    )
)
NEXTHOP_WEIGHT_MAX = 256
_FEATURES = {"ecn": 1}  # RTAX_FEATURE_ECN
_FLAGS = {"onlink": ("onlink", True), "no_track": ("no_track", True)}
_MODES = frozenset(("add", "append", "prepend"))
_FIELDS = {"dev": "dev", "oif": "dev", "mtu": "mtu", "advmss": "advmss"}


def read_routes(context: Context, node: Node) -> list[Entry]:
    return _read(context, node, is_static=False)


def read_static_routes(context: Context, node: Node) -> list[Entry]:
    return _read(context, node, is_static=True)


def _read(context: Context, node: Node, *, is_static: bool) -> list[Entry]:
    lines = plain_lines(context, node)
    routes = ((_Route(context, line, is_static).read(), line) for line in lines)
    return [Entry(route, line) for route, line in routes if route is not None]


class _Route(Options):
    """One entry being read."""

    kind = "route"

    def __init__(self, context: Context, node: Node, is_static: bool) -> None:
        super().__init__(context, node, is_static)
        self.metrics: dict[str, int] = {}
        self.locks: list[str] = []
        self.hops: list[dict[str, Any]] = []
        self.rows = table()[OPTIONS]
        self.by_type: dict[str, Callable[[Keyword], None]] = {
            "int": self._int,
            "metric": self._metric,
            "metric-time": self._metric_time,
            "interface": self._interface,
            "prefix": self._prefix,
            "address": self._address,
            "gateway": self._gateway,
            "table": self._table,
            "scope": self._scope,
            "protocol": self._protocol,
            "dsfield": self._dsfield,
            "realms": self._realms,
            "features": self._features,
            "congctl": self._congctl,
            "choice": self._choice,
            "encap": self._encap,
            "as-to": self._as_to,
            "word": self._word,
        }

    def read(self) -> VirtualRoute | None:
        """The route, or None after an error."""
        while self.index < len(self.words):
            self._option()
        if "destination" not in self.fields and self.good:
            self.error("a route needs a destination", "write PREFIX, default or default6", 0)
        if not self.good:
            return None
        return self._finish()

    def _option(self) -> None:
        word = self.words[self.index]
        if word in TYPES:
            self.fields["type"] = word
        elif word in _MODES:
            self.fields["add_mode"] = word
        elif word in ("inet", "inet6"):
            self.is_family(4 if word == "inet" else 6, self.index)
        elif word in _FLAGS:
            name, value = _FLAGS[word]
            self.fields[name] = value
        elif word == "nexthop":
            self._nexthop()
            return
        else:
            row = self.rows.get(word)
            if row is None or word[:1] == "(" or word == "TYPE":
                self._destination()
            elif word == "track_group" and not self.is_static:
                self.error("track_group is for static_routes only", "remove it")
                self.index = len(self.words)
            else:
                self._valued(row)
            return
        self.index += 1

    def _destination(self) -> None:
        """A bare word must be the destination."""
        word = self.words[self.index]
        looks = word in lookups.ANY or word[:1].isdigit() or ":" in word
        if not looks:
            self.good = False
            self.context.unknown(self.node, "option", [*self.rows, *TYPES], word=self.index)
            self.index = len(self.words)
        elif "destination" in self.fields:
            self.error(f"{shown(word)} is a second destination", "write one route per line")
            self.index += 1
        else:
            self._prefix(self.rows["to"])
            self.index += 1

    def _valued(self, row: Keyword) -> None:
        """An option with an argument, which the reader of its type leaves behind it."""
        if row.effect != "done":
            self.context.warning(self.node, row.no_effect(), WORKS_WITHOUT, word=self.index)
        if row.replacement:
            self.context.warning(
                self.node,
                f"{row.keyword} is an old spelling",
                f"write {row.replacement}",
                word=self.index,
            )
        if row.keyword == "or":
            row = self.rows["via"]
            self.fields["second"] = True
        self.index += 1
        if self.index >= len(self.words):
            self.error(
                f"{row.keyword} needs a value", f"write {row.keyword} {row.syntax}", self.index - 1
            )
            return
        self.by_type[row.type](row)
        self.index += 1

    def _int(self, row: Keyword) -> None:
        field = "expires_s" if row.keyword == "expires" else "metric"
        self.put(field, lookups.in_range(self.context, self.node, row, self.index))

    def _lock(self, name: str) -> None:
        if self.words[self.index] == "lock" and self.index + 1 < len(self.words):
            self.locks.append(name)
            self.index += 1

    def _metric(self, row: Keyword) -> None:
        self._lock(row.keyword)
        value = lookups.in_range(self.context, self.node, row, self.index)
        if value is None:
            self.good = False
        elif row.keyword in _FIELDS:
            self.fields[_FIELDS[row.keyword]] = value
        else:
            self.metrics[row.keyword] = value

    def _metric_time(self, row: Keyword) -> None:
        """A time with ms or s; a bare number is in the kernel's own units, as for iproute2."""
        self._lock(row.keyword)
        text = self.words[self.index]
        name, digits, unit = row.keyword, text, 1
        if text.endswith("ms"):
            name, digits = f"{row.keyword}_ms", text[:-2]
        elif text.endswith("s"):
            name, digits, unit = f"{row.keyword}_ms", text[:-1], 1000
        try:
            value = float(digits) * unit if digits.replace(".", "", 1).isdecimal() else -1.0
        except ValueError:
            value = -1.0
        if not 0 <= value <= lookups.U32_MAX // 8 or (unit == 1 and "." in digits):
            self.error(f"{row.keyword} is not a time: {shown(text)}", "write 100ms or 1.5s")
        else:
            self.metrics[name] = round(value)

    def _interface(self, row: Keyword) -> None:
        self.interface("vrf" if row.keyword == "vrf" else "dev")

    def _prefix(self, row: Keyword) -> None:
        found = lookups.prefix(self.context, self.node, self.index)
        if found is None:
            self.good = False
            return
        text, family = found
        if self.is_family(family, self.index):
            self.fields["from_" if row.keyword == "from" else "destination"] = text

    def _address(self, row: Keyword) -> None:
        found = lookups.address(self.context, self.node, self.index)
        if found is None:
            self.good = False
        elif self.is_family(found[1], self.index):
            self.fields["source"] = found[0]

    def _via(self) -> tuple[str, int] | None:
        """[inet|inet6] ADDR; with the family written it may differ from the route's (RTA_VIA)."""
        explicit = self.words[self.index] in ("inet", "inet6")
        if explicit:
            self.index += 1
        if self.index >= len(self.words):
            self.error("via needs an address", "write via [inet|inet6] ADDRESS", self.index - 1)
            return None
        found = lookups.address(self.context, self.node, self.index)
        if found is None:
            self.good = False
            return None
        if not explicit and not self.is_family(found[1], self.index):
            return None
        return found

    def _gateway(self, row: Keyword) -> None:
        found = self._via()
        if found is None:
            return
        if self.fields.pop("second", False):
            first = {"via": self.fields.get("via"), "via_family": self.fields.get("via_family")}
            self.hops += [first, {"via": found[0], "via_family": found[1]}]
        else:
            self.fields["via"], self.fields["via_family"] = found

    def _table(self, row: Keyword) -> None:
        self.named("table", "rt_tables", "routing table", lookups.U32_MAX)

    def _scope(self, row: Keyword) -> None:
        value = scope(self.context, self.node, self.words[self.index], self.index, default=None)
        if value is not None:
            self.fields["scope"] = value

    def _protocol(self, row: Keyword) -> None:
        self.named("protocol", "rt_protos", "protocol", 255)

    def _dsfield(self, row: Keyword) -> None:
        self.named("tos", "rt_dsfield", "type of service", 255)

    def _realms(self, row: Keyword) -> None:
        self.put("realm", lookups.realms(self.context, self.node, self.index))

    def _features(self, row: Keyword) -> None:
        bit = _FEATURES.get(self.words[self.index])
        if bit is None:
            self.error(f"there is no feature {shown(self.words[self.index])}", "write ecn")
        else:
            self.metrics["features"] = self.metrics.get("features", 0) | bit

    def _congctl(self, row: Keyword) -> None:
        self._lock(row.keyword)
        self.fields["congctl"] = self.words[self.index]

    def _choice(self, row: Keyword) -> None:
        text = self.words[self.index]
        choices = row.range.split("/")
        if text not in choices:
            self.error(f"{row.keyword} cannot be {shown(text)}", f"write {' or '.join(choices)}")
        elif row.keyword == "pref":
            self.fields["preference"] = text
        else:
            self.fields["ttl_propagate"] = text == "enabled"

    def _word(self, row: Keyword) -> None:
        self.fields["track_group"] = self.words[self.index]

    def _as_to(self, row: Keyword) -> None:
        if self.words[self.index] == "to" and self.index + 1 < len(self.words):
            self.index += 1

    def _encap(self, row: Keyword) -> None:
        self.put("encap", read_encap(self))

    def _nexthop(self) -> None:
        """nexthop [via ADDR] [dev IF] [weight N] [onlink] [realms R] [encap ...]."""
        hop: dict[str, Any] = {}
        self.hops.append(hop)
        self.index += 1
        while self.index < len(self.words):
            word = self.words[self.index]
            if word == "onlink":
                hop["onlink"] = True
            elif word in ("via", "gw", "dev", "oif", "weight", "realms", "encap"):
                if self.index + 1 >= len(self.words):
                    self.error(f"{word} needs a value", f"write nexthop ... {word} VALUE")
                    self.index += 1
                    return
                self.index += 1
                self._hop_value(word, hop)
            else:
                return
            self.index += 1

    def _hop_value(self, word: str, hop: dict[str, Any]) -> None:
        if word in ("via", "gw"):
            found = self._via()
            if found is not None:
                hop["via"], hop["via_family"] = found
        elif word in ("dev", "oif"):
            hop["dev"] = lookups.interface(self.context, self.node, self.index)
            self.good = self.good and hop["dev"] is not None
        elif word == "realms":
            hop["realm"] = lookups.realms(self.context, self.node, self.index)
            self.good = self.good and hop["realm"] is not None
        elif word == "encap":
            hop["encap"] = read_encap(self)
        else:
            value = lookups.number(self.words[self.index])
            if value is None or not 1 <= value <= NEXTHOP_WEIGHT_MAX:
                want = f"write 1 to {NEXTHOP_WEIGHT_MAX}"
                self.error(f"weight is out of range: {shown(self.words[self.index])}", want)
            else:
                hop["weight"] = value

    def _finish(self) -> VirtualRoute | None:
        fields, family = self.fields, self.family or 4
        if family == 4 and ("preference" in fields or "expires_s" in fields or "from_" in fields):
            name = next(n for n in ("preference", "expires_s", "from_") if n in fields)
            word = {"preference": "pref", "expires_s": "expires", "from_": "from"}[name]
            self.error(f"{word} is for IPv6 routes", "remove it, or write inet6", 0)
            return None
        if "vrf" in fields and "table" in fields:
            order = list(fields)
            unused = "vrf" if order.index("table") > order.index("vrf") else "table"
            self.context.warning(
                self.node, f"vrf and table both name a table, {unused} is ignored", "keep one"
            )
            del fields[unused]
        if self.hops:
            fields.pop("via", None)
            fields.pop("via_family", None)
            # What is written for all of them is each one's that says nothing else.
            encap = fields.pop("encap", None)
            for hop in self.hops:
                hop.setdefault("encap", encap)
        tracked = not fields.get("no_track", False)
        dev = fields.pop("dev", None) if self.hops else fields.get("dev")
        for hop in self.hops:
            hop.setdefault("dev", dev)
        has_interface = all(hop["dev"] for hop in self.hops) if self.hops else dev is not None
        protocol = fields.get("protocol")
        if tracked and protocol not in (None, KEEPALIVED_PROTOCOL):
            self.context.warning(
                self.node,
                f"a tracked route has protocol {KEEPALIVED_PROTOCOL}, which is used",
                "add no_track, or remove protocol",
            )
            fields["protocol"] = None
        if tracked and not has_interface and not self.is_static:
            self.context.warning(
                self.node,
                f"{fields['destination']} cannot be tracked without an interface",
                "add dev INTERFACE, or no_track",
            )
            fields["no_track"] = True
        return VirtualRoute(
            family=family,
            metrics=tuple(self.metrics.items()),
            metric_locks=tuple(self.locks),
            mtu_lock="mtu" in self.locks,
            nexthops=tuple(NextHop(**hop) for hop in self.hops),
            position=self.node.position(),
            **fields,
        )
