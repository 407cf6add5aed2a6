"""Messages of netlink that the kernel throws away, because a process has no more room for them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from fastvrrp.lab.network import Node, wait_for

MESSAGES = 4000  # at a time; several times as many fill a buffer


def overflows(pid: int) -> dict[str, int]:
    """Inode of each netlink socket of a process -> how many messages were thrown away."""
    own = {re.sub(r"\D", "", str(fd.readlink())) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    _head, *lines = Path(f"/proc/{pid}/net/netlink").read_text().splitlines()
    rows = [line.split() for line in lines]  # sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
    return {row[9]: int(row[8]) for row in rows if row[9] in own and int(row[8])}


class NetlinkStorm:
    """A link in a node about which the kernel has a lot to say."""

    def __init__(self, node: Node) -> None:
        self._node = node
        node.link("add", ifname="busy0", kind="veth", peer={"ifname": "busy1"})
        node.set_link("busy0", "up")  # the kernel tells nothing of an alias while it is down
        self._noise = "".join(f"link set busy0 alias a{n}\n" for n in range(MESSAGES))

    def _batch(self, lines: str) -> None:
        self._node.call(subprocess.run, ["ip", "-b", "-"], input=lines.encode(), check=True)

    def hide(
        self,
        what: str,
        pid: int,
        *,
        sockets: int,
        shown: str = "",
        until: Callable[[], object] = lambda: True,
    ) -> None:
        """Lines for ip(8) that so many sockets of a process do not get to know, behind others that
        they do; nor what follows of them `until` then."""
        before = overflows(pid)
        os.kill(pid, signal.SIGSTOP)
        try:
            self._batch(shown)
            while sum(n > before.get(sock, 0) for sock, n in overflows(pid).items()) < sockets:
                self._batch(self._noise)
            self._batch(what)
            wait_for(until, 5, "the last of it")
        finally:
            os.kill(pid, signal.SIGCONT)
