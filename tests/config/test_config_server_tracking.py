"""track_virtual_server: what its lines mean."""

from __future__ import annotations

import pytest
from config_reading import Reader, instance, texts
from servers_reading import HEAD, problems, real, virtual

from fastvrrp.config.model import Position, Tracked, VrrpInstance

SERVERS = (
    virtual(real())
    + virtual(real(), common=(*HEAD[:2], "protocol UDP"))
    + virtual(real(at="2001:db8::2 443"), head="2001:db8::1 443")
    + virtual(real(at="10.0.0.2"), head="fwmark 7", common=HEAD[:2])
    + "virtual_server_group web {\n10.0.0.8 80\n}\n"
    + virtual(real(), head="group web")
    + "virtual_server_group dns {\n10.0.0.9 53\n}\n"
    + virtual(real(), head="group dns")
    + virtual(real(), head="group dns", common=(*HEAD[:2], "protocol UDP"))
)
LINE = SERVERS.count("\n") + 8  # of the first line in the block


def tracking(*lines: str) -> str:
    return SERVERS + instance("track_virtual_server {", *lines, "}")


def tracked(read: Reader, *lines: str, said: tuple[str, ...] = ()) -> VrrpInstance:
    loaded = read(tracking(*lines))
    assert texts(loaded) == list(said)
    assert loaded.configuration is not None
    (found,) = loaded.configuration.vrrp_instances
    return found


@pytest.mark.parametrize(
    ("line", "name", "weight", "reverse"),
    [
        ("10.0.0.1 80 tcp", "[10.0.0.1]:tcp:80", 0, False),
        ("10.0.0.1 80 UDP weight -5", "[10.0.0.1]:udp:80", -5, False),
        ("2001:DB8:0::1 443", "[2001:db8::1]:tcp:443", 0, False),
        ("fwmark 7 weight 253 reverse", "FWM 7", 253, True),
        ("fwmark 007 noreverse", "FWM 7", 0, False),
        ("group web reverse weight 4", "[web]:0", 4, True),
        ("group web tcp", "[web]:0", 0, False),
        ("group dns udp weight 9", "[dns]:1", 9, False),
    ],
)
def test_references(read: Reader, line: str, name: str, weight: int, reverse: bool) -> None:
    assert tracked(read, line).track_virtual_server == (
        Tracked(
            name=name,
            weight=weight,
            reverse=reverse,
            position=Position(file=str(read.path), line=LINE, column=1),
        ),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "10.0.0.1 80",
            "error: V: there are several virtual_servers '10.0.0.1 80'; "
            "write 10.0.0.1 80 tcp or udp",
        ),
        (
            "10.0.0.1 81",
            "error: V: there is no virtual_server '10.0.0.1 81'; did you mean 10.0.0.1 80?",
        ),
        ("group wbe", "error: V: there is no virtual_server 'group wbe'; did you mean group web?"),
        ("fwmark 8", "error: V: there is no virtual_server 'fwmark 8'; did you mean fwmark 7?"),
        ("10.0.0.1 80 sctp", "error: V: there is no virtual_server '10.0.0.1 80'; did you mean"),
        ("weight 5", "error: V: there is no virtual_server ''; write what stands behind"),
        ("fwmark 7 weight", "error: weight needs a value; write weight N"),
        ("fwmark 7 weight 5 revrse", "error: unknown option 'revrse'; did you mean reverse?"),
    ],
)
def test_what_refers_to_nothing(read: Reader, line: str, message: str) -> None:
    (said,) = problems(read, tracking(line))
    assert said.partition(" ")[2].startswith(message)
    assert said.startswith(f"{LINE}:")


def test_one_server_twice(read: Reader) -> None:
    said = f"{LINE + 1}:1: warning: 'fwmark 07' is tracked twice; remove one of the lines"
    found = tracked(read, "fwmark 7 weight 5", "fwmark 07", said=(said,))
    assert [one.weight for one in found.track_virtual_server] == [5]


def test_weight_that_is_too_much(read: Reader) -> None:
    said = f"{LINE}:17: warning: weight 254: using 253; write -253 to 253"
    found = tracked(read, "fwmark 7 weight 254", said=(said,))
    assert found.track_virtual_server[0].weight == 253


def test_mark_of_both_families(read: Reader) -> None:
    """Both have one name, and are followed together."""
    six = virtual(real(at="2001:db8::2"), head="fwmark 7", common=HEAD[:2])
    loaded = read(six + tracking("fwmark 7"))
    assert texts(loaded) == []
    assert loaded.configuration is not None
    (found,) = loaded.configuration.vrrp_instances
    assert [one.name for one in found.track_virtual_server] == ["FWM 7"]


def test_each_protocol_of_a_group(read: Reader) -> None:
    found = tracked(read, "group dns tcp", "group dns udp")
    assert [one.name for one in found.track_virtual_server] == ["[dns]:0", "[dns]:1"]


def test_virtual_server_below(read: Reader) -> None:
    loaded = read(instance("track_virtual_server {", "fwmark 7", "}") + SERVERS)
    assert texts(loaded) == []


def test_sync_group(read: Reader) -> None:
    text = (
        SERVERS
        + instance(name="V")
        + instance(name="W", vrid=2, vips="10.0.0.2/24")
        + "vrrp_sync_group G {\ngroup {\nV\nW\n}\ntrack_virtual_server {\nfwmark 7 weight 9\n}\n}\n"
    )
    loaded = read(text)
    assert texts(loaded) == []
    assert loaded.configuration is not None
    (group,) = loaded.configuration.sync_groups
    assert [(one.name, one.weight) for one in group.track_virtual_server] == [("FWM 7", 9)]


def test_owner_and_member_have_no_weights(read: Reader) -> None:
    owner = SERVERS + instance("priority 255", "track_virtual_server {", "fwmark 7 weight 9", "}")
    loaded = read(owner)
    (said,) = texts(loaded)
    assert "FWM 7 has weight 9, it is not tracked: priority 255 never changes" in said
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances[0].track_virtual_server == ()
