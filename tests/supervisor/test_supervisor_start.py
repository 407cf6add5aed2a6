"""How the daemon begins: early processes, the reader of the configuration, and what is left."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from supervised import CONFIGURATION, Daemon, processes, wait_for

from fastvrrp.config import base, compact, model, servers
from fastvrrp.config.compact import without_places
from fastvrrp.config.load import load
from fastvrrp.config.memory import digest
from fastvrrp.control import protocol
from fastvrrp.ipvs.decoding import Decoder
from fastvrrp.supervisor import held, messages, reader, reading, roles, spawn
from fastvrrp.supervisor.configuration import ReadError, Source, log_messages
from fastvrrp.supervisor.held import Held, Stowed
from fastvrrp.track import runner_wire

PLAIN = CONFIGURATION.format(extra="")


def descriptors() -> set[str]:
    """Each with what it is: numbers are given again, and what a test before left may go."""
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 (a list of numbers)
        with contextlib.suppress(FileNotFoundError):  # the one of this very list
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")  # noqa: PTH115
    return found


def test_the_first_steps_load_nothing_large() -> None:
    """Its processes are on their way before the supervisor imports its event loop."""
    program = (
        "import sys\n"
        "import fastvrrp.supervisor.start\n"
        "print(sorted({'asyncio', 'msgspec', 'ctypes', 'fastvrrp._core'} & set(sys.modules)))\n"
        "import fastvrrp.supervisor.main\n"
        "print(sorted({'fastvrrp.config.load', 'fastvrrp.net.janitor'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n[]\n"


def test_the_configuration_is_read_before_anything_is_loaded_for_another_purpose(
    tmp_path: Path,
) -> None:
    """What is there when its reader begins, it would have loaded itself."""
    program = (
        "import os, sys\n"
        "from fastvrrp.cli import main\n"
        "from fastvrrp.supervisor import early\n"
        "def begins(*arguments):\n"
        "    print(*sys.modules)\n"
        "    sys.stdout.flush()\n"
        "    os._exit(0)\n"
        "early.start_reading, early.one_processor = begins, lambda: False\n"
        f"main.main(['run', '--run-dir', {str(tmp_path / 'run')!r}])\n"
    )
    at_begin = loaded(program)
    alone = loaded("import sys, fastvrrp.supervisor.reader, fastvrrp.config.load\n")
    assert {"fastvrrp.config.compact", "msgspec"} <= at_begin
    needless = {name for name in at_begin - alone if not name.startswith("fastvrrp.")}
    small = {"importlib", "importlib._bootstrap", "importlib._bootstrap_external", "signal"}
    assert needless <= small
    assert alone & {"asyncio", "logging", "ctypes", "subprocess", "fastvrrp._core"} == set()


LOADING = """
import sys
from fastvrrp.cli import main, run
from pathlib import Path
main._arguments(["run", "-f", "/nonexistent"])
from fastvrrp.supervisor import roles, spawn, start
start._import_common(spawn.Settings(Path("/nonexistent"), roles.{role}))
"""


def loaded(program: str) -> set[str]:
    """The modules that are there after a program."""
    program += "print(*sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


_NEEDLESS = {
    "ssl",
    "argparse",
    "gettext",
    "random",
    "shutil",
    "dataclasses",
    "platform",
    "inspect",
    "ast",
    "uuid",
    "decimal",
    "urllib.parse",
    "ipaddress",
    "fastvrrp.vrrp.dumps",
}

LIVING = """
import asyncio, os
import fastvrrp.vrrp.__main__
from fastvrrp.light import uvloop_without_tls
from fastvrrp.supervisor import link, pulse
ends = (*spawn.pair(), pulse.create(), pulse.create_alarm())
fds = [os.dup(end if isinstance(end, int) else end.fileno()) for end in ends]
words = [f"--{name}={fd}" for name, fd in zip(spawn.FDS, fds)]
arguments = link.adopt([*words, f"--parent={os.getppid()}", "--run-dir=/nonexistent"])
async def live():
    link.Link(arguments, None)
    await asyncio.sleep(0.01)
