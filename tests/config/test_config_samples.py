"""What the Debian package of keepalived ships as samples: valid for us but for their mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastvrrp.config.host import OtherHost
from fastvrrp.config.load import load
from fastvrrp.config.model import Severity

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
