"""What every test area shares: a loud check that the machine has what the tests need, and a
witness of what it does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from fastvrrp.lab.namespace import privileged
from machine import Machine

# program -> Debian package
NETNS_PROGRAMS = {"ip": "iproute2", "setpriv": "util-linux"}
INTEROP_PROGRAMS = {**NETNS_PROGRAMS, "keepalived": "keepalived", "tshark": "tshark"}


def missing(programs: dict[str, str]) -> str:
    """What is missing for namespace tests, in words; empty when all is there."""
    words = []
    if not privileged():
        words.append("root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW)")
    lacking = {package for program, package in programs.items() if not shutil.which(program)}
    if lacking:
        words.append(f"packages (apt-get install {' '.join(sorted(lacking))})")
    return " and ".join(words)


@pytest.fixture(scope="session")
def _netns_needs() -> str:
    return missing(NETNS_PROGRAMS)


@pytest.fixture(scope="session")
def _interop_needs() -> str:
    return missing(INTEROP_PROGRAMS)


@pytest.fixture(autouse=True)
def _environment(request: pytest.FixtureRequest) -> None:
    """Fail, not skip: a test that silently did not run has shown nothing."""
    for marker, fixture in (("interop", "_interop_needs"), ("netns", "_netns_needs")):
        if request.node.get_closest_marker(marker):
            needs = request.getfixturevalue(fixture)
            if needs:
                pytest.fail(f"this test needs {needs}; `make test` sees to it", pytrace=False)
            return


@pytest.fixture(scope="session")
def _watched_machine() -> Iterator[Machine]:
    with Machine() as watched:
        yield watched


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Machine:
    """What the machine took itself. Only tests marked `timing` may ask: the others share the CPUs
    with five more workers, which no witness should make worse."""
    if request.node.get_closest_marker("timing"):
        watched: Machine = request.getfixturevalue("_watched_machine")
        return watched
    return Machine(watched=False)
