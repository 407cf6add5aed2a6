"""A netlink socket whose answers a test has written."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from fastvrrp.net.rtnl import RtnlSocket

if TYPE_CHECKING:
    import socket


class Canned:
    """A socket that receives these datagrams from the kernel and is silent afterwards."""

    def __init__(self, *datagrams: bytes) -> None:
        self._left = list(reversed(datagrams))

    def sendto(self, data: bytes, address: tuple[int, int]) -> int:
        return len(data)

    def recvmsg_into(
        self, buffers: Sequence[memoryview]
    ) -> tuple[int, list[Any], int, tuple[int, int]]:
        if not self._left:
            raise TimeoutError(errno.ETIMEDOUT, "silent")
        data = self._left.pop()[: len(buffers[0])]
        buffers[0][: len(data)] = data
        return len(data), [], 0, (0, 0)

    def close(self) -> None:
        """Nothing to give back."""


def canned(*datagrams: bytes) -> RtnlSocket:
    """A RtnlSocket that is answered so, whatever it asks."""
    return RtnlSocket(cast("socket.socket", Canned(*datagrams)))
