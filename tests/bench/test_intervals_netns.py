"""The receiver of adverts: what it counts as an error of the interval, and what as a new phase."""

from __future__ import annotations

import time

import pytest
from bench.rig.native import program
from bench.rig.network import Wires
from bench.rig.observe import Intervals
from bench.rig.process import run_json

pytestmark = [pytest.mark.netns, pytest.mark.xdist_group("bench")]

ROUTERS = 4


def send(network: Wires, interval_s: float, seconds: float) -> int:
    """The floor's sender on router a; how many adverts of each router it sent."""
    argv = [program("floor_send"), "packet", str(ROUTERS), str(round(interval_s * 1e6))]
    done = run_json(network.a.namespace, [*argv, "1", str(seconds), *network.a.interfaces])
    return int(done["sent"]) // ROUTERS


def test_early_second_advert_after_silence_is_a_change_of_phase() -> None:
    """Nominal 200 ms: one sender, silence, and another whose second advert comes after 50 ms."""
    with Wires(ROUTERS) as network, Intervals(network.b, 0.2) as receiver:
        first = send(network, 0.2, 0.5)
        time.sleep(1.0)
        second = send(network, 0.05, 0.12)
        heard = receiver.stop()["received"]
    assert min(first, second) >= 2
    assert heard["phase_changes"] == ROUTERS
    assert heard["over_3"] == ROUTERS  # the silence is an error all the same
    assert heard["intervals"] + heard["phase_changes"] == ROUTERS * (first + second - 1)
    early = sum(count for _, count in heard["early"])
    assert early >= ROUTERS * (second - 2)  # the third advert: by then the place should be found


def test_router_that_appears_later_may_choose_its_phase() -> None:
    with Wires(300) as network, Intervals(network.b, 0.1) as receiver:
        program_and_links = [program("floor_send"), "packet"]
        run_json(network.a.namespace, [*program_and_links, "1", "100000", "1", "0.5", "a0"])
        run_json(network.a.namespace, [*program_and_links, "1", "20000", "1", "0.03", "a1"])
        heard = receiver.stop()["received"]
    assert heard["routers"] == 2
    assert heard["phase_changes"] == 1
    assert heard["over_3"] == 0


def test_steady_sender_has_no_change_of_phase() -> None:
    with Wires(ROUTERS) as network, Intervals(network.b, 0.05) as receiver:
        each = send(network, 0.05, 0.5)
        heard = receiver.stop()["received"]
    assert heard["phase_changes"] == 0
    assert heard["intervals"] == ROUTERS * (each - 1)
