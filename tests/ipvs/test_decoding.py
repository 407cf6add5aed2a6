"""What arrives is the configuration that was sent, and what did not change are the old objects."""

from __future__ import annotations

import msgspec
import pytest
from pool_making import rs, vs

from fastvrrp.config import compact, model
from fastvrrp.config.servers import Ipvs, VirtualServer
from fastvrrp.ipvs.decoding import Decoder


def named(name: str, *weights: int) -> VirtualServer:
    servers = [rs(number, weight=weight) for number, weight in enumerate(weights, 1)]
    return msgspec.structs.replace(vs(*servers), name=name)


def sent(*virtual_servers: VirtualServer) -> tuple[model.Configuration, bytes]:
    ipvs = Ipvs(virtual_servers=virtual_servers, flush=True, priority=-3)
    configuration = model.Configuration(ipvs=ipvs, source_files=("/etc/a.conf",))
    return configuration, compact.encode(configuration)


def test_what_was_sent_arrives() -> None:
    decoder = Decoder()
    for configuration, data in (sent(), sent(named("a", 1, 2), named("b")), sent(named("b", 7))):
        arrived = decoder.decode(data)
        assert arrived == configuration
        assert (type(arrived), type(arrived.ipvs)) == (model.Configuration, Ipvs)


def test_what_did_not_change_is_the_old_object_wherever_it_stands() -> None:
    decoder = Decoder()
    old = decoder.decode(sent(named("a", 1, 2), named("b", 3), named("c"))[1]).ipvs.virtual_servers
    configuration, data = sent(named("c"), named("a", 1, 9), named("b", 3))
    new = decoder.decode(data).ipvs.virtual_servers
    assert new == configuration.ipvs.virtual_servers
    assert new[0] is old[2]
    assert new[1] not in old
    assert new[2] is old[1]


def test_two_that_are_equal_are_both_there() -> None:
    configuration, data = sent(named("a", 1), named("a", 1))
    assert Decoder().decode(data) == configuration


def test_after_something_unreadable_the_last_one_is_still_known() -> None:
    decoder = Decoder()
    _, data = sent(named("a", 1))
    old = decoder.decode(data)
    wrong = msgspec.msgpack.encode([{"ipvs": {"virtual_servers": [{"name": 5}]}}])
    for bad in (wrong, data[:-1], b"\xc1"):
        with pytest.raises(msgspec.MsgspecError):
            decoder.decode(bad)
    assert decoder.decode(data).ipvs.virtual_servers[0] is old.ipvs.virtual_servers[0]
