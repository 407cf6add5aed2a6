"""Processes begun by a fork: what they are and have, as if they had been executed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROBE = """\
import json, os, signal, sys

def main():
    handled = [n for n in signal.valid_signals() if callable(signal.getsignal(n))]
    said = {
        "argv": sys.argv,
        "cwd": os.getcwd(),
        "descriptors": [n for n in range(100) if os.path.exists(f"/proc/self/fd/{n}")],
        "streams": [os.readlink(f"/proc/self/fd/{n}") for n in (0, 1)],
        "group": os.getpgid(0) == os.getpid(),
        "handled": handled,
        "ignored": signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "path": sys.path,
    }
    os.write(int(sys.argv[1]), json.dumps(said).encode())
    END
"""
DRIVER = """\
import json, os, signal, sys
from fastvrrp.supervisor.fork import launch
from fastvrrp.supervisor.launch import PYTHON

module, mute = sys.argv[1], sys.argv[2] == "mute"
signal.signal(signal.SIGTERM, lambda *_: print("the parent's handler"))
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
other = os.pipe()  # not for the new process
reads, writes = os.pipe()
process = launch((*PYTHON, module, str(writes)), pass_fds=(writes,), cwd="/", mute=mute)
os.close(writes)
with open(reads, "rb") as file:
    said = file.read()
code = process.wait()
assert process.wait() == code == process.returncode
process.kill()  # collected: nobody else may be hit
print(json.dumps({"said": json.loads(said or b"{}"), "code": code, "writes": writes}))
"""


def run(
    tmp_path: Path, end: str, *, module: str = "probe", mute: str = "mute"
) -> tuple[dict[str, Any], str]:
    """What a driver that forks the probe tells, and what came to standard error."""
    (tmp_path / "probe.py").write_text(PROBE.replace("END", end))
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PROBE.replace("END", end))
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, tmp_path / "driver.py", module, mute],
        env={"PYTHONPATH": ":".join([*sys.path, str(tmp_path)])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_it_is_as_if_it_had_been_executed(tmp_path: Path) -> None:
    told, errors = run(tmp_path, "return 3")
    said = told["said"]
    assert told["code"] == 3
    assert said["argv"] == ["probe", str(told["writes"])]
    assert said["cwd"] == "/"
    assert said["descriptors"] == [0, 1, 2, told["writes"]]
    assert said["streams"] == ["/dev/null", "/dev/null"]
    assert said["group"]
    assert said["handled"] == [signal.SIGINT]
    assert said["ignored"]
    assert said["blocked"] == []
    assert said["path"][0] != str(tmp_path), "-P: where the script is does not count"
    assert errors == ""


def test_a_package_and_its_output(tmp_path: Path) -> None:
    told, _ = run(tmp_path, "return 0", module="package", mute="loud")
    assert told["code"] == 0
    assert told["said"]["streams"][0] == "/dev/null"
    assert told["said"]["streams"][1] != "/dev/null"


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(5)", 5, ""),
        ("sys.exit('why it ends')", 1, "why it ends"),
        ("raise ValueError('a mistake')", 1, "ValueError: a mistake"),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
    ],
)
def test_how_it_ends(tmp_path: Path, end: str, code: int, words: str) -> None:
    told, errors = run(tmp_path, end)
    assert told["code"] == code
    assert words in errors
    assert bool(words) == bool(errors)
    assert "driver.py" not in errors, "nothing returns into the caller"


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    told, errors = run(tmp_path, "return 0", module="absent_module")
    assert told["code"] == 1
    assert "ModuleNotFoundError" in errors
