"""The systemd unit says what it has to, and systemd understands it."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
UNIT = PACKAGING / "systemd" / "fastvrrp.service"


@pytest.fixture(scope="module")
def service() -> dict[str, list[str]]:
    """The [Service] section; a setting may be given several times."""
    settings: dict[str, list[str]] = {}
    section = ""
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def test_lifecycle(service: dict[str, list[str]]) -> None:
    assert service["Type"] == ["notify-reload"]
    assert service["ExecStart"] == ["/usr/bin/fastvrrp run"]
    assert service["ExecStopPost"] == ["/usr/bin/fastvrrp clean"]
    assert service["Restart"] == ["on-failure"]
    assert int(service["WatchdogSec"][0]) > 10, "the supervisor kills a hung child after 10 s"
    assert service["KillMode"] == ["mixed"], "SIGTERM is for the supervisor alone"
    assert int(service["TimeoutStopSec"][0]) > 15, "child_wait_time and shutdown_script"


def test_run_directory(service: dict[str, list[str]]) -> None:
    assert service["RuntimeDirectory"] == ["fastvrrp"]
    assert service["RuntimeDirectoryMode"] == ["0750"]
    assert service["RuntimeDirectoryPreserve"] == ["restart"], "the journal outlives a crash"


def test_sandbox(service: dict[str, list[str]]) -> None:
    capabilities = set(service["CapabilityBoundingSet"][0].split())
    assert {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BROADCAST"} <= capabilities
    assert {"CAP_SETUID", "CAP_SETGID", "CAP_KILL"} <= capabilities, "scripts of other users"
    assert {"CAP_SYS_NICE", "CAP_IPC_LOCK"} <= capabilities
    assert not capabilities & {"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_BOOT"}
    assert service["ProtectSystem"] == ["strict"]
    assert service["ReadWritePaths"] == ["/run"]
    families = set(service["RestrictAddressFamilies"][0].split())
    assert families == {"AF_INET", "AF_INET6", "AF_PACKET", "AF_NETLINK", "AF_UNIX"}
    assert service["LimitMEMLOCK"] == ["infinity"]
    assert service["SystemCallArchitectures"] == ["native"]
    closing = ("PrivateDevices", "ProtectClock")  # each allows a few devices and closes all others
    assert {name: service.get(name) for name in closing} == {name: ["no"] for name in closing}
    assert "DeviceAllow" not in service, "vrrp_cpu_dma_latency and scripts open devices"


def test_older_systemd_gets_a_reload_of_its_own() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(PACKAGING / "systemd" / "fastvrrp.service.d" / "older-systemd.conf")
    assert parser["Service"]["Type"] == "notify"
    assert parser["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_systemd_understands_it(tmp_path: Path) -> None:
    unit = tmp_path / "fastvrrp.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/fastvrrp", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    complaints = [
        line
        for line in done.stderr.splitlines()
        # systemd before 253; the drop-in is for it
        if "fastvrrp" in line and "ignoring: notify-reload" not in line
    ]
    assert (done.returncode, complaints) == (0, [])
