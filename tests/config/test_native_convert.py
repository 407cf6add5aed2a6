"""fastvrrp convert: both ways, and back, the model stays the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from beside_keepalived import Here
from config_reading import Reader, instance
from corpus import cases
from hypothesis import given, settings
from native_documents import documents
from servers_reading import check, real, virtual
from test_config_differential import VALID
from test_config_differential_servers import VALID as VALID_SERVERS

from fastvrrp.config.convert import Converted, convert, difference
from fastvrrp.config.host import HostInfo
from fastvrrp.config.load import load
from fastvrrp.config.native.text import yaml_text

pytestmark = pytest.mark.computing

FILES = sorted((Path(__file__).parents[1] / "operator/files").glob("*.conf"))
NETWORK = """
interface_up_down_delays {
 eth0 1 2
 eth1 5
}
track_group TG {
 group {
  V
 }
}
static_ipaddress {
 10.7.0.1/24 dev eth1 track_group TG
}
global_defs {
 script_user nobody :daemon
 vrrp_rx_bufs_policy MTU
}
""" + instance(
    "use_vmac vrrp.1 group default",
    "vmac_xmit_base",
    "old_unicast_checksum never",
    "unicast_peer {\n 10.0.0.9 min_ttl 250\n}",
    "virtual_routes {\n 10.5.0.0/16 encap mpls 100 via 10.0.0.7 dev eth0\n"
    " 10.6.0.0/16 nexthop via 10.0.0.7 dev eth0 encap mpls 100 nexthop via 10.0.0.8 dev eth1\n}",
)
TEXTS = {
    "network": NETWORK,
    **VALID,
    **{f"servers, {name}": text for name, text in VALID_SERVERS.items()},
}
CASES = list(cases())
PARTS = 32


class Trip:
    """Converts, writes what came out, and looks whether it means the same."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host: HostInfo = Here()

    def to(self, path: Path, to: str) -> tuple[Path, Converted]:
        result = convert(path, to, host=self.host, config_id="r1", environ={})
        after = self.directory / f"{to}{'.yaml' if to == 'yaml' else '.conf'}"
        after.write_text(result.text, "utf-8")
        return after, result

    def same(self, one: Path, other: Path) -> str:
        loads = [load(f, config_id="r1", environ={}, host=self.host) for f in (one, other)]
        assert loads[0].configuration is not None
        return difference(*loads)

    def there_and_back(self, path: Path) -> list[str]:
        """keepalived.conf to YAML, that to keepalived.conf; returns what was left out."""
        there, one = self.to(path, "yaml")
        back, other = self.to(there, "keepalived")
        assert one.difference == "", one.text
        assert other.difference == "", other.text
        assert self.same(path, there) == ""
        assert self.same(path, back) == ""
        return left_out(one) + left_out(other)


def left_out(result: Converted) -> list[str]:
    texts = [m for m in result.messages if m.text.startswith("not converted")]
    return [f"{m.position.line}: {m.text}" for m in texts]


@pytest.fixture
def trip(tmp_path: Path) -> Trip:
    return Trip(tmp_path)


@pytest.fixture(scope="module")
def module_trip(tmp_path_factory: pytest.TempPathFactory) -> Trip:
    return Trip(tmp_path_factory.mktemp("convert"))


def test_every_file_of_operators(trip: Trip) -> None:
    valid = 0
    for file in FILES:
        if load(file, config_id="r1", environ={}, host=trip.host).configuration is not None:
            valid += 1
            for text in trip.there_and_back(file):
                assert "is not a time" in text, file  # 0, which keepalived does not use either
    assert valid > 10


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_that_keepalived_takes(trip: Trip, name: str) -> None:
    path = trip.directory / "k.conf"
    path.write_text(TEXTS[name])
    if load(path, config_id="r1", environ={}, host=trip.host).configuration is None:
        pytest.fail("it should be valid")
    trip.there_and_back(path)


@pytest.mark.parametrize("turn", range(2))
def test_lines_of_the_corpus(trip: Trip, turn: int) -> None:
    """A part of them, chosen by what is in them; `${_RANDOM}` is another number each time."""
    path = trip.directory / "k.conf"
    seen = 0
    for case in CASES:
        if int(case.key, 16) % PARTS != turn or "_RANDOM" in case.text:
            continue
        path.write_text(case.text)
        if load(path, config_id="r1", environ={}, host=trip.host).configuration is not None:
            seen += 1
            left = trip.there_and_back(path)
            assert not left or case.kind != "good", case.name
    assert seen > 10


