"""keepalived.conf files with many virtual servers, and what reading one costs beside keepalived.

    python -m bench.servers render [--services N] [--servers N] >FILE
    python -m bench.servers read [--services N] [--servers N] [--times N]

`read` starts `fastvrrp check` and `keepalived -t` on the same file in turn, and prints the CPU
time of each, user and system, as getrusage(2) knows it of children.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

SERVICES = 2277  # the largest deployment that users of keepalived have told of
SERVERS = 37205


def render(services: int, servers: int) -> str:
    """`services` virtual servers which share out `servers` real servers, a TCP_CHECK each."""
    each, more = divmod(servers, services)
    lines: list[str] = []
    server = 0
    for service in range(services):
        lines += [
            f"virtual_server {address(10, service)} 80 {{",
            "    delay_loop 6",
            "    lvs_sched rr",
            "    lvs_method NAT",
            "    protocol TCP",
        ]
        for _ in range(each + (service < more)):
            lines += [
                f"    real_server {address(11, server)} 80 {{",
                "        weight 1",
                "        TCP_CHECK {",
                "            connect_timeout 3",
                "            retry 2",
                "            delay_before_retry 1",
                "        }",
                "    }",
            ]
            server += 1
        lines.append("}")
    return "\n".join(lines) + "\n"


def address(network: int, number: int) -> str:
    """The address with this number in a /8."""
    return f"{network}.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def cpu_s(command: Sequence[str], environ: Mapping[str, str]) -> float:
    """CPU seconds of a program. Raises CalledProcessError when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, timeout=600, env=environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(path: Path, times: int) -> Iterator[tuple[str, list[float]]]:
    """Each program's CPU seconds, in turns so that both see the same weather."""
    programs = {
        "keepalived -t": ["keepalived", "-t", "-f", str(path)],
        "fastvrrp check": [sys.executable, "-m", "fastvrrp", "check", str(path)],
    }
    # As installed: Python's byte code is there already.
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(path.parent)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    found: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(times + 1):
        for name, command in programs.items():
            spent = cpu_s(command, environ)
            if turn:
                found[name].append(spent)
    yield from found.items()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("render", "read"))
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--servers", type=int, default=SERVERS)
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    text = render(arguments.services, arguments.servers)
    if arguments.what == "render":
        sys.stdout.write(text)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "keepalived.conf"
        path.write_text(text)
        os.sync()
        print(f"{arguments.services} services, {arguments.servers} servers, {len(text)} bytes")
        for name, seconds in measure(path, arguments.times):
            best, usual = min(seconds), statistics.median(seconds)
            print(f"{name:16} best {best:.3f} s, median {usual:.3f} s of {len(seconds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
