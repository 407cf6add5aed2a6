"""The samples of keepalived's package that have virtual servers, with whole daemons.

tests/config/test_config_samples.py starts those with virtual routers.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from daemon_tools import Daemon
from guest_tools import namespace

from fastvrrp.config.load import load

SAMPLES = sorted(
    path
    for path in Path("/usr/share/doc/keepalived/samples").glob("keepalived.conf.*")
    if "\nvirtual_server " in path.read_text()
)


@pytest.mark.timeout(240)
def test_they_start_serve_and_stop(tmp_path: Path) -> None:
    """One after the other: every service is in the kernel's table; after the stop nothing is."""
    assert len(SAMPLES) > 12
    with namespace() as space:
        for path in SAMPLES:
            (tmp_path / path.name).mkdir()
            configuration = load(path, environ={}).configuration
            assert configuration is not None
            least = len(configuration.ipvs.virtual_servers)
            with Daemon(space, tmp_path / path.name, "--only", "ipvs") as daemon:
                daemon.start(path.read_text())
                services = [line for line in daemon.table() if line.startswith("-A ")]
                assert len(services) >= least > 0, path.name
                assert daemon.stop() == 0, path.name
                assert daemon.table() == [], path.name