with asyncio.Runner(loop_factory=uvloop_without_tls().new_event_loop) as runner:
    runner.run(live())
"""


def test_a_router_loads_nothing_that_it_does_not_need_for_its_first_advert() -> None:
    modules = loaded(LOADING.format(role="VRRP") + LIVING)
    assert "uvloop.loop" in modules
    assert modules & _NEEDLESS == set()


@pytest.mark.parametrize(
    ("stand_in", "name", "attribute"),
    [
        ("light._Decimal", "decimal", "Context"),
        ("light._Uuid", "uuid", "uuid4"),
        ("light._Inspect", "inspect", "signature"),
        ("instead._Quoting", "urllib.parse", "quote"),
    ],
)
def test_another_version_of_a_library_gets_what_it_asks_for(
    stand_in: str, name: str, attribute: str
) -> None:
    """What we do not know of comes from the real module."""
    program = (
        "import sys\n"
        "from fastvrrp import instead, light\n"
        f"assert {name!r} not in sys.modules\n"
        f"one = {stand_in}({name!r})\n"
        f"with instead.in_place_of({name!r}, one):\n"
        f"    assert not hasattr(one, '__path__') and sys.modules[{name!r}] is one\n"
        f"    asked = one.{attribute}\n"
        f"assert asked is sys.modules[{name!r}].{attribute} and asked is one.{attribute}\n"
    )
    loaded(program)


def test_event_loops_know_what_a_callback_is_without_inspect() -> None:
    program = (
        "import functools, sys\n"
        "from fastvrrp.light import _Inspect, complete\n"
        "class A:\n"
        "    async def waits(self): pass\n"
        "    def does(self): pass\n"
        "    async def __call__(self): pass\n"
        "async def waits(): pass\n"
        "def makes(): yield\n"
        "plain = [A().waits, A().does, waits, makes, print, [].append, lambda: 0]\n"
        "others = [functools.partial(waits), functools.partial(print), A(), A, 7, makes()]\n"
        "stand_in = _Inspect('inspect')\n"
        "said = [[stand_in.iscoroutinefunction(thing) for thing in plain]]\n"
        "assert 'inspect' not in sys.modules\n"
        "said.append([stand_in.iscoroutinefunction(thing) for thing in others])\n"
        "said.append([stand_in.isgenerator(thing) for thing in others])\n"
        "complete()\n"
        "inspect = sys.modules['inspect']\n"
        "assert said[0] == [inspect.iscoroutinefunction(thing) for thing in plain]\n"
        "assert said[1] == [inspect.iscoroutinefunction(thing) for thing in others]\n"
        "assert said[2] == [inspect.isgenerator(thing) for thing in others]\n"
        "assert stand_in.signature is inspect.signature\n"
    )
    loaded(program)


def test_what_event_loops_did_without_is_there_when_all_is_ready(tmp_path: Path) -> None:
    """They ask it while they describe a fault; by then our interpreter's files may be others."""
    program = (
        "from fastvrrp import light\n"
        "light.asyncio_without_tls()\n"
        "uvloop = light.uvloop_without_tls()\n"
        "import asyncio, sys\n"
        "from fastvrrp.vrrp import daemon\n"
        "daemon._load_rest()\n"
        "before = set(sys.modules)\n"
        "async def fail():\n"
        "    print(asyncio.get_running_loop().call_later(1, fail), asyncio.current_task())\n"
        "for factory in (None, uvloop.new_event_loop):\n"
        "    with asyncio.Runner(loop_factory=factory) as runner:\n"
        "        runner.run(fail())\n"
        "assert set(sys.modules) == before, set(sys.modules) - before\n"
    )
    assert "inspect" in loaded(program)


def test_a_path_as_a_uri_is_quoted_all_the_same() -> None:
    program = (
        "import fastvrrp.cli.main, pathlib, sys\n"
        "assert pathlib.Path('/a b').as_uri() == 'file:///a%20b'\n"
    )
    loaded(program)


