"""Journal before change, firewall, settings; and refusals that leave things as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from vrrp_tools import configuration, instance, kernel, vip

from fastvrrp.config import model
from fastvrrp.net.firewall import FirewallError
from fastvrrp.net.journal import Contents, Journal
from fastvrrp.vrrp import surroundings
from fastvrrp.vrrp.surroundings import Surroundings, SurroundingsError, run_nft

NOTHING = model.Configuration()
PROTECTED = configuration(instance(accept=False))


class Scene:
    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal = Journal(directory / "journal")
        self.scripts: list[str] = []
        self.listed: list[Contents | None] = []
        self.refuse = False
        monkeypatch.setattr(surroundings, "run_nft", self._nft)
        self.surroundings = Surroundings(self.journal, lambda: kernel("eth0", "eth1"))

    async def _nft(self, argv: Sequence[str], script: bytes) -> tuple[int, bytes]:
        self.scripts.append(script.decode())
        self.listed.append(self.journal.read())
        if self.refuse:
            raise FirewallError("no nft today")
        return 0, b""

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
        assert "10.0.1.100" in it.scripts[0]
        await it.surroundings.undo(complete=True)
        assert it.scripts[1].splitlines()[-1] == "delete table inet fastvrrp"

    asyncio.run(body())


def test_a_firewall_that_refuses_refuses_the_configuration(it: Scene) -> None:
    async def body() -> None:
        await it.surroundings.prepare(NOTHING, configuration(instance()))
        it.refuse = True
        with pytest.raises(SurroundingsError, match="no nft today"):
            await it.surroundings.prepare(configuration(instance()), PROTECTED)

    asyncio.run(body())


def test_a_firewall_that_stays_keeps_the_journal(it: Scene) -> None:
    async def body() -> None:
        await it.surroundings.prepare(NOTHING, PROTECTED)
        it.refuse = True
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
    """The kernel may have refused, or nft was not there: it is for the next clean-up."""
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


@pytest.mark.parametrize(
    ("argv", "expected"),
    [(("sh", "-c", "cat; exit 3"), (3, b"hello")), (("sh", "-c", "cat >&2"), (0, b"hello"))],
)
def test_programs_get_their_input(argv: tuple[str, ...], expected: tuple[int, bytes]) -> None:
    assert asyncio.run(run_nft(argv, b"hello")) == expected


def test_a_missing_nft_is_named() -> None:
    with pytest.raises(FirewallError, match="not installed"):
        asyncio.run(run_nft(("/nowhere/nft",), b""))


def test_an_nft_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "NFT_TIMEOUT_S", 0.1)
    with pytest.raises(FirewallError, match=r"did not end within 0\.1 s"):
        asyncio.run(run_nft(("sleep", "30"), b""))
