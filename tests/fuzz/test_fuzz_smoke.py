"""A short run of every fuzz target with coverage guidance; docs/proof.md has the long one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 8


def fuzz(target: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(HERE / "fuzz.py"), target, *options],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    "target", ["advert", "configuration", "netlink", "smtp", "http", "dns", "udp", "icmp"]
)
def test_nothing_breaks(target: str) -> None:
    done = fuzz(target, str(SECONDS), "-seed=1")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    runs = re.search(r"Done (\d+) runs", said)
    assert runs is not None, said[-3000:]
    assert int(runs[1]) > 50
    # the seeds are read, and branches of ours are seen
    covered = [int(number) for number in re.findall(r"cov: (\d+)", said)]
    assert covered
    assert covered[-1] > 10  # the judgement of a ping has 20


def test_a_broken_input_is_reported(tmp_path: Path) -> None:
    """The rig itself: a seed on which the target fails ends the run with the traceback."""
    program = (
        "import sys; sys.argv = ['fuzz', 'advert', *sys.argv[1:]]\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "import fuzz\n"
        "real = fuzz.target\n"
        "def broken(name):\n"
        "    function, seeds = real(name)\n"
        "    import advert_target\n"
        "    advert_target.RX_NAMES = ('wrong',) * 99\n"
        "    return function, seeds\n"
        "fuzz.target = broken\n"
        "from pathlib import Path\n"
        f"fuzz.LEARNED = Path({str(tmp_path)!r})\n"
        "fuzz.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "5"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode != 0
    assert "AssertionError" in done.stdout + done.stderr
    assert list((tmp_path / "advert").glob("crash-*"))
