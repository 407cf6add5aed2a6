"""The corpus's files with virtual servers, as one file that both daemons can run.

Each virtual server stands there several times, with addresses of its own: as it starts, as it
starts with nothing known of its servers, when they do not answer and when they do.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from corpus import BFD, HEAD, SERVER, TRACKERS, USED_TRACKERS, Case, answers, cases, vrrp
from corpus_choice import BALANCER, FAILS

from fastvrrp.config.load import load
from fastvrrp.config.model import Severity

# Keywords of other blocks that make something of IPVS.
IPVS = frozenset(
    (
        "virtual_server",
        "virtual_server_group",
        "lvs_flush",
        "lvs_flush_on_stop",
        "lvs_sync_daemon",
        "lvs_timeouts",
    )
)
ANSWERING = "172.16.0.0/12"  # the servers that answer are here
NETWORKS = 250  # of 256 addresses, in each of 10.16.0.0/16 and so on
# What is written in front of the lines of the file, and what makes waiting for a check short.
# keepalived's first check comes at a random moment of half an hour all the same (`is_lasting`).
NEVER = ("delay_loop 4000000", "warmup 4000000")
SOON = ("delay_loop 5", "warmup 0", "retry 1", "delay_before_retry 1", "connect_timeout 2")
KINDS = {
    "start": NEVER,
    "unknown": (*NEVER, "alpha", "sorry_server 10.0.0.88 80"),
    "silent": SOON,
    "answering": SOON,
}
CHECKED = ("silent", "answering")
_SERVER = "virtual_server/real_server"
_OWN_FAULT = "what this host cannot send says nothing about a server"
# Files with which the two differ on purpose.
MEANT = {
    ("virtual_server", "persistence_engine", "wrong"): "a service serves without its engine",
    (_SERVER, "weight", "wrong"): "what is no number is not 0",
    (f"{_SERVER}/UDP_CHECK", "bindto", "good"): _OWN_FAULT,
    (f"{_SERVER}/UDP_CHECK", "bind_if", "good"): _OWN_FAULT,
    (f"{_SERVER}/PING_CHECK", "bindto", "good"): _OWN_FAULT,
    (f"{_SERVER}/PING_CHECK", "bind_if", "good"): _OWN_FAULT,
}
# The same, of those that are an error where nothing is tolerated.
MEANT_OF_MISTAKES = {
    (f"{_SERVER}/{checker}", "connect_ip", "wrong"): "a check without connect_ip asks its server"
    for checker in ("TCP_CHECK", "HTTP_GET")
}
_TIMES = re.compile(r"\b(delay_loop|warmup|retry|delay_before_retry|connect_timeout) 7\b")
_REST = re.compile(r"(virtual_server_group G \{[^{}]*\}\s*)?virtual_server (.*) \{\n")


def meant(case: Case) -> str | None:
    """Why the two differ on purpose with a file, or None."""
    return (MEANT | MEANT_OF_MISTAKES).get((case.block, case.keyword, case.kind))


class Part(NamedTuple):
    """A virtual server of the file: whose it is, in which kind, and the marks of its services."""

    case: Case
    kind: str
    text: str
    marks: tuple[str, ...]

    @property
    def meant(self) -> str | None:
        return meant(self.case)

    @property
    def is_lasting(self) -> bool:
        """Whether it is to become as it stays. Else it is to have been like this at any time."""
        return self.kind in CHECKED

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.case.kind} {self.case.name}"


def _bare(case: Case) -> str:
    """The file without what it has in common with the others."""
    text = case.text
    for common in (HEAD, TRACKERS, BFD, USED_TRACKERS, vrrp()):
        text = text.replace(common, "")
    return text


def is_alone(case: Case) -> bool:
    """Whether a file cannot be a part of a greater one."""
    text = _bare(case)
    return not _REST.match(text) or text.count("{") != text.count("}")


def why_not(case: Case) -> str | None:
    """Why a file with virtual servers is not tried at all, or None."""
    if "BFD_CHECK" in (case.keyword, *case.block.split("/")):
        return "is about BFD"
    if answers()[case.key] in FAILS:
        return "keepalived does not run with it"
    return None


def text_of(text: str, directory: Path) -> str:
    """With a directory of its own instead of /tmp."""
    return text.replace("/tmp/", f"{directory}/")


def _part(case: Case, kind: str, number: int, directory: Path) -> Part:
    high, low = divmod(number, NETWORKS)
    text = text_of(_bare(case), directory)
    if kind not in CHECKED:
        text = text.replace("/bin/true", "/bin/false")
    else:
        text = _TIMES.sub(r"\1 2", text)
    lines = "\n".join(KINDS[kind])
    text = re.sub(r"^(virtual_server .*\{)$", rf"\1\n{lines}", text, count=1, flags=re.M)
    if kind == "answering":
        text = text.replace("10.0.0.2 80", f"172.{16 + high}.{low}.2 80")
    text = text.replace("10.0.0.", f"10.{16 + high}.{low}.")
    text = re.sub(r"(group) G\b", rf"\1 G{number}", text)
    if "virtual_server_group" in text:
        text = text.replace("fwmark 7", f"fwmark {1000 + number}")
    return Part(case, kind, text, (f"10.{16 + high}.{low}.", str(1000 + number)))


def lonely(case: Case) -> str:
    """A file that is tried alone. Without a virtual server keepalived leaves IPVS as it is."""
    return case.text if "virtual_server " in case.text else case.text + SERVER


def whole(parts: list[Part]) -> str:
    """The file of these."""
    return HEAD + TRACKERS + "".join(part.text for part in parts)


class Choice(NamedTuple):
    """What is tried together, the files that are tried alone, and why others are not.

    mistaken  what is tried together, too, but not with the rest: in each there is an error, about
              which keepalived complains only
    """

    together: list[Part]
    alone: list[Case]
    mistaken: list[Part]
    left_out: Counter[str]


def choice(directory: Path) -> Choice:
    """Of the whole corpus."""
    every: list[Part] = []
    alone: list[Case] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for index, case in enumerate(filter(is_about_servers, cases())):
        reason = "is the same as another one" if case.key in seen else why_not(case)
        seen.add(case.key)
        if reason:
            left_out[reason] += 1
        elif is_alone(case):
            alone.append(case)
        else:
            every += [
                _part(case, kind, index * len(KINDS) + number, directory)
                for number, kind in enumerate(KINDS)
            ]
    bad = _errors(every, directory)
    return Choice(
        [part for part in every if part.case.key not in bad],
        alone,
        [part for part in every if part.case.key in bad],
        left_out,
    )


def services(parts: list[Part], directory: Path) -> int:
    """How many virtual servers a file of these has, without what is wrong, if that is not listed as
    a difference."""
    file = directory / "services.conf"
    file.write_text(whole([part for part in parts if part.meant is None]))
    found = load(file, environ={}, tolerant=True).configuration
    assert found is not None, "too many mistakes"
    return len(found.ipvs.virtual_servers)


def _errors(parts: list[Part], directory: Path) -> set[str]:
    """Keys of the files that we do not take."""
    bad: set[str] = set()
    file = directory / "whole.conf"
    while True:
        rest = [part for part in parts if part.case.key not in bad]
        file.write_text(whole(rest))
        begins = list(itertools.accumulate((part.text.count("\n") for part in rest), initial=1))
        first = (HEAD + TRACKERS).count("\n")
        found = {
            rest[bisect.bisect_right(begins, message.position.line - first) - 1].case.key
            for message in load(file, environ={}).messages
            if message.severity is Severity.ERROR
        }
        if not found:
            return bad
        bad |= found


def is_about_servers(case: Case) -> bool:
    """Those that other tests leave to this one: of virtual servers, and of IPVS as a whole."""
    words = {case.keyword, *case.block.split("/")}
    return case.block.startswith(BALANCER) or not words.isdisjoint(IPVS)
