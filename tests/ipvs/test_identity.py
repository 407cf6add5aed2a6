"""What makes two checks the same."""

from __future__ import annotations

import msgspec

from fastvrrp.config.base import Position
from fastvrrp.config.servers import Connection, Schedule, TcpCheck
from fastvrrp.ipvs.identity import identity

SLOW = Schedule(delay_loop_ns=7_000_000_000, warmup_ns=5_000_000_000)


def test_a_check_that_has_nothing_to_forget_is_its_own_identity() -> None:
    plain = TcpCheck(connection=Connection(address="192.0.2.1", port=1), schedule=SLOW)
    assert identity(plain) is plain
    for changed in (
        msgspec.structs.replace(plain, position=Position(file="a", line=1)),
        msgspec.structs.replace(plain, schedule=msgspec.structs.replace(SLOW, alpha=True)),
        msgspec.structs.replace(
            plain, schedule=msgspec.structs.replace(SLOW, log_all_failures=True)
        ),
    ):
        assert changed != plain
        assert identity(changed) == plain
