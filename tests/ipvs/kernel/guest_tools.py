"""Commands the tests in the guest run and read."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_numbers = itertools.count(1)


def run(*argv: str) -> str:
    """Run a command that must succeed; its standard output."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
    return done.stdout


def ip(line: str) -> str:
    return run("ip", *line.split())


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace, and with it an IPVS table, of its own. It has eth0 and eth1,
    which are dummies: without multicast until they are told."""
    name = f"ns{next(_numbers)}"
    ip(f"netns add {name}")
    try:
        ip(f"-n {name} link set lo up")
        for number in (0, 1):
            ip(f"-n {name} link add eth{number} type dummy")
            ip(f"-n {name} address add 10.{number}.0.1/24 dev eth{number}")
            ip(f"-n {name} address add fd00:{number}::1/64 dev eth{number} nodad")
            ip(f"-n {name} link set eth{number} up multicast on")
        yield name
    finally:
        ip(f"netns del {name}")


@contextmanager
def keepalived(name: str, directory: Path, file: Path, *options: str) -> Iterator[Path]:
    """keepalived's health checker alone, in a network namespace, with its files in a directory.

    Gives its log. It is given SIGTERM at the end and waited for; its log is printed.
    """
    # fmt: off
    command = [
        "ip", "netns", "exec", name, "keepalived", "-n", "-l", "-G", "-D", "-C", "-f", str(file),
        "-p", str(directory / "pid"), "-r", str(directory / "vrrp.pid"),
        "-c", str(directory / "checkers.pid"), *options,
    ]
    # fmt: on
    log = directory / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        yield log
        process.terminate()
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        print(log.read_text()[-20000:])