def test_what_a_start_decodes_has_no_annotation_to_be_compiled() -> None:
    """A decoder asks each type for its annotations; as texts they take longer than all the rest
    of it."""
    rooms = (base, model, servers, compact, held, messages, protocol, reader, runner_wire)
    kinds = [
        kind
        for room in rooms
        for kind in vars(room).values()
        if isinstance(kind, type(msgspec.Struct)) and kind.__module__ == room.__name__
    ]
    assert len(kinds) > 80
    texts = {
        f"{kind.__module__}.{kind.__qualname__}.{name}"
        for kind in kinds
        for name, annotation in inspect.get_annotations(kind).items()
        if isinstance(annotation, str)
    }
    assert texts == set()


def test_a_router_that_is_a_new_interpreter_needs_no_openssl_either() -> None:
    """After a crash, and in a network namespace of its own."""
    program = (
        "import fastvrrp.vrrp.__main__, sys\n"
        "from fastvrrp.light import uvloop_without_tls\n"
        "uvloop_without_tls()\n"
    )
    assert loaded(program) & {"ssl", "uvloop.loop"} == {"uvloop.loop"}


def test_a_balancer_alone_can_speak_tls() -> None:
    modules = loaded(
        LOADING.format(role="IPVS")
        + "import asyncio.sslproto, fastvrrp.ipvs.__main__, ssl\n"
        + "assert asyncio.sslproto.ssl is ssl\n"
    )
    assert "ssl" in modules


def test_a_module_that_was_withheld_can_be_imported_later() -> None:
    program = LOADING.format(role="VRRP") + "import ssl\nssl.create_default_context()\n"
    assert "ssl" in loaded(program)


