"""What accompanies a reload: planned ones, reload_file, config_save_dir; and what --only drops."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import CONFIGURATION, SERVER, Daemon, wait_for

from fastvrrp.config import model
from fastvrrp.config.load import load
from fastvrrp.supervisor import traces
from fastvrrp.supervisor.configuration import Source
from fastvrrp.supervisor.held import dropped
from fastvrrp.supervisor.planned import due
from fastvrrp.supervisor.reading import Wanted

# Berlin: summer time ends on 2026-10-25 at 03:00, which is 02:00 again.
NOW = datetime.datetime(2026, 10, 24, 12, 0, 0, tzinfo=datetime.UTC)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("line", "moment"),
    [
        ("12:00:01Z", "2026-10-24T12:00:01+00:00"),
        ("12:00:00Z", "2026-10-25T12:00:00+00:00"),
        ("11:59:59Z", "2026-10-25T11:59:59+00:00"),
        ("14:00:01", "2026-10-24T12:00:01+00:00"),
        ("13:30:00", "2026-10-25T12:30:00+00:00"),
        ("26-10-25 12:00:00", "2026-10-25T11:00:00+00:00"),
        ("2026-12-31 23:59:59Z", "2026-12-31T23:59:59+00:00"),
        ("2026-10-24 12:00:00Z", None),
        ("25-12-31 00:00:00", None),
    ],
)
def test_when_a_line_means(berlin: None, line: str, moment: str | None) -> None:
    found = due(line, NOW)
    assert (found and found.astimezone(datetime.UTC).isoformat()) == moment


@pytest.mark.parametrize(
    "line",
    ["", "12:00", " 12:00:00", "12:00:00 ", "24:00:00", "26-13-01 00:00:00", "noon", "1:2:3"],
)
def test_lines_that_mean_nothing(line: str) -> None:
    with pytest.raises(ValueError, match=r"form|range|hour|month"):
        due(line, NOW)


def defs(**fields: str | bool | None) -> model.GlobalDefs:
    return model.GlobalDefs(housekeeping=model.Housekeeping(**fields))  # type: ignore[arg-type]


def test_reload_file_is_there_and_empty_while_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "marker"
    for content in (None, "waiting for you"):
        if content is not None:
            path.write_text(content)
        with traces.reading(defs(reload_file=str(path))):
            assert path.read_bytes() == b""
        assert not path.exists()
    with pytest.raises(KeyError), traces.reading(defs(reload_file=str(path))):
        raise KeyError
    assert not path.exists()


@pytest.mark.parametrize(
    ("fields", "instance", "path"),
    [
        ({"reload_file": ""}, None, "/run/keepalived.reload"),
        ({"reload_file": "", "use_pid_dir": True}, None, "/run/keepalived/keepalived.reload"),
        ({"reload_file": ""}, "edge", "/run/keepalived/keepalived_edge.reload"),
        ({"reload_file": "/a/b"}, "edge", "/a/b"),
        ({}, None, None),
    ],
)
def test_place_of_reload_file(
    fields: dict[str, str | bool | None], instance: str | None, path: str | None
) -> None:
    found = traces.marker_path(
        model.GlobalDefs(housekeeping=model.Housekeeping(**fields), instance=instance)  # type: ignore[arg-type]
    )
    assert found == (None if path is None else Path(path))


def test_a_reload_at_its_time_and_what_is_kept(tmp_path: Path) -> None:
    """reload_time_file, reload_repeat, config_save_dir, umask."""
    timer, kept = tmp_path / "when", tmp_path / "kept"
    extra = f"reload_time_file {timer}\n    config_save_dir {kept}\n    umask IRWXG|IRWXO"
    with Daemon(tmp_path, extra=extra) as daemon:
        daemon.ready()
        plan(timer)
        wait_for(lambda: daemon.logged("Reloaded"), "the planned reload")
        assert not timer.exists()
        daemon.configure(CONFIGURATION.format(extra=f"{extra}\n    reload_repeat"))
        assert daemon.request("reload")["ok"] is True
        plan(timer)
        wait_for(lambda: daemon.stderr.read_text().count("Reloaded: ") == 3, "the second one")
        wait_for(lambda: daemon.stderr.read_text().count("A reload is planned") == 3, "tomorrow")
        timer.unlink()
        wait_for(lambda: daemon.logged("No reload is planned any more"), "it is cancelled")
        assert daemon.stop() == 0
    # At the start, and for each of three reloads.
    directories = sorted(kept.iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    assert [path.name.rpartition("-")[2] for path in directories] == ["0", "1", "2", "3"]
    name = str(daemon.file).strip("/").replace("/", "-")
    texts = [(path / name).read_text() for path in directories]
    assert [text.count("reload_repeat") for text in texts] == [0, 0, 1, 1]
    assert {(path / name).stat().st_mode & 0o777 for path in directories} == {0o600}
    assert daemon.did().count("dump data") == 6  # before and after each of them


def test_what_the_check_of_a_reload_says(tmp_path: Path) -> None:
    """reload_check_config: the file has what the last check said, as the answer has it. There is
    always the warning of an interface that does not exist."""
    found = tmp_path / "found"
    extra = f"reload_check_config {found}"
    with Daemon(tmp_path, extra=extra) as daemon:
        daemon.ready()
        assert not found.exists()
        daemon.configure(CONFIGURATION.format(extra=f"{extra}\n    no_such_word\n    umask foo"))
        assert daemon.request("reload")["ok"] is False
        lines = found.read_text().splitlines()
        assert [line.split(": ")[1] for line in lines] == ["error", "warning", "warning"]
        assert all(line.startswith(f"{daemon.file}:") for line in lines)
        assert found.stat().st_mode & 0o777 == 0o600
        daemon.file.unlink()
        assert daemon.request("reload")["ok"] is False
        (line,) = found.read_text().splitlines()
        assert "cannot read" in line
        daemon.configure(CONFIGURATION.format(extra=""))
        assert daemon.request("reload")["ok"] is True
        (line,) = found.read_text().splitlines()
        assert "interface 'sup-absent' does not exist" in line
        # The file is that of the configuration in effect, which has none by now.
        found.unlink()
        daemon.configure(CONFIGURATION.format(extra="no_such_word"))
        assert daemon.request("reload")["ok"] is False
        assert not found.exists()


def test_a_check_that_finds_nothing_empties_the_file(tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.write_text("what an earlier one said")
    traces.checked(defs(reload_check_log=str(found)), [])
    assert found.read_bytes() == b""


def test_a_check_is_written_to_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "other")
    traces.checked(defs(reload_check_log=str(tmp_path / "link")), ["a line"])
    assert not (tmp_path / "other").exists()


def test_a_name_that_no_file_can_have_stops_no_reload() -> None:
    name = "/run/a\0b"
    traces.checked(defs(reload_check_log=name), ["a line"])
    with traces.reading(defs(reload_file=name)):
        pass


def plan(timer: Path) -> None:
    """A reload in a second or two."""
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    timer.write_text(at.strftime("%H:%M:%SZ\n"))


def test_only_routers_track_no_virtual_servers(tmp_path: Path) -> None:
    """What links both halves is told with its place when one of them is left out."""
    text = CONFIGURATION.format(extra="").replace(
        "track_script {\n        chk weight 1\n    }",
        "track_virtual_server {\n        192.0.2.200 80 weight 5\n    }",
    )
    with Daemon(tmp_path, only="vrrp") as daemon:
        daemon.configure(SERVER + text)
        daemon.ready()
        line = (SERVER + text).splitlines().index("    track_virtual_server {") + 2
        where = f"{daemon.file}:{line}:"
        assert any(
            where in entry and "is not tracked: no virtual server is run" in entry
            for entry in daemon.stderr.read_text().splitlines()
        )
        assert daemon.stop() == 0


def test_only_servers_follow_no_instance(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    sync = "    lvs_sync_daemon lo V1\n"
    file.write_text(CONFIGURATION.format(extra=sync))
    configuration = load(file).configuration
    assert configuration is not None
    assert dropped(configuration, None) == dropped(configuration, "vrrp") == []
    (message,) = dropped(configuration, "ipvs")
    assert "does not follow V1" in message.text
    assert message.position.file == str(file)


@pytest.mark.parametrize("pattern", ["", "*.conf"])
def test_a_directory_or_a_pattern_is_read_again(pattern: str, tmp_path: Path) -> None:
    """All files are read; only when there is nothing in any of them nothing would be left."""
    first, second = tmp_path / "a.conf", tmp_path / "b.conf"
    first.write_text("# nothing\n")
    second.write_text("global_defs {\n router_id x\n}\n")

    async def read() -> tuple[bool, str]:
        outcome = await Source(Wanted(file=tmp_path / pattern)).read_again()
        return outcome.held is not None, " ".join(m.text for m in outcome.messages)

    assert asyncio.run(read())[0]
    second.write_text("\n")
    is_read, text = asyncio.run(read())
    assert not is_read
    assert "the file is empty" in text
