"""Texts of virtual servers, and what is read of them."""

from __future__ import annotations

from typing import Any

from config_reading import Reader, texts

from fastvrrp.config.servers import Ipvs, RealServer, VirtualServer

HEAD = ("lvs_sched rr", "lvs_method NAT", "protocol TCP")
HEAD_LINES = len(HEAD) + 1  # in front of the lines that a test writes


def virtual(*lines: str, head: str = "10.0.0.1 80", common: tuple[str, ...] = HEAD) -> str:
    """A virtual_server; with the usual head the first of `lines` is line 5."""
    return "\n".join((f"virtual_server {head} {{", *common, *lines, "}\n"))


def real(*lines: str, at: str = "10.0.0.2 80") -> str:
    """A real_server; as the first of a virtual_server its first line is line 6."""
    return "\n".join((f"real_server {at} {{", *lines, "}"))


def check(kind: str, *lines: str) -> str:
    """A checker; alone in the first real_server of a virtual_server its first line is line 7."""
    return "\n".join((f"{kind} {{", *lines, "}"))


def ipvs(read: Reader, text: str, *said: str) -> Ipvs:
    """The load balancer's part of a file that has these messages and no errors."""
    loaded = read(text)
    assert texts(loaded) == list(said), texts(loaded)
    assert loaded.configuration is not None
    return loaded.configuration.ipvs


def server(read: Reader, text: str, *said: str) -> VirtualServer:
    """The only virtual server of a file that has these messages."""
    (found,) = ipvs(read, text, *said).virtual_servers
    return found


def real_server(read: Reader, *lines: str, said: tuple[str, ...] = ()) -> RealServer:
    """The only real server of a virtual server, with these lines."""
    (found,) = server(read, virtual(real(*lines)), *said).real_servers
    return found


def checker(read: Reader, kind: str, *lines: str, said: tuple[str, ...] = ()) -> Any:
    """The only checker of a real server, with these lines."""
    (found,) = real_server(read, check(kind, *lines), said=said).checks
    return found


def problems(read: Reader, text: str) -> list[str]:
    """What is said of a file that cannot be used."""
    loaded = read(text)
    assert loaded.configuration is None
    return texts(loaded)
