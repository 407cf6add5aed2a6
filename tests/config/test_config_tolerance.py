"""Reading a file as keepalived runs it: what is wrong is left out, with a warning."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from beside_keepalived import Here
from config_reading import FakeHost, instance
from corpus import answers, cases
from servers_reading import real, virtual

from fastvrrp.config.load import load, load_again
from fastvrrp.config.model import Loaded
from fastvrrp.config.servers import Forwarding

ACCEPTS, COMPLAINS, REFUSES, NO_FILE = 0, (4, 5), 2, 6
# It gives up on these; here they cost a statement like any other.
MILDER = {"wrong double-quoted word", "blackhole"}


def tolerant(directory: Path, text: str, *, is_reload: bool = False) -> Loaded:
    path = directory / "k.conf"
    path.write_text(text)
    host = FakeHost()
    if is_reload:
        again = load_again(
            path, None, config_id="r1", environ={}, host=host, tolerant=True, is_reload=True
        )
        return again.loaded
    return load(path, config_id="r1", environ={}, host=host, tolerant=True)


def names(loaded: Loaded) -> list[str]:
    assert loaded.configuration is not None, loaded.messages
    return [one.name for one in loaded.configuration.vrrp_instances]


def left_out(loaded: Loaded) -> Counter[int]:
    """Lines with a mistake."""
    return Counter(m.position.line for m in loaded.messages if "; left out" in m.text)


def test_what_keepalived_runs_we_run(tmp_path: Path) -> None:
    """The corpus of every keyword, good and wrong. Those that crash it are not among them."""
    recorded = answers()
    strange = []
    path = tmp_path / "k.conf"
    for case in cases():
        path.write_text(case.text)
        loaded = load(path, config_id="r1", environ={}, host=Here(), tolerant=True)
        status = recorded[case.key]
        if status not in (ACCEPTS, *COMPLAINS, REFUSES, NO_FILE):
            continue
        runs = status in (ACCEPTS, *COMPLAINS)
        if case.line in MILDER or case.keyword == "includem":
            continue
        if runs != (loaded.configuration is not None):
            strange.append((status, case.name, [str(m) for m in loaded.errors]))
        if status == ACCEPTS and any("; left out" in m.text for m in loaded.messages):
            strange.append((status, case.name, [str(m) for m in loaded.messages]))
    assert strange == []


def test_statements_blocks_and_lines_of_their_own(tmp_path: Path) -> None:
    text = (
        "no_such {\n    interface x\n}\n"
        + instance("no_such_option 5", "track_script { nobody }", name="A")
        + instance("priority", name="B", vrid=2).replace("priority\n", "")
        + "vrrp_instance C { interface eth0\n priority 5\n}\n"
    )
    loaded = tolerant(tmp_path, text)
    assert names(loaded) == ["A", "B"]  # C has no virtual_router_id
    assert not loaded.errors
    lines = text.splitlines()
    said = {lines[line - 1].strip() for line in left_out(loaded)}
    assert said == {
        "no_such {",
        "no_such_option 5",
        "track_script { nobody }",
        "vrrp_instance C { interface eth0",
    }


@pytest.mark.parametrize("option", ["dev", "label"])
def test_an_option_of_an_address_without_value(tmp_path: Path, option: str) -> None:
    """keepalived does not have that address; elsewhere it gives up where a value is missing."""
    loaded = tolerant(tmp_path, instance(vips=f"10.0.0.1/24 {option}\n10.0.0.2/24"))
    assert loaded.configuration is not None
    (one,) = loaded.configuration.vrrp_instances
    assert [address.address for address in one.virtual_ipaddress] == ["10.0.0.2"]
    assert left_out(loaded) == {5: 1}


def test_a_word_of_an_address_costs_no_address(tmp_path: Path) -> None:
    """Whoever asks for something newer, or wrong, about an address still gets the address."""
    addresses = [
        "10.0.0.1/24 colour red dev eth0",
        "10.0.0.2/24 track_group T",
        "10.0.0.3 peer foo scope link",
    ]
    text = instance("virtual_ipaddress_excluded {", *addresses, "}")
    loaded = tolerant(tmp_path, text)
    assert loaded.configuration is not None, loaded.messages
    (found,) = loaded.configuration.vrrp_instances
    read = [(a.address, a.dev, a.peer, a.scope) for a in found.virtual_ipaddress_excluded]
    assert read == [
        ("10.0.0.1", "eth0", None, 0),
        ("10.0.0.2", None, None, 0),
        ("10.0.0.3", None, None, 253),
    ]
    assert sum("ignored" in m.text or "left out" in m.text for m in loaded.messages) == 5


@pytest.mark.parametrize(
    "options",
    ["type foo", "type gue port 0", "type gue", "nocsum foo", "type ipip csum", "type gre remcsum"],
)
def test_an_option_of_a_tunnel_costs_no_tunnel(tmp_path: Path, options: str) -> None:
    """It is a plain one then, not NAT, which would not reach the server."""
    text = virtual(real(), common=("lvs_sched rr", f"lvs_method TUN {options}", "protocol TCP"))
    loaded = tolerant(tmp_path, text)
    assert loaded.configuration is not None, loaded.messages
    (service,) = loaded.configuration.ipvs.virtual_servers
    assert [server.forwarding for server in service.real_servers] == [Forwarding(method="TUN")]
    (said,) = [m for m in loaded.messages if "no option is used" in m.text]
    assert said.position.line == 3
    text = text.replace("TUN", "DR")
    loaded = tolerant(tmp_path, text)
    assert loaded.configuration is not None, loaded.messages
    (service,) = loaded.configuration.ipvs.virtual_servers
    assert [server.forwarding.method for server in service.real_servers] == ["DR"]


def test_one_of_many_real_servers(tmp_path: Path) -> None:
    """They are written alike, and read together otherwise."""
    servers = [real(at=f"10.0.1.{n} 80") for n in range(1, 6)]
    servers[2] = servers[2].replace("10.0.1.3", "10.0.1.333")
    loaded = tolerant(tmp_path, virtual(*servers))
    assert loaded.configuration is not None
    (service,) = loaded.configuration.ipvs.virtual_servers
    assert [one.address for one in service.real_servers] == [f"10.0.1.{n}" for n in (1, 2, 4, 5)]


@pytest.mark.parametrize("text", ["", "nonsense\n", "a {\nb\n}\nc 5\n"])
def test_nothing_is_left(tmp_path: Path, text: str) -> None:
    loaded = tolerant(tmp_path, text)
    assert (loaded.configuration is None) == bool(text)


def test_no_file(tmp_path: Path) -> None:
    loaded = load(tmp_path / "none.conf", host=FakeHost(), tolerant=True)
    assert loaded.configuration is None


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("include_check\ninclude none.conf\n", "no file matches"),
        ("vrrp_script S {\n    script\n}\n", "script needs a value"),
    ],
)
def test_what_keepalived_gives_up_on(tmp_path: Path, wrong: str, line: str) -> None:
    loaded = tolerant(tmp_path, wrong + instance())
    assert loaded.configuration is None
    assert any(line in m.text for m in loaded.errors)


@pytest.mark.parametrize("is_reload", [False, True])
def test_a_reload_costs_no_block(tmp_path: Path, is_reload: bool) -> None:
    two = instance(name="A") + instance(name="B", vrid=2)
    loaded = tolerant(tmp_path, two.replace("vrrp_instance B", "no_such"), is_reload=is_reload)
    assert (loaded.configuration is None) == is_reload
    loaded = tolerant(tmp_path, two.rstrip().removesuffix("}"), is_reload=is_reload)
    assert (loaded.configuration is None) == is_reload
    loaded = tolerant(tmp_path, two + instance("no_such 5", name="C", vrid=3), is_reload=is_reload)
    assert names(loaded) == ["A", "B", "C"]
