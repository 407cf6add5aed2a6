"""Journal before change, firewall, settings; and refusals that leave things as they were."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest
from vrrp_tools import configuration, instance, kernel, vip

from fastvrrp.config import model
from fastvrrp.net import nftables
from fastvrrp.net.journal import Contents, Journal
from fastvrrp.vrrp import surroundings
from fastvrrp.vrrp.surroundings import Surroundings, SurroundingsError

NOTHING = model.Configuration()
PROTECTED = configuration(instance(accept=False))


class Scene:
    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal = Journal(directory / "journal")
        self.scripts: list[Sequence[nftables.Message]] = []
        self.listed: list[Contents | None] = []
        self.refusal: OSError | None = None
        monkeypatch.setattr(surroundings, "commit_nftables", self._commit)
        self.surroundings = Surroundings(self.journal, lambda: kernel("eth0", "eth1"))

    async def _commit(self, messages: Sequence[nftables.Message]) -> None:
        self.scripts.append(messages)
        self.listed.append(self.journal.read())
        if self.refusal is not None:
            raise self.refusal

    def addresses(self) -> list[str]:
        contents = self.journal.read()
        assert contents is not None
        return [".".join(map(str, entry.address)) for entry in contents.addresses]


@pytest.fixture
def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_the_journal_holds_old_and_new_until_the_change_is_complete(it: Scene) -> None:
    old = configuration(instance())
    new = configuration(instance(virtual_ipaddress=(vip("10.0.1.200/24"),)))

    async def body() -> None:
        await it.surroundings.prepare(NOTHING, old)
        await it.surroundings.settle(old)
        assert it.addresses() == ["10.0.1.100"]
        await it.surroundings.prepare(old, new)
        assert it.addresses() == ["10.0.1.100", "10.0.1.200"]
        await it.surroundings.settle(new)
        assert it.addresses() == ["10.0.1.200"]
        await it.surroundings.undo(complete=False)
        assert it.addresses() == ["10.0.1.200"]
        await it.surroundings.undo(complete=True)
        assert it.journal.read() is None

    asyncio.run(body())


def test_the_firewall_s_table_is_listed_before_it_exists(it: Scene) -> None:
    async def body() -> None:
        await it.surroundings.prepare(NOTHING, PROTECTED)
        (listed,) = it.listed
        assert listed is not None
        assert listed.nft_tables == ("fastvrrp",)
        assert any(bytes((10, 0, 1, 100)) in body for _, _, body in it.scripts[0])
        await it.surroundings.undo(complete=True)
        assert it.scripts[1][-1] == nftables.delete_table("fastvrrp")

    asyncio.run(body())


def test_a_firewall_that_refuses_refuses_the_configuration(it: Scene) -> None:
    async def body() -> None:
        await it.surroundings.prepare(NOTHING, configuration(instance()))
        it.refusal = OSError(errno.ENOMEM, "no memory today")
        with pytest.raises(SurroundingsError, match="no memory today"):
            await it.surroundings.prepare(configuration(instance()), PROTECTED)

    asyncio.run(body())


def test_a_kernel_without_nftables_is_told_in_one_line(
    it: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """keepalived runs there, too: a router that everybody depends on is not kept from running."""
    it.refusal = nftables.NoNftables(errno.EOPNOTSUPP, "no nftables here")
    asyncio.run(it.surroundings.prepare(NOTHING, PROTECTED))
    assert it.addresses() == ["10.0.1.100"]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage() == (
        "no_accept is without effect, hosts reach the virtual addresses: no nftables here"
    )


def test_a_firewall_that_stays_keeps_the_journal(it: Scene) -> None:
    async def body() -> None:
        await it.surroundings.prepare(NOTHING, PROTECTED)
        it.refusal = OSError(errno.ENOMEM, "no memory today")
        await it.surroundings.undo(complete=True)
        assert it.journal.read() is not None

    asyncio.run(body())


def test_a_journal_that_cannot_be_written_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full or read-only disk is no reason not to run. What was wanted last is written."""
    monkeypatch.setattr(surroundings, "JOURNAL_RETRY_S", 0.02)
    it = Scene(tmp_path / "later", monkeypatch)
    old = configuration(instance())
    new = configuration(instance(virtual_ipaddress=(vip("10.0.1.200/24"),)))

    async def body() -> None:
        await it.surroundings.prepare(NOTHING, old)
        await it.surroundings.settle(old)
        await it.surroundings.prepare(old, new)
        await asyncio.sleep(0.1)
        assert it.journal.read() is None
        (tmp_path / "later").mkdir()
        async with asyncio.timeout(3):
            while it.journal.read() is None:  # noqa: ASYNC110  a file, not an event
                await asyncio.sleep(0.01)
        assert it.addresses() == ["10.0.1.100", "10.0.1.200"]
        await it.surroundings.settle(new)
        assert it.addresses() == ["10.0.1.200"]
        await it.surroundings.undo(complete=True)

    asyncio.run(body())
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2, "once, however often it is tried"
    assert f"{it.journal.path} cannot be written: No such file or directory" in told[0]
    assert told[1] == "the journal is written again"


def test_nothing_is_written_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "JOURNAL_RETRY_S", 0.02)
    it = Scene(tmp_path / "later", monkeypatch)

    async def body() -> None:
        await it.surroundings.prepare(NOTHING, configuration(instance()))
        await it.surroundings.undo(complete=True)
        (tmp_path / "later").mkdir()
        await asyncio.sleep(0.1)

    asyncio.run(body())
    assert it.journal.read() is None


def test_what_an_earlier_clean_up_could_not_remove_stays_listed(it: Scene) -> None:
    """The kernel may have refused it: it is for the next clean-up."""
    left = Contents(nft_tables=("elsewhere",))
    it.journal.write(left)
    new = configuration(instance())

    async def body() -> None:
        await it.surroundings.prepare(NOTHING, new)
        await it.surroundings.settle(new)
        contents = it.journal.read()
        assert contents is not None
        assert contents.nft_tables == ("elsewhere",)
        assert it.addresses() == ["10.0.1.100"]
        await it.surroundings.undo(complete=True)
        assert it.journal.read() == left

    asyncio.run(body())


def test_a_damaged_journal_is_replaced(it: Scene, caplog: pytest.LogCaptureFixture) -> None:
    it.journal.path.write_text("garbage")
    it.journal.path.chmod(0o600)
    asyncio.run(it.surroundings.prepare(NOTHING, configuration(instance())))
    assert it.addresses() == ["10.0.1.100"]
    assert "the old journal is replaced" in caplog.text
