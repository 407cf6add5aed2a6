"""YAML documents for tests: read as if on a machine that the test describes, and generated."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from config_reading import FakeHost
from hypothesis import strategies as st

from fastvrrp.config.keywords import Keyword, int_range
from fastvrrp.config.load import load
from fastvrrp.config.model import Loaded
from fastvrrp.config.native.kinds import Command
from fastvrrp.config.native.lower import argument_shape
from fastvrrp.config.native.names import REAL_SERVER, VIRTUAL_SERVER, checks, global_keys, keys
from fastvrrp.config.native.shapes import (
    Choice,
    Duration,
    Flag,
    Number,
    Optional,
    Shape,
    unit_of,
)
from fastvrrp.config.native.text import yaml_text
from fastvrrp.config.native.units import nanoseconds

Data = dict[str, Any]
MINIMAL = {"interface": "eth0", "virtual_router_id": 1, "addresses": ["10.0.0.1/24"]}
DURATIONS = ("10ms", "100ms", "1s", "1500ms", "2s", "5s", "1min", "100s", "1h")
WORDS = ("plain", "two words", "a#b", "c!d", "{e}", "it's", "10.0.0.9", "f", "Zürich")
EXAMPLES: dict[str, tuple[Any, ...]] = {
    "interface": ("eth1", "eth2"),
    "address": ("10.0.0.9",),
    "mcast4": ("224.0.0.77",),
    "mcast6": ("ff02::77",),
    "path": ("/var/lib/x", "/with blank"),
    "path?": ("/var/lib/x", True),
    "word?": ("plain", True),
    "secret": ("hunter2", "two wo#d"),
    "account": ("nobody", {"user": "nobody", "group": "daemon"}),
    "fifo": ("/run/fifo", {"path": "/run/fifo", "user": "nobody"}),
    "weight": (5, -10, {"weight": 3, "reverse": True}),
    "cpus": ([0], [0, 1]),
    "extra-if": ("10s", {"interval": "1min", "all": True}),
    "smtp-server": ("mail.example.org", "10.0.0.9:2525", "[fe80::1]:25"),
    "rx-policy": (65536,),
    "init-file": (True, 7, {"value": 3, "overwrite": True}),
    "granularity": ("255.255.255.0",),
    "forwarding": ("NAT", "DR", {"method": "TUN", "type": "gue", "port": 6080, "csum": True}),
    "status-codes": ([200], ["200-299", 301]),
    "digest": ("0123456789abcdef0123456789abcdef",),
    "regex-options": (["caseless", "dotall"],),
    "regex-stack": ([1000, 2000],),
    "payload": (["00ff"], "00 ff"),
    "reply": (True, ["00fx"]),
    "dns-name": ("example.org",),
    "timeouts": ({"tcp": "15min", "udp": "5min"},),
    "vmac": (True,),
    "words?": (True,),
}
OF_KEYWORD: dict[str, tuple[Any, ...]] = {
    "fwmark": (5, 77),
    "process": (["nginx"], ["nginx", "-g", "two words"]),
    "sorry_server": ("10.0.0.9:80",),
    "lvs_sync_daemon": ("eth1", {"interface": "eth1", "id": 7, "maxlen": 1400}),
    "use_ipvlan": (True,),
    "key": (["1", "secret"],),
}
LISTS: dict[str, tuple[Any, ...]] = {
    "virtual_ipaddress": (
        "10.0.0.2/24",
        {"address": "10.0.0.3/24", "dev": "eth1", "label": "eth1:x", "noprefixroute": True},
        {"address": "10.0.0.4/24", "brd": "+", "scope": "link", "preferred_lft": "1h"},
        {"address": "10.0.0.5/32", "preferred_lft": "forever", "no_track": True},
    ),
    "virtual_routes": (
        "10.5.0.0/16 via 10.0.0.9 dev eth0",
        {"to": "10.6.0.0/16", "via": "10.0.0.9", "dev": "eth0", "metric": 5, "mtu": 1400},
        {"to": "10.7.0.0/16", "dev": "eth0", "rtt": "100ms", "mtu": "lock 1000"},
        {"to": "10.8.0.0/16", "nexthops": [{"via": "10.0.0.9", "dev": "eth0", "weight": 2}]},
    ),
    "virtual_rules": (
        {"from": "10.0.0.0/8", "table": "small", "preference": 10},
        "fwmark 0x10/0xff lookup main priority 11",
    ),
    "unicast_peer": ("10.0.0.21", {"address": "10.0.0.22", "min_ttl": 250, "max_ttl": 255}),
    "track_interface": ("eth1", {"interface": "eth2", "weight": -20, "reverse": True}),
    "notification_email": ("ops@example.org", "boss@example.org"),
    "interfaces": ("eth1", "eth2"),
}


def read_yaml(directory: Path, text: str | Data, host: FakeHost | None = None) -> Loaded:
    """A document, or the text of one."""
    path = directory / "f.yaml"
    path.write_text(textwrap.dedent(text) if isinstance(text, str) else yaml_text(text), "utf-8")
    return load(path, config_id="r1", environ={}, host=host or FakeHost())


def value_of(row: Keyword) -> st.SearchStrategy[Any]:
    """Values that a keyword takes."""
    examples = OF_KEYWORD.get(row.keyword) or EXAMPLES.get(row.type)
    if examples is not None:
        return st.sampled_from(examples)
    return _of_shape(argument_shape(row), row)


def _of_shape(shape: Shape, row: Keyword) -> st.SearchStrategy[Any]:
    if isinstance(shape, Flag):
        return st.booleans()
    if isinstance(shape, Optional):
        return st.one_of(st.just(True), _of_shape(shape.inner, row))
    if isinstance(shape, Number):
        low, high = int_range(row.range)
        return st.integers(max(low, 1), high)
    if isinstance(shape, Duration):
        return st.sampled_from([text for text in DURATIONS if _fits(text, row)])
    if isinstance(shape, Choice):
        return st.sampled_from(shape.choices())
    if isinstance(shape, Command):
        return st.sampled_from(
            [
                "/bin/true",
                '/bin/check "two words" {x} #y $z',
                ["/bin/check", "two words", 'a"b', "\\", "it's"],
                {"command": "/bin/true --a", "user": "nobody"},
                {"command": "/bin/true", "user": "nobody", "group": "daemon"},
            ]
        )
    return st.sampled_from(WORDS)


def _fits(text: str, row: Keyword) -> bool:
    length, unit = nanoseconds(text), unit_of(row)
    assert length is not None
    assert unit is not None
    low, _, high = row.range.partition("..")
    value = length / unit
    is_whole = value.denominator == 1
    return float(low) <= value <= float(high) and (is_whole or row.type.startswith("time"))


def block_of(path: str, *without: str) -> st.SearchStrategy[Data]:
    """Some keys of a block that have plain values, or lists for which there are examples."""
    rows = {key: row for key, row in keys(path).items() if key not in without}
    return _some({key: _keyed(row) for key, row in rows.items() if _is_known(row)})


def _is_known(row: Keyword) -> bool:
    return not row.type.startswith(("block", "lines")) or row.keyword in LISTS


def _keyed(row: Keyword) -> st.SearchStrategy[Any]:
    if row.keyword in LISTS and row.type.startswith("lines"):
        return st.lists(st.sampled_from(LISTS[row.keyword]), min_size=1, max_size=2, unique_by=str)
    return value_of(row)


def _some(values: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Data]:
    chosen = st.lists(st.sampled_from(sorted(values)), max_size=5, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({n: values[n] for n in names}))


def instances() -> st.SearchStrategy[Data]:
    """The section instances, with different virtual router IDs."""
    plain = block_of("vrrp_instance", "virtual_router_id", "addresses", "vrf", "auth_hmac")
    return st.lists(plain, min_size=1, max_size=4).map(
        lambda blocks: {
            f"VI {number}" if number == 3 else f"VI_{number}": {
                **MINIMAL,
                "virtual_router_id": number,
                "addresses": [f"10.0.{number}.1/24"],
                **block,
            }
            for number, block in enumerate(blocks, 1)
        }
    )


def virtual_servers() -> st.SearchStrategy[list[Data]]:
    """The section virtual_servers."""
    required = {"protocol": "TCP", "scheduler": "rr", "method": "NAT"}
    kinds = {
        name: block_of(row.path, "bind_if", "url")
        for name, row in checks().items()
        if name != "bfd"
    }
    kinds["misc"] = kinds["misc"].map(lambda block: {**block, "command": "/bin/check a"})
    for name in ("http", "https"):
        url = block_of(f"{REAL_SERVER}/HTTP_GET/url", "regex", "regex_max_offset")
        kinds[name] = st.tuples(kinds[name], url).map(
            lambda both: {**both[0], "url": {**both[1], "path": "/"}}
        )
    del kinds["file"]
    check = st.sampled_from(sorted(kinds)).flatmap(
        lambda name: kinds[name].map(lambda block: {name: block})
    )
    server = st.tuples(block_of(REAL_SERVER, "method"), st.lists(check, max_size=2)).map(
        lambda both: {**both[0], "checks": both[1]} if both[1] else both[0]
    )
    service = block_of(VIRTUAL_SERVER, "ip_family", "sorry_server", "sorry_server_method")
    return st.tuples(service, st.lists(server, min_size=1, max_size=3)).map(
        lambda both: [
            {
                **required,
                **both[0],
                "address": "10.9.0.1:80",
                "real_servers": [
                    {"address": f"10.9.0.{number + 2}:80", **block}
                    for number, block in enumerate(both[1])
                ],
            }
        ]
    )


def documents() -> st.SearchStrategy[Data]:
    """Whole documents, most of which are valid."""
    plain = {
        key: value_of(row)
        for key, row in global_keys().items()
        if not row.type.startswith(("block", "lines"))
        and key not in ("net_namespace", "net_namespace_ipvs", "vrrp_version", "vrrp_strict")
    }
    return st.fixed_dictionaries(
        {"instances": instances()},
        optional={"global": _some(plain), "virtual_servers": virtual_servers()},
    )
