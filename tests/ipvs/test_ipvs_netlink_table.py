"""The kernel's table without the kernel: its bytes against a fake that another library reads for.

The same contract holds in a real kernel, see kernel/. Here are the answers a kernel seldom gives.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterable, Iterator

import pytest
from fake_kernel import FAMILY_ID, FakeKernel, destination_message, service_message
from table_contract import (
    D1,
    D2,
    DESTINATIONS,
    K4,
    S4,
    TableContract,
    add,
    destination,
    done,
    fails,
    put,
)

from fastvrrp.ipvs.netlink_table import NetlinkTable, open_socket
from fastvrrp.ipvs.objects import (
    Counters,
    Daemon,
    Destination,
    DestinationStatistics,
    Entry,
    Role,
    Tunnel,
)
from fastvrrp.ipvs.table import Operation, Table, Verb
from fastvrrp.net.namespace import NamespaceError
from fastvrrp.net.wire import message as net_message
from looping import Run


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    made = FakeKernel()
    yield made
    made.close()


@pytest.fixture
def table(kernel: FakeKernel) -> Iterator[NetlinkTable]:
    made = NetlinkTable(kernel.sock)
    yield made
    made.close()


class TestNetlinkTableWithoutKernel(TableContract):
    """`kernel` is behind `table`."""


@pytest.mark.parametrize(("old", "padded"), [(True, False), (False, True), (True, True)])
def test_other_kernels(run: Run, *, old: bool, padded: bool) -> None:
    """Before 5.2 nothing tells of kinds of tunnels; some processors need padding."""

    async def scene() -> None:
        kernel = FakeKernel(old=old, padded=padded)
        table = NetlinkTable(kernel.sock)
        plain = {
            made.key: made
            for index, made in enumerate(DESTINATIONS.values())
            for made in [made._replace(key=destination(port=index + 1).key)]
            if not old or made[5:] == (Tunnel.IPIP, 0, 0)
        }
        await done(table, add(S4), *(put(K4, made) for made in plain.values()))
        for _ in range(2):  # read, and then known
            assert await table.dump() == {K4: Entry(S4, plain)}
        assert (await table.statistics())[K4].counters == Counters()
        table.close()
        kernel.close()

    run(scene())


def test_many_changes_are_few_messages(run: Run, kernel: FakeKernel, table: NetlinkTable) -> None:
    async def scene() -> None:
        await done(table, add(S4))
        before = kernel.datagrams
        operations = [put(K4, destination(port=1 + n)) for n in range(2000)]
        await done(table, *operations)
        assert kernel.datagrams - before == -(-2000 // table.batch)
        assert kernel.table.log == [add(S4), *operations]

    run(scene())


class Counting(FakeKernel):
    """Has one service with counters."""

    def _dump(self, request: object, sequence: int) -> Iterable[bytes]:
        if request.command == 4:  # type: ignore[attr-defined]
            body = service_message(S4, padded=self.padded, value=2**40)
        else:
            body = destination_message(D1, padded=self.padded, counts=(5, 6, 7), value=3)
        yield net_message(FAMILY_ID, 2, body, sequence)
        yield net_message(3, 2, bytes(4), sequence)


@pytest.mark.parametrize("padded", [False, True])
def test_statistics(run: Run, *, padded: bool) -> None:
    async def scene() -> None:
        kernel = Counting(padded=padded)
        table = NetlinkTable(kernel.sock)
        [(key, found)] = (await table.statistics()).items()
        assert key == K4
        assert found.counters == Counters(*(2**40 * kind for kind in range(1, 11)))
        expected = DestinationStatistics(5, 6, 7, Counters(*range(3, 33, 3)))
        assert found.destinations == {D1.key: expected}
        table.close()
        kernel.close()

    run(scene())


class Saying(FakeKernel):
    """Answers what it is told to, after the family."""

    def __init__(self, *answers: bytes) -> None:
        super().__init__()
        self.script = list(answers)

    def answers(self, kind: int, flags: int, sequence: int, message: bytes) -> Iterable[bytes]:
        if kind in (16, 1) and sequence < 3:
            yield from super().answers(kind, flags, sequence, message)
        for said in self.script if sequence >= 3 else ():
            yield said[:8] + struct.pack("=I", sequence) + said[12:]


REFUSAL = net_message(2, 0, struct.pack("=i", -errno.EPERM) + bytes(16))
FAILED_DUMP = net_message(3, 0, struct.pack("=i", -errno.ENOMEM))
GARBAGE = struct.pack("=IHHII", 4, FAMILY_ID, 0, 0, 0)
TOO_SHORT = net_message(FAMILY_ID, 0, b"")
NO_SERVICE = net_message(FAMILY_ID, 0, bytes(8))
NO_ERRNO = net_message(2, 0, struct.pack("=i", 7) + bytes(16))
TOO_LONG = net_message(FAMILY_ID, 0, bytes(1 << 17))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (REFUSAL, errno.EPERM),
        (FAILED_DUMP, errno.ENOMEM),
        (GARBAGE, errno.EBADMSG),
        (NO_ERRNO, errno.EBADMSG),
        (TOO_SHORT, errno.EBADMSG),
        (NO_SERVICE, errno.EBADMSG),
        (TOO_LONG, errno.EMSGSIZE),
    ],
    ids=["refusal", "failed", "garbage", "no errno", "too short", "no service", "too long"],
)
def test_a_dump_that_fails(run: Run, answer: bytes, code: int) -> None:
    async def scene() -> None:
        kernel = Saying(answer, net_message(3, 2, bytes(4)))
        table = NetlinkTable(kernel.sock)
        await fails(table.services(), code)
        table.close()
        kernel.close()

    run(scene())


def test_a_silent_kernel(run: Run) -> None:
    """And late answers to what was given up do not count for the next question."""

    async def scene() -> None:
        kernel = Saying()
        kernel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 50000))
        table = NetlinkTable(kernel.sock)
        await fails(table.services(), errno.ETIMEDOUT)
        late = net_message(FAMILY_ID, 2, service_message(S4), 3)
        kernel._own.send(late + net_message(3, 2, bytes(4), 3))
        kernel.script = [net_message(3, 2, bytes(4))]
        assert await table.services() == {}
        table.close()
        kernel.close()

    run(scene())


def test_a_kernel_without_ipvs(run: Run) -> None:
    class Without(FakeKernel):
        def answers(self, kind: int, flags: int, sequence: int, message: bytes) -> Iterable[bytes]:
            code = errno.ENOENT if kind == 16 else 0
            yield net_message(2, 0, struct.pack("=i", -code) + bytes(16), sequence)

    async def scene() -> None:
        kernel = Without()
        table = NetlinkTable(kernel.sock)
        for question in (table.services(), table.flush(), table.apply([add(S4)])):
            await fails(question, errno.ENOENT)
        table.close()
        kernel.close()

    run(scene())


def test_a_module_that_comes_back_under_another_number(run: Run) -> None:
    class Reloaded(FakeKernel):
        number = FAMILY_ID

        def answers(self, kind: int, flags: int, sequence: int, message: bytes) -> Iterable[bytes]:
            if kind == 16:
                for answer in super().answers(kind, flags, sequence, message):
                    yield answer.replace(
                        struct.pack("=H", FAMILY_ID), struct.pack("=H", self.number)
                    )
            elif kind in (1, self.number):
                yield from super().answers(min(kind, FAMILY_ID), flags, sequence, message)
            else:
                yield net_message(2, 0, struct.pack("=i", -errno.ENOENT) + bytes(16), sequence)

    async def scene() -> None:
        kernel = Reloaded()
        table = NetlinkTable(kernel.sock)
        await done(table, add(S4))
        kernel.number = FAMILY_ID + 1
        await fails(table.services(), errno.ENOENT)
        assert await table.services() == {K4: S4}
        table.close()
        kernel.close()

    run(scene())


def test_questions_side_by_side(run: Run, table: Table) -> None:
    async def scene() -> None:
        await done(table, add(S4), put(K4, D1))
        found = await asyncio.gather(*(table.dump() for _ in range(5)))
        assert found == [{K4: Entry(S4, {D1.key: D1})}] * 5

    run(scene())


def test_a_question_that_is_given_up(run: Run, table: Table) -> None:
    async def scene() -> None:
        await done(table, add(S4), put(K4, D1), put(K4, D2))
        for _ in range(20):
            task = asyncio.create_task(table.dump())
            await asyncio.sleep(0)
            task.cancel()
        assert (await table.dump())[K4].destinations.keys() == {D1.key, D2.key}

    run(scene())


def test_stopping_a_daemon_that_never_ran_is_not_answered(run: Run, table: Table) -> None:
    """The fake answers it with EINTR, which is to say not at all; so does the kernel."""

    async def scene() -> None:
        await table.start_daemon(Daemon(Role.BACKUP, "eth0"))
        await table.stop_daemon(Role.BACKUP)
        assert await table.daemons() == {}

    run(scene())


def test_socket_of_a_namespace_that_is_not_there() -> None:
    with pytest.raises(NamespaceError, match="no-such-one"):
        open_socket("no-such-one")


def test_every_operation_can_be_named() -> None:
    shown = {str(Operation(verb, K4, S4, Destination(D1.key))) for verb in Verb}
    assert len(shown) == len(Verb)
    assert "edit destination [198.51.100.1]:80 of [192.0.2.1]:tcp:80" in shown