def test_a_stop_and_a_clean_up_load_nothing() -> None:
    """Several devices are deleted at once then; a module that was not needed before may be another
    version's by now, or gone."""
    program = (
        "import sys\n"
        "from fastvrrp.supervisor import janitor\n"
        "janitor.load()\n"
        "before = set(sys.modules)\n"
        "from fastvrrp.net.devices import deletions\n"
        "from fastvrrp.net.objects import Link\n"
        "links = [Link(n, 'd', 0, b'', 0, 'macvlan', 0, 1, (), 1) for n in (2, 3)]\n"
        "assert len(deletions(links, links)) == 3\n"
        "print(*(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_what_a_crash_needs_is_loaded_with_the_first_router(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.configure("global_defs {\n    router_id R\n}\n")
    with daemon:
        daemon.ready()
        maps = Path(f"/proc/{daemon.process.pid}/maps")
        assert "/fastvrrp/_core." not in maps.read_text(), "nobody has to be resigned for"
        daemon.configure(PLAIN)
        assert daemon.request("reload")["ok"]
        assert "/fastvrrp/_core." in maps.read_text()
        assert daemon.stop() == 0


# ---------------------------------------------------------------------- what is left


@pytest.mark.parametrize(
    "text", [PLAIN.replace("virtual_router_id 1", "virtual_router_id 1000"), "nonsense {\n"]
)
def test_errors_leave_no_process(tmp_path: Path, text: str) -> None:
    daemon = Daemon(tmp_path)
    daemon.configure(text)
    with daemon:
        assert daemon.process.wait(timeout=30) == 1
        assert processes(daemon.run_dir) == []
        assert not daemon.logged("Traceback")
        assert not daemon.logged("the VRRP process"), "nobody needs to hear of it"


def test_a_second_daemon_leaves_no_process(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        before = sorted(processes(daemon.run_dir))
        with Daemon(tmp_path) as second:
            assert second.process.wait(timeout=30) == 1
        assert sorted(processes(daemon.run_dir)) == before


def test_nothing_to_run_leaves_no_process(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.configure("global_defs {\n    router_id R\n}\n")
    with daemon:
        daemon.ready()
        assert processes(daemon.run_dir) == [daemon.process.pid]
        assert daemon.stop() == 0


def test_a_stop_while_the_configuration_is_read(tmp_path: Path) -> None:
    """Reading may take for ever, from a file system that does not answer."""
    daemon = Daemon(tmp_path)
    daemon.file.unlink()
    os.mkfifo(daemon.file)
    with daemon:
        wait_for(lambda: len(processes(daemon.run_dir)) == 3, "reader and VRRP process")
        assert daemon.stop() == 0
        assert processes(daemon.run_dir) == []
        assert not daemon.logged("Traceback")


@pytest.mark.parametrize(("module", "moment"), [("spawn", "spawn"), ("early", "start_reading")])
def test_a_stop_when_a_process_has_just_begun(tmp_path: Path, module: str, moment: str) -> None:
    """It is running, and the call that began it has not returned yet."""
    file = tmp_path / "fastvrrp.conf"
    os.mkfifo(file)
    program = (
        "import os, pathlib, signal, sys\n"
        "from fastvrrp.supervisor import early, spawn, start\n"
        f"begin = {module}.{moment}\n"
        "def interrupted(*arguments):\n"
        "    begun = begin(*arguments)\n"
        "    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):\n"
        "        os.kill(os.getpid(), number)\n"
        "    return begun\n"
        f"{module}.{moment} = interrupted\n"
        "file, run_dir = map(pathlib.Path, sys.argv[1:])\n"
        "sys.exit(start.run(start.Options(start.Wanted(file), run_dir)))\n"
    )
    run_dir = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", program, file, run_dir], timeout=30)
    assert done.returncode == 0
    assert processes(run_dir) == []


def test_a_stop_at_any_moment_of_the_start(tmp_path: Path) -> None:
    for delay_ms in range(0, 900, 90):
        with Daemon(tmp_path) as daemon:
            try:
                daemon.process.wait(delay_ms / 1000)
            except subprocess.TimeoutExpired:
                daemon.signal(signal.SIGTERM)
            # Before its first own instruction nothing but the kernel's default applies.
            assert daemon.process.wait(timeout=30) in (0, -signal.SIGTERM)
            wait_for(lambda daemon=daemon: processes(daemon.run_dir) == [], "nothing left")
            assert not daemon.logged("the VRRP process")


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"sup-inside-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.netns
def test_the_process_is_in_the_configured_namespace(tmp_path: Path, namespace: str) -> None:
    """It is started before anybody has read the name."""
    daemon = Daemon(tmp_path)
    daemon.configure(f"net_namespace {namespace}\n{PLAIN}")
    with daemon:
        daemon.ready()
        inside = Path(f"/run/netns/{namespace}").stat().st_ino
        ((_, pid),) = daemon.lives()
        for process in (daemon.process.pid, pid):
            assert Path(f"/proc/{process}/ns/net").stat().st_ino == inside
        assert sorted(processes(daemon.run_dir)) == sorted((daemon.process.pid, pid))
        assert daemon.stop() == 0


# ---------------------------------------------------------------------- the reader


@pytest.mark.parametrize("turns", [0, 1, 2, 1000])
def test_messages_are_logged_in_turns_and_none_gets_lost(
    turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whenever it is cancelled: the rest is logged then."""
    at = [model.Position(file="a.conf", line=n) for n in range(1, 101)]
    said = [model.Message(position=one, severity=model.Severity.WARNING, text="odd") for one in at]
    logged: list[int] = []

    async def scene() -> None:
        telling = asyncio.create_task(log_messages(said))
        for _ in range(turns):
            await asyncio.sleep(0)
            logged.append(len(caplog.records))
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling

    asyncio.run(scene())
    expected = said if turns else []  # it had not begun
    assert [record.getMessage() for record in caplog.records] == [str(one) for one in expected]
    assert logged[:2] == [16, 32][:turns]


def read(path: Path) -> object:
    return asyncio.run(Source(reading.Wanted(path)).read())


def test_what_is_held_is_the_whole_configuration(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text(
        PLAIN.replace("chk weight 1\n    }", "chk weight 1\n    }\n    notify /bin/true")
    )
    loaded = load(file)
    before = descriptors()
    outcome = asyncio.run(Source(reading.Wanted(file)).read())
    assert not descriptors() - before
    assert outcome.messages == loaded.messages
    assert outcome.held is not None
    assert loaded.configuration is not None
    part = outcome.held.parts["vrrp"]
    assert part.decode() == without_places(loaded.configuration)
    assert part.decode() != loaded.configuration, "there are places in it"
    assert outcome.held == Held.of(loaded.configuration, memory=outcome.held.memory.get())
    assert (part.count, part.needed) == (1, True)
    assert {command.argv for command in part.commands} == {("/bin/true",)}
    assert outcome.held.source_files == (str(file),)


def test_the_reader_of_a_reload_knows_what_is_in_effect(tmp_path: Path) -> None:
    """What came of the same text is taken as it is: here it is something else."""
    file = tmp_path / "a.conf"
    head = "lvs_sched rr\nlvs_method NAT\nprotocol TCP"
    servers = [
        f"virtual_server 10.0.0.{n} 80 {{\n{head}\nreal_server 10.0.1.{n} 80 {{\n}}\n}}\n"
        for n in range(1, 10)
    ]
    file.write_text("".join(servers))
    source = Source(reading.Wanted(file))
    before = descriptors()
    outcome = asyncio.run(source.read())
    assert outcome.held is not None
    part = outcome.held.parts["ipvs"]
    data = part.data.get().replace(b"10.0.1.7", b"10.0.2.7")
    parts = outcome.held.parts | {"ipvs": replace(part, data=Stowed(data))}
    check = digest(outcome.held.memory.get(), data, parts["vrrp"].data.get())
    source.accept(replace(outcome.held, parts=parts, check=check))
    file.write_text("".join(servers[:7]).replace("10.0.1.4", "10.0.3.4"))
    outcome = asyncio.run(source.read())
    assert not descriptors() - before
    assert outcome.held is not None
    ipvs = Decoder().decode(outcome.held.parts["ipvs"].data.get()).ipvs
    addresses = [real.address for one in ipvs.virtual_servers for real in one.real_servers]
    assert addresses == [f"10.0.{ {4: 3, 7: 2}.get(n, 1) }.{n}" for n in range(1, 8)]


def test_a_command_is_held_once(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    instances = (
        f"vrrp_instance V{n} {{\n    virtual_router_id {n}\n    interface eth0\n"
        f"    virtual_ipaddress {{\n        192.0.2.{n}\n    }}\n    notify /bin/true\n}}\n"
        for n in range(1, 101)
    )
    file.write_text("".join(instances))
    configuration = load(file).configuration
    assert configuration is not None
    assert len(Held.of(configuration).parts["vrrp"].commands) == 1


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os._exit(3)", "exit status 3"),
        ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
        ("", "nothing readable"),
        ("import os, sys; os.write(int(sys.argv[1][6:]), b'nonsense')", "nothing readable"),
    ],
)
def test_a_reader_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.setattr(reading, "READER_ARGV", (sys.executable, "-c", program))
    before = descriptors()
    with pytest.raises(ReadError, match=words):
        read(tmp_path / "any.conf")
    assert not descriptors() - before


def test_a_reading_that_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import time; time.sleep(1000)"
    monkeypatch.setattr(reading, "READER_ARGV", (sys.executable, "-c", program))

    async def main() -> None:
        wanted = reading.Wanted(tmp_path / "any.conf")
        begun = reading.start_reading(wanted)
        task = asyncio.create_task(Source(wanted).read(begun))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert begun.process.returncode == -signal.SIGKILL

    before = descriptors()
    asyncio.run(main())
    assert not descriptors() - before


# ---------------------------------------------------------------------- the child


def settings(run_dir: Path, *argv: str) -> spawn.Settings:
    return spawn.Settings(run_dir=run_dir, role=roles.VRRP._replace(argv=argv))


def test_a_program_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        spawn.spawn(settings(tmp_path, str(tmp_path / "absent")))
    assert not descriptors() - before


def test_what_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    before = descriptors()
    child = spawn.spawn(settings(tmp_path, "/bin/sleep", "1000"))
    child.discard()
    assert child.process.returncode is not None
    assert not descriptors() - before
