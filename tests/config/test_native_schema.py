"""The JSON Schema: as published, and never of another opinion than fastvrrp check."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from config_reading import FakeHost
from hypothesis import given, settings
from hypothesis import strategies as st
from native_documents import MINIMAL, Data, documents, read_yaml

from fastvrrp.config.model import Severity
from fastvrrp.config.native.names import REAL_SERVER, checks, global_keys, keys
from fastvrrp.config.native.schema import schema

VALIDATOR = jsonschema.Draft7Validator(schema())
SERVICE = {"address": "10.9.0.1:80", "protocol": "TCP", "scheduler": "rr", "method": "NAT"}
SERVER = {"address": "10.9.0.2:80"}
Wrap = Callable[[Data], Data]


def _instance(block: Data) -> Data:
    return {"instances": {"V": {**MINIMAL, **block}}}


def _server(block: Data) -> Data:
    return {"virtual_servers": [{**SERVICE, "real_servers": [{**SERVER, **block}]}]}


def _check(name: str) -> Wrap:
    required = {"http": {"url": {"path": "/"}}, "https": {"url": {"path": "/"}}}
    required["misc"] = {"command": "/bin/true"}
    required["file"] = {"track_file": "F"}
    return lambda block: {
        **_server({"checks": [{name: {**required.get(name, {}), **block}}]}),
        "track_files": {"F": {"file": "/x"}},
    }


# Where a block stands in a document that is valid without it.
WRAPS: dict[str, Wrap] = {
    "vrrp_instance": _instance,
    "vrrp_instance/authentication": lambda block: _instance(
        {"authentication": {"auth_type": "PASS", "auth_pass": "x", **block}}
    ),
    "global_defs": lambda block: {"global": block},
    "vrrp_script": lambda block: {"track_scripts": {"S": {"script": "/bin/true", **block}}},
    "track_file": lambda block: {"track_files": {"F": {"file": "/x", **block}}},
    "vrrp_track_process": lambda block: {"track_processes": {"P": {"process": "x", **block}}},
    "vrrp_sync_group": lambda block: {
        "sync_groups": {"G": {"instances": ["V", "W"], **block}},
        "instances": {"V": MINIMAL, "W": {**MINIMAL, "virtual_router_id": 2}},
    },
    "garp_group": lambda block: {
        "garp_groups": [{"garp_interval": "1s", "interface": "eth0", **block}]
    },
    "SSL": lambda block: {"tls": block},
    "virtual_server": lambda block: {
        "virtual_servers": [{**SERVICE, "real_servers": [SERVER], **block}]
    },
    REAL_SERVER: _server,
    **{row.path: _check(name) for name, row in checks().items()},
}
FIELDS = [
    (path, key)
    for path in WRAPS
    for key, row in (global_keys() if path == "global_defs" else keys(path)).items()
]
JUNK: list[Any] = [
    None, True, False, 0, 1, -1, 255, 256, 10**10, 1.5, "", "x", "yes", "1s", "100ms", "5", "0s",
    "1h", "eth0", "10.0.0.9", "MASTER", "a b", "/bin/true", [], ["x"], [1], [[]], [True],
    {}, {"x": 1}, {"weight": 1}, {"address": "10.0.0.9"}, {"command": "/bin/true"}, {"path": "/"},
    [{"interface": "eth1", "weight": 5}], {"interval": "1s"}, [{"path": "/", "status_code": 200}],
]  # fmt: skip
# What check alone can know; everything else it says, the schema says, too.
SEMANTIC = re.compile(
    r"address|whole number of|unknown forwarding method|"
    r"there is no|cannot be the name|is not a time of|absolute path|loopback|"
    r"is not a name of the DNS|hexadecimal|MD5|not a netmask|is not what .*can|quote .*closed|"
    r"is missing|has no (script|file|process|misc_path|url|path|track_file|command)|group|"
    r"is not a number from \d+ to \d+: '[^']*'$|unknown (option|check|regex)|needs a value|"
    r"status code|cannot be '|families|is not a port|persistence_granularity|needs an? |"
    r"is not a number of|two numbers|is used for|interface|nobody|already"
)


def valid(document: Data) -> bool:
    return VALIDATOR.is_valid(json.loads(json.dumps(document)))


def disagreement(directory: Path, document: Data) -> str:
    """What the schema and check say differently, "" if nothing."""
    host = FakeHost()
    loaded = read_yaml(directory, document, host)
    errors = [m.text for m in loaded.messages if m.severity is Severity.ERROR]
    if not valid(document):
        return "" if errors else "the schema refuses it, check does not"
    odd = [text for text in errors if not SEMANTIC.search(text)]
    return f"check refuses it, the schema does not: {odd}" if odd else ""


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema())


@settings(max_examples=80, deadline=None)
@given(field=st.sampled_from(FIELDS), value=st.sampled_from(JUNK))
def test_schema_and_check_agree_about_a_value(
    tmp_path_factory: pytest.TempPathFactory, field: tuple[str, str], value: Any
) -> None:
    path, key = field
    document = WRAPS[path]({key: value})
    assert disagreement(tmp_path_factory.getbasetemp(), document) == "", document


@settings(max_examples=15, deadline=None)
@given(document=documents())
def test_the_schema_takes_what_check_takes(
    tmp_path_factory: pytest.TempPathFactory, document: Data
) -> None:
    assert disagreement(tmp_path_factory.getbasetemp(), document) == ""


@pytest.mark.parametrize("path", sorted(WRAPS))
def test_unknown_keys_are_refused_by_both(tmp_path: Path, path: str) -> None:
    document = WRAPS[path]({"x-unknown": 1})
    assert not valid(document)
    assert disagreement(tmp_path, document) == ""
    assert valid(WRAPS[path]({}))


@pytest.mark.parametrize(
    "text",
    [
        "instnces: {}",
        "instances: [a]",
        "defaults: {instnces: {}}",
        "defaults: {instances: {x: 1}}",
        "templates: {instances: {t: {x: 1}}}\ninstances: {V: {template: t}}",
        "instances: {V: {for: {n: 1-2}}}",
        "virtual_servers: [{address: 10.0.0.1, real_servers: [{x: 1}]}]",
        "virtual_servers: [{address: 10.0.0.1, checks: [xyz]}]",
        "include: {a: b}",
        "nodes: {r1: {x: 1}}",
    ],
)
def test_wrong_documents_are_refused_by_both(tmp_path: Path, text: str) -> None:
    document = yaml.safe_load(text)
    assert not valid(document)
    assert read_yaml(tmp_path, document).configuration is None
