"""vrrp_cpu_dma_latency: what is asked of the kernel, and when it ends."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import pytest

from fastvrrp.vrrp.cpu_latency import CpuLatency


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file in place of the kernel's: it keeps every value."""
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    return path


def asked(device: Path) -> list[int]:
    return [value for (value,) in struct.iter_unpack("=i", device.read_bytes())]


def holders(device: Path) -> int:
    """Open file descriptors of this process."""
    return sum(fd.resolve() == device for fd in Path("/proc/self/fd").iterdir())


def test_nothing_is_opened_unless_something_is_asked(device: Path) -> None:
    latency = CpuLatency(device)
    latency.ask(None)
    assert holders(device) == 0
    latency.close()


def test_a_wish_lasts_until_another_or_none(device: Path) -> None:
    latency = CpuLatency(device)
    latency.ask(0)
    latency.ask(0)
    latency.ask(30)
    assert (asked(device), holders(device)) == ([0, 30], 1)
    latency.ask(None)
    assert holders(device) == 0
    device.write_bytes(b"")
    latency.ask(30)
    assert (asked(device), holders(device)) == ([30], 1)
    latency.close()
    assert holders(device) == 0


def test_a_refusal_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    missing = tmp_path / "missing"
    latency = CpuLatency(missing)
    with caplog.at_level(logging.WARNING):
        latency.ask(20)
        latency.ask(20)
    assert caplog.messages == [
        f"cannot set vrrp_cpu_dma_latency 20: {missing}: No such file or directory"
    ]
    latency.ask(None)
