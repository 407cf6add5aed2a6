"""What a running daemon's reader parses at a reload."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from supervised import Daemon

COUNT = 200


def keepalived(changed: dict[int, int]) -> str:
    """Instances, and the priorities of those that are changed."""
    blocks = [
        f"vrrp_instance V{n} {{\n    interface sup-absent\n    virtual_router_id {n}\n"
        f"    priority {changed.get(n, 100)}\n"
        f"    virtual_ipaddress {{\n        10.0.0.{n}\n    }}\n}}\n"
        for n in range(1, COUNT + 1)
    ]
    return "global_defs {\n    router_id a\n}\n" + "".join(blocks)


def native(changed: dict[int, int]) -> str:
    entries = [
        f"  V{n}:\n    interface: sup-absent\n    virtual_router_id: {n}\n"
        f"    priority: {changed.get(n, 100)}\n    addresses: [10.0.0.{n}]\n"
        for n in range(1, COUNT + 1)
    ]
    presets = "defaults:\n  instances:\n    version: 3\n"
    return "global:\n  router_id: a\n" + presets + "instances:\n" + "".join(entries)


@pytest.mark.parametrize(("name", "text"), [("test.conf", keepalived), ("test.yaml", native)])
def test_one_changed_instance_of_many(tmp_path: Path, name: str, text: Callable[..., str]) -> None:
    """Of SIGHUP, in words of `status`."""
    daemon = Daemon(tmp_path)
    daemon.file = daemon.file.with_name(name)
    daemon.configure(text({}))
    with daemon:
        daemon.ready()
        for changed, parsed in (({7: 90}, 1), ({7: 90}, 0), ({7: 90, 8: 91, 9: 92}, 2)):
            daemon.configure(text(changed))
            daemon.signal(signal.SIGHUP)
            daemon.notified_with("RELOADING")
            daemon.ready()
            last = daemon.request("status")["daemon"]["last_reload"]
            assert last["ok"]
            assert (last["blocks"], last["parsed"]) == (COUNT + 1, parsed)
        daemon.configure("frob {\n}\n" if name == "test.conf" else "frob:\n")
        result = daemon.request("reload")
        assert not result["ok"]
        daemon.file.unlink()
        result = daemon.request("reload")
        assert (result["ok"], result["parsed"]) == (False, 0)
