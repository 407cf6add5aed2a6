"""What the Debian package of keepalived ships as samples: valid for us but for their mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastvrrp.config.host import OtherHost
from fastvrrp.config.load import load
from fastvrrp.config.model import Severity

SAMPLES = sorted(Path("/usr/share/doc/keepalived/samples").glob("keepalived.conf.*"))
# Mistakes that keepalived reports, too, and goes on without what they are in.
MISTAKES = {
    "conditional_conf": ["6: vrrp_script check_VI_0 has no script"],  # for nodes of other names
    "vrrp.lvs_syncd": ["4: unknown keyword 'VI_2'", "5: unknown keyword 'VI_3'"],
    "vrrp.rules": [
        "11: '192.168.100./24' is not an address",
        "26: '192.168.200./24' is not an address",
    ],
}


@pytest.mark.interop
def test_samples() -> None:
    assert len(SAMPLES) > 20
    found: dict[str, list[str]] = {}
    for path in SAMPLES:
        for message in load(path, config_id="r1", environ={}, host=OtherHost()).messages:
            if message.severity is Severity.ERROR:
                name = path.name.removeprefix("keepalived.conf.")
                found.setdefault(name, []).append(f"{message.position.line}: {message.text}")
    assert found == MISTAKES
