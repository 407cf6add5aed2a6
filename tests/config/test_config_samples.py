"""What the Debian package of keepalived ships as samples: valid for us but for their mistakes."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from corpus_kernel import states

from fastvrrp.config.host import OtherHost
from fastvrrp.config.load import load
from fastvrrp.config.model import Severity
from fastvrrp.lab.daemons import Fastvrrp
from fastvrrp.lab.network import Node, wait_for

SAMPLES = sorted(Path("/usr/share/doc/keepalived/samples").glob("keepalived.conf.*"))
# Mistakes that keepalived reports, too; both go on without what they are in.
MISTAKES = {
    "conditional_conf": [  # it is for nodes with other names
        "6: vrrp_script check_VI_0 has no script, it is left out",
        "25: VI_0: 'check_VI_0' is not tracked, because it cannot work",
    ],
    "vrrp.lvs_syncd": [
        "3: sync group VG1 has no members, ignored",
        "4: VG1: 'VI_2' is not a member here, ignored",
        "5: VG1: 'VI_3' is not a member here, ignored",
    ],
    "vrrp.rules": [
        "11: '192.168.100./24' is not an address, the rule is left out",
        "26: '192.168.200./24' is not an address, the rule is left out",
    ],
}
IN_WORDS = ("left out", "ignored", "cannot work")


@pytest.mark.interop
def test_samples() -> None:
    assert len(SAMPLES) > 20
    found: dict[str, list[str]] = {}
    for path in SAMPLES:
        for message in load(path, config_id="r1", environ={}, host=OtherHost()).messages:
            assert message.severity is not Severity.ERROR, message
            if any(words in message.text for words in IN_WORDS):
                name = path.name.removeprefix("keepalived.conf.")
                found.setdefault(name, []).append(f"{message.position.line}: {message.text}")
    assert found == MISTAKES


NAMED = re.compile(r"\beth\d(?:\.\d)?\b")
READY = re.compile(r"Ready: .*")


@pytest.mark.interop
@pytest.mark.netns
def test_samples_start(tmp_path: Path) -> None:
    """Each in a namespace with the interfaces that it names, all at a time. Those with routers come
    to their states, also where the kernel has no IPVS for their virtual servers; they stop with
    status 0 and leave nothing."""
    routers = [path for path in SAMPLES if "\nvrrp_instance" in path.read_text()]
    assert len(routers) > 10
    with ExitStack() as stack:
        started: list[tuple[Path, Node, Fastvrrp, set[str]]] = []
        for number, path in enumerate(routers):
            node = Node(f"sample{number}", 1)
            stack.callback(node.close)
            for name in sorted({"eth0", *NAMED.findall(path.read_text())}):
                node.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}-"})
                node.set_link(name, "up")
                node.set_link(f"{name}-", "up")
                address = f"10.77.{node.index(name)}.1"
                node.addr("add", index=node.index(name), address=address, prefixlen=24)
            node.addr("add", index=node.index("eth0"), address="192.168.200.5", prefixlen=24)
            daemon = Fastvrrp(node, tmp_path / path.name)
            stack.callback(daemon.close)
            before = node.addresses()
            daemon.start(path.read_text())
            started.append((path, node, daemon, before))
        for path, node, daemon, _ in started:
            configuration = node.call(load, path, environ={}).configuration
            assert configuration is not None
            names = {instance.name for instance in configuration.vrrp_instances}

            def settled(daemon: Fastvrrp = daemon, names: set[str] = names) -> bool:
                assert daemon.alive, daemon.log()
                told = states(daemon)
                return READY.search(daemon.log()) is not None and all(
                    told.get(name) in ("MASTER", "FAULT") for name in names
                )

            wait_for(settled, 60, f"{path.name}: {daemon.log()}")
            # Only what asks for a service or a script that is not here may be at fault.
            if "localcheck" not in path.name and "scripts" not in path.name:
                assert set(states(daemon).values()) == {"MASTER"}, path.name
        for path, node, daemon, before in started:
            assert daemon.stop() == 0, path.name
            assert {a for a in node.addresses() if not a.startswith("fe80")} == {
                a for a in before if not a.startswith("fe80")
            }, path.name
