"""The kinds of children: routers, and virtual servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastvrrp.supervisor.launch import PYTHON


class Role(NamedTuple):
    """A kind of child, of which there is at most one."""

    name: str  # on the control socket, and of `run --only`
    title: str  # in texts
    birth: str  # in the log line that tells of a start, for what reads keepalived's
    argv: Sequence[str]
    worker: str  # in texts: its thread that writes into the page of `pulse`
    retires: bool = False  # it is stopped when a reload leaves it nothing to do


VRRP = Role("vrrp", "VRRP process", "VRRP", (*PYTHON, "fastvrrp.vrrp"), "engine")
IPVS = Role(
    "ipvs", "IPVS process", "Healthcheck", (*PYTHON, "fastvrrp.ipvs"), "prober", retires=True
)
ROLES = (VRRP, IPVS)
