"""Signals while there is no event loop that could handle them: not yet, or no longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from supervised import CONFIGURATION, processes


def test_a_signal_at_the_very_end_says_nothing() -> None:
    """While the event loop is being closed: what signals wake it by is gone already."""
    program = (
        "import asyncio, contextlib, os, signal\n"
        "from fastvrrp.supervisor.early import EarlySignals\n"
        "from fastvrrp.supervisor.signals import Signals\n"
        "class Loop(asyncio.SelectorEventLoop):\n"
        "    def _close_self_pipe(self):\n"
        "        super()._close_self_pipe()\n"
        "        os.kill(os.getpid(), signal.SIGCHLD)\n"
        "async def life():\n"
        "    with contextlib.closing(Signals(EarlySignals())):\n"
        "        pass\n"
        "with asyncio.Runner(loop_factory=Loop) as runner:\n"
        "    runner.run(life())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_signal_behind_the_end_ends_nothing() -> None:
    """PID files are removed, and the exit code is given, when there is no event loop any more."""
    program = (
        "import asyncio, contextlib, os, signal\n"
        "from fastvrrp.supervisor.early import DUMPS, STOPS, EarlySignals\n"
        "from fastvrrp.supervisor.signals import Signals\n"
        "async def life():\n"
        "    with contextlib.closing(Signals(EarlySignals())):\n"
        "        pass\n"
        "with asyncio.Runner() as runner:\n"
        "    runner.run(life())\n"
        "for number in (*STOPS, signal.SIGHUP, *DUMPS):\n"
        "    os.kill(os.getpid(), number)\n"
        "print('tidied up')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "tidied up\n", "")


def test_a_stop_is_not_lost_where_an_exception_is() -> None:
    """The interpreter makes a text of one in a destructor, and goes on; imports have such, too."""
    program = (
        "import asyncio, contextlib, os, signal\n"
        "from fastvrrp.supervisor.early import EarlySignals\n"
        "from fastvrrp.supervisor.signals import Signals\n"
        "early = EarlySignals()\n"
        "class Object:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "Object()\n"
        "async def life():\n"
        "    with contextlib.closing(Signals(early)) as signals:\n"
        "        print(signals.stopped)\n"
        "with asyncio.Runner() as runner:\n"
        "    runner.run(life())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_a_stop_while_the_event_loop_is_made(tmp_path: Path) -> None:
    """It is a stop like any other, without a word of a loop that is half made."""
    run_dir, file = tmp_path / "run", tmp_path / "fastvrrp.conf"
    file.write_text(CONFIGURATION.format(extra=""))
    program = (
        "import asyncio, os, pathlib, signal, sys\n"
        "from fastvrrp.supervisor import start\n"
        "class Loop(asyncio.SelectorEventLoop):\n"
        "    def __init__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        super().__init__()\n"
        "asyncio.new_event_loop = Loop\n"
        "asyncio.events.new_event_loop = Loop\n"
        "file, run_dir = map(pathlib.Path, sys.argv[1:])\n"
        "sys.exit(start.run(start.Options(start.Wanted(file), run_dir)))\n"
    )
    command = [sys.executable, "-c", program, file, run_dir]
    done = subprocess.run(command, timeout=30, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert processes(run_dir) == []


def test_a_stop_comes_into_no_code_that_expects_none(tmp_path: Path) -> None:
    """While types are made a library calls Python from C, and crashed when that was interrupted.
    So what is being loaded is loaded; but nothing is begun after it."""
    run_dir, file = tmp_path / "run", tmp_path / "fastvrrp.conf"
    file.write_text(CONFIGURATION.format(extra=""))
    program = (
        "import os, pathlib, signal, sys\n"
        "from fastvrrp.supervisor import early, start\n"
        "begin = start._import_common\n"
        "def interrupted(first):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    begin(first)\n"
        "    print('loaded', flush=True)\n"
        "start._import_common = interrupted\n"
        "early.Early.spawn = lambda *arguments: print('begun', flush=True)\n"
        "file, run_dir = map(pathlib.Path, sys.argv[1:])\n"
        "sys.exit(start.run(start.Options(start.Wanted(file), run_dir)))\n"
    )
    command = [sys.executable, "-c", program, file, run_dir]
    done = subprocess.run(command, timeout=30, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "loaded\n", "")
    assert processes(run_dir) == []


def test_a_stop_ends_at_once_what_waits_for_another_daemon(tmp_path: Path) -> None:
    """One that was killed, whose child still undoes its work, has ten seconds for that."""
    run_dir = tmp_path / "run"
    run_dir.mkdir(0o750)
    program = (
        "import os, pathlib, signal, sys, time\n"
        "from fastvrrp.supervisor import start\n"
        "def waits(*arguments):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(0)\n"
        "    print('waited', flush=True)\n"
        "start.acquire = waits\n"
        "file = pathlib.Path('/nonexistent')\n"
        "sys.exit(start.run(start.Options(start.Wanted(file), pathlib.Path(sys.argv[1]))))\n"
    )
    command = [sys.executable, "-c", program, run_dir]
    done = subprocess.run(command, timeout=30, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert processes(run_dir) == []
