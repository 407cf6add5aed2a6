"""The share of the prober in what this process may open."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
from fastvrrp.ipvs.descriptors import prober_sockets
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(json.dumps([prober_sockets(), resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "sockets"), [(256, 4096, 2048), (1024, 1024, 512), (64, 65, 32)]
)
def test_the_soft_limit_is_raised_and_half_of_it_is_the_probers(
    soft: int, hard: int, sockets: int
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout) == [sockets, [hard, hard]]
