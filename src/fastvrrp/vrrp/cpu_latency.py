"""How deeply processors may sleep: the kernel's PM QoS (Documentation/power/pm_qos_interface.rst).

A processor that sleeps wakes up late, on a virtual machine by milliseconds, and so do its timers.
The kernel keeps to the least that any open file descriptor asks for, so that whatever ends this
process ends its wish as well.
"""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path

log = logging.getLogger(__name__)

DEVICE = Path("/dev/cpu_dma_latency")
_VALUE = struct.Struct("=i")  # microseconds


class CpuLatency:
    """What this process asks for (vrrp_cpu_dma_latency)."""

    def __init__(self, device: Path = DEVICE) -> None:
        self._device = device
        self._wish_us: int | None = None
        self._fd: int | None = None

    def ask(self, wish_us: int | None) -> None:
        """From now on so many microseconds; None: nothing. A refusal is only logged."""
        if wish_us == self._wish_us:
            return
        self._wish_us = wish_us
        if wish_us is None:
            self.close()
            return
        try:
            if self._fd is None:
                self._fd = os.open(self._device, os.O_WRONLY)
            os.write(self._fd, _VALUE.pack(wish_us))
        except OSError as exc:
            log.warning(
                "cannot set vrrp_cpu_dma_latency %d: %s: %s", wish_us, self._device, exc.strerror
            )

    def close(self) -> None:
        """Ask for nothing."""
        self._wish_us = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