@settings(max_examples=25, deadline=None)
@given(document=documents())
def test_generated_documents(module_trip: Trip, document: dict[str, object]) -> None:
    trip = module_trip
    path = trip.directory / "generated.yaml"
    path.write_text(yaml_text(document), "utf-8")
    loaded = load(path, config_id="r1", environ={}, host=trip.host)
    if loaded.configuration is None:
        return
    there, result = trip.to(path, "keepalived")
    assert result.difference == "", result.text
    assert left_out(result) == []
    back, result = trip.to(there, "yaml")
    assert result.difference == "", result.text
    assert trip.same(path, back) == ""


@pytest.mark.parametrize("odd", "\x85\u2028\u2029\ufeff\t")
def test_words_with_what_some_take_for_line_breaks(trip: Trip, odd: str) -> None:
    path = trip.directory / "k.conf"
    path.write_text(instance(f'notify "/bin/true a{odd}b"'), "utf-8")
    there, result = trip.to(path, "yaml")
    assert result.difference == "", result.text
    assert left_out(result) == []
    back, result = trip.to(there, "keepalived")
    assert result.difference == "", result.text
    assert trip.same(path, back) == ""


def test_what_is_not_understood_is_named_and_the_rest_converted(trip: Trip) -> None:
    path = trip.directory / "k.conf"
    path.write_text(instance("priority 300", "prioritty 5", "garp_master_delay 3"))
    _, result = trip.to(path, "yaml")
    assert not result.is_valid
    assert left_out(result) == [
        "7: not converted: priority is not a number from 1 to 255: '300'",
        "8: not converted: unknown keyword 'prioritty'",
    ]
    assert "garp_master_delay: 3s" in result.text


def test_many_similar_instances_become_short(trip: Trip) -> None:
    path = trip.directory / "k.conf"
    blocks = [
        instance(
            "version 3",
            "advert_int 0.1",
            "authentication {\n auth_type PASS\n auth_pass x\n}" if n > 60 else "priority 90",
            "garp_master_delay 1" if n > 60 else "garp_master_delay 2",
            name=f"V{n}",
            vrid=n,
            vips=f"10.0.{n}.1/24",
        )
        for n in range(1, 101)
    ]
    path.write_text("".join(blocks))
    there, result = trip.to(path, "yaml")
    assert result.difference == ""
    text = there.read_text()
    assert text.count("advert_int") == 1
    assert text.count("like-V1") == 61
    assert len(text.splitlines()) < 600 < len(path.read_text().splitlines())


def test_real_servers_share_what_they_say(trip: Trip) -> None:
    path = trip.directory / "k.conf"
    checker = check("TCP_CHECK", "connect_timeout 3")
    servers = [real("weight 2", checker, at=f"10.0.0.{n} 80") for n in (2, 3, 4)]
    path.write_text(virtual(*servers))
    there, result = trip.to(path, "yaml")
    assert result.difference == ""
    text = there.read_text()
    assert text.count("weight: 2") == text.count("tcp: {connect_timeout: 3s}") == 1


def test_a_default_below_its_instances_is_named(trip: Trip) -> None:
    """In YAML it reaches them: the result is not the same, which is said."""
    path = trip.directory / "k.conf"
    path.write_text(instance() + "global_defs {\n vrrp_garp_master_delay 1\n}\n")
    _, result = trip.to(path, "yaml")
    assert result.difference == "vrrp_instances[V].garp.lower_prio_delay_s"
    assert [str(m).partition(": ")[2] for m in result.messages if "in YAML it does" in m.text]


def test_secrets_are_in_no_message(trip: Trip, read: Reader) -> None:
    path = trip.directory / "k.conf"
    path.write_text(instance("authentication {\n auth_type PASS\n auth_pass hunter2 hunter2\n}"))
    there, result = trip.to(path, "yaml")
    assert "auth_pass: hunter2" in there.read_text()
    assert not any("hunter2" in str(message) for message in result.messages)
    text = there.read_text()
    path = trip.directory / "w.yaml"
    path.write_text(text.replace("auth_pass: hunter2", 'auth_pass: "hun\\nter2"'))
    _, result = trip.to(path, "keepalived")
    assert left_out(result)
    assert not any("ter2" in str(message) for message in result.messages)
