"""The tests of this directory run inside a guest with IPVS; here they are only reported.

They are shared out to three guests (guest.py), each of which is booted by the first of its tests
and runs them one after the other in one pytest; each is reported here as it ends there, with its
output and its traceback. So three boots serve all, and selection, marks and failures look as they
do everywhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest import Guest, missing
from guest_tools import namespace

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.netlink_table import NetlinkTable, open_socket

pytest.register_assert_rewrite("lvs_scene", "daemon_tools")
from lvs_scene import Scene  # noqa: E402

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
IN_GUEST = "FASTVRRP_GUEST"  # set to the directory of the session's files
_POLL_S = 0.02
_TEST_S = 90.0  # limit of a test in the guest, where it has none of its own
_MORE_S = 20.0  # a guest that reports nothing for longer than that and a test's limit is given up
_KEPT = 60  # of the guest's console, shown when it ended early


def _bare(item: pytest.Item) -> str:
    """Without the `@group` that xdist puts behind it."""
    node = item.nodeid
    return node.rpartition("@")[0] if node.rfind("@") > node.rfind("]") else node


def _ours(item: pytest.Item) -> bool:
    return item.path.is_relative_to(HERE)


_GUESTS = ("guest-rest", "guest-stories", "guest-lives")


def _guest_of(item: pytest.Item) -> str:
    """The stories told with keepalived and fastvrrp take about as long as the lives of a daemon and
    as all the rest, and most of it each waits."""
    name = item.path.stem
    return _GUESTS[1 if name.startswith("test_ipvs_") else 2 if name.endswith("_life") else 0]


def _serializable(config: pytest.Config, report: pytest.TestReport) -> dict[str, object]:
    found: dict[str, object] = config.hook.pytest_report_to_serializable(
        config=config, report=report
    )
    return found


# -- in the guest


class _Reporter:
    """Writes every report into the session's file, as a line."""

    def __init__(self, config: pytest.Config, directory: Path) -> None:
        self._config = config
        self._stream = (directory / "reports").open("a")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        json.dump(_serializable(self._config, report), self._stream)
        self._stream.write("\n")
        self._stream.flush()


def pytest_configure(config: pytest.Config) -> None:
    if IN_GUEST in os.environ:
        config.pluginmanager.register(_Reporter(config, Path(os.environ[IN_GUEST])))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if IN_GUEST in os.environ:
        wanted = set((Path(os.environ[IN_GUEST]) / "wanted").read_text().splitlines())
        items[:] = [item for item in items if item.nodeid in wanted]
        return
    for item in filter(_ours, items):
        item.add_marker(pytest.mark.xdist_group(_guest_of(item)))  # not one guest per worker


# -- on the host


class _Session:
    """A guest in which these tests run; gives out their reports as they come."""

    def __init__(self, config: pytest.Config, nodes: list[str], place: int) -> None:
        self._config = config
        self._directory = Path(tempfile.mkdtemp(prefix="guest-tests-"))
        self._reports: dict[str, list[pytest.TestReport]] = {}
        self._seen = 0
        self._file = self._directory / "reports"
        self._file.touch()
        (self._directory / "wanted").write_text("\n".join(nodes))
        self._console = (self._directory / "console").open("wb")
        # fmt: off
        command = [
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-q",
            f"--timeout={_TEST_S}", f"--rootdir={ROOT}", "--basetemp=/run/pytest",
            # it need not collect what the other guests run
            *sorted({node.partition("::")[0] for node in nodes}),
        ]
        # fmt: on
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        environment[IN_GUEST] = str(self._directory)
        self._guest = Guest(
            command, environment=environment, directory=ROOT, place=place, output=self._console
        )

    def reports(self, node: str, limit_s: float) -> list[pytest.TestReport]:
        """All reports of one test, once its last has come. Fewer when the guest has ended."""
        last = time.monotonic()
        while not any(report.when == "teardown" for report in self._reports.get(node, ())):
            ended = self._guest.process.poll() is not None
            if self._read():
                last = time.monotonic()
            elif ended or time.monotonic() - last > limit_s:
                break
            else:
                time.sleep(_POLL_S)
        return self._reports.get(node, [])

    def _read(self) -> bool:
        """Take in new reports; whether there were any."""
        with self._file.open("rb") as stream:
            stream.seek(self._seen)
            complete, newline, _ = stream.read().rpartition(b"\n")
        for line in complete.splitlines():
            report = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=json.loads(line)
            )
            self._reports.setdefault(report.nodeid, []).append(report)
        self._seen += len(complete) + len(newline)
        return bool(newline)

    def last_words(self) -> str:
        lines = (self._directory / "console").read_text(errors="replace").splitlines()
        return "\n".join(("the guest did not come to its end; its console:", *lines[-_KEPT:]))

    def close(self) -> None:
        self._guest.__exit__()
        self._console.close()
        shutil.rmtree(self._directory)


_sessions_key = pytest.StashKey[dict[str, _Session]]()  # by `_guest_of`


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if IN_GUEST in os.environ or not _ours(item):
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports_of(item):
        report.nodeid = item.nodeid
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # The test in front kept what this one seemed to share with it; the next one may not.
    item.session._setupstate.teardown_exact(nextitem)
    return True


def _reports_of(item: pytest.Item) -> list[pytest.TestReport]:
    if lacking := missing():
        return [_failure(item, f"this test needs {lacking}; `make test` sees to it")]
    sessions = item.config.stash.setdefault(_sessions_key, {})
    guest = _guest_of(item)
    if guest not in sessions:
        ours = (other for other in item.session.items if _ours(other))
        nodes = [_bare(other) for other in ours if _guest_of(other) == guest]
        sessions[guest] = _Session(item.config, nodes, _GUESTS.index(guest))
    session = sessions[guest]
    mark = item.get_closest_marker("timeout")
    limit_s = float(mark.args[0]) if mark is not None else _TEST_S
    found = session.reports(_bare(item), limit_s + _MORE_S)
    if not any(report.when == "teardown" for report in found):
        return [*found, _failure(item, session.last_words())]
    return found


def _failure(item: pytest.Item, text: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="failed",
        longrepr=text,
        when="call",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item) -> bool | None:
    """The guest's pytest limits its tests; here only the guest is waited for, with a limit."""
    return True if IN_GUEST not in os.environ and _ours(item) else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    for one in session.config.stash.get(_sessions_key, {}).values():
        one.close()


# -- what the tests in the guest use


@pytest.fixture(scope="session")
def _shared_namespace() -> Iterator[str]:
    with namespace() as name:
        yield name


@pytest.fixture
def table(_shared_namespace: str) -> Iterator[NetlinkTable]:
    """An empty table, as that of a fresh network namespace. There are eth0 and eth1."""
    made = NetlinkTable(open_socket(_shared_namespace))
    asyncio.run(_emptied(made))
    yield made
    made.close()


async def _emptied(table: NetlinkTable) -> None:
    await table.flush()
    await table.set_timeouts(Timeouts(tcp_s=900, tcpfin_s=120, udp_s=300))
    for role in await table.daemons():
        await table.stop_daemon(role)


@pytest.fixture(scope="session")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("scene"))
    yield made
    made.close()


@pytest.fixture
def scene(_scene: Scene) -> Scene:
    """A network of servers, in which everything runs but the balancer's daemon."""
    return _scene
