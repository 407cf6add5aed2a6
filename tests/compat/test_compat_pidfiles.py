"""PID files: one for each process, while it is there; locked, so that one daemon has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastvrrp.compat.pidfiles import PidFiles, Running


def where(directory: Path) -> dict[str, Path]:
    return {role: directory / f"{role}.pid" for role in ("supervisor", "vrrp", "ipvs")}


def contents(directory: Path) -> dict[str, str]:
    return {file.stem: file.read_text() for file in directory.glob("*.pid")}


def test_a_life(tmp_path: Path) -> None:
    files = PidFiles(where(tmp_path / "new"))
    files.acquire()
    own = {"supervisor": f"{os.getpid()}\n"}
    assert contents(tmp_path / "new") == own
    files.update({"vrrp": 100000, "ipvs": None})
    assert contents(tmp_path / "new") == {**own, "vrrp": "100000\n"}
    files.update({"vrrp": 7, "ipvs": 8})
    assert contents(tmp_path / "new") == {**own, "vrrp": "7\n", "ipvs": "8\n"}
    files.update({"vrrp": None, "ipvs": None})
    assert contents(tmp_path / "new") == own
    files.close()
    assert contents(tmp_path / "new") == {}


@pytest.mark.parametrize("role", ["supervisor", "vrrp"])
def test_the_second_of_two(tmp_path: Path, role: str) -> None:
    """One file in common is enough, and nothing of the first one's is touched."""
    first = PidFiles(where(tmp_path))
    first.acquire()
    first.update({"vrrp": 9})
    before = contents(tmp_path)
    (tmp_path / "other").mkdir()
    second = PidFiles({**where(tmp_path / "other"), role: tmp_path / f"{role}.pid"})
    with pytest.raises(Running, match=f"{role}.pid"):
        second.acquire()
    assert contents(tmp_path) == before
    assert contents(tmp_path / "other") == {}
    first.close()
    second.acquire()
    second.close()


def test_what_a_crash_left(tmp_path: Path) -> None:
    """A file without a lock is nobody's, whatever lives under its number."""
    (tmp_path / "supervisor.pid").write_text("1\n")
    files = PidFiles(where(tmp_path))
    files.acquire()
    assert contents(tmp_path) == {"supervisor": f"{os.getpid()}\n"}
    files.close()


def test_what_somebody_else_put_there_stays(tmp_path: Path) -> None:
    files = PidFiles(where(tmp_path))
    files.acquire()
    (tmp_path / "supervisor.pid").unlink()
    (tmp_path / "supervisor.pid").write_text("theirs\n")
    files.close()
    assert contents(tmp_path) == {"supervisor": "theirs\n"}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "supervisor.pid").symlink_to(target)
    with pytest.raises(OSError, match=r"supervisor\.pid"):
        PidFiles(where(tmp_path)).acquire()
    assert target.read_text() == "precious"
