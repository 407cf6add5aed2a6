"""keepalived's command line: how it is read, and where the files of a daemon are."""

from __future__ import annotations

import getopt
import shutil
import subprocess
from pathlib import Path

import pytest

from fastvrrp.compat import main as compat
from fastvrrp.compat.options import OPTIONS, Given, UsageError, Value, read
from fastvrrp.compat.pidfiles import Identity, paths


def test_every_option_of_the_real_one() -> None:
    """Those that `keepalived --help` shows, with their letters and values."""
    program = shutil.which("keepalived", path="/usr/sbin:/sbin:/usr/bin")
    assert program is not None
    shown = subprocess.run([program, "--help"], capture_output=True, text=True).stderr
    ours = {option.long: option for option in OPTIONS}
    found = 0
    for line in shown.splitlines():
        head = line.strip().split("  ")[0]
        if "--" not in head:
            continue
        letter, _, long = head.rpartition("--")
        name, has_value, _ = long.replace("[=", "=").replace(" id", "=").partition("=")
        option = ours[name]
        found += 1
        assert option.short == letter.strip(" ,-"), line
        attached = "[=" in long or name == "core-dump-pattern"
        want = Value.OPTIONAL if attached else Value.REQUIRED if has_value else Value.NONE
        assert option.value is want, line
    assert found == 33


def test_as_getopt_reads_it() -> None:
    """Python's getopt agrees wherever it can: it knows no values that are optional."""
    lines = (
        "-nlD -f a.conf -p/run/a.pid --vrrp --config-id=r1 -i r2",
        "--use-file a.conf --dont-f --no-sys stray -S3",
        "-Dn -- -x",
    )
    short = "".join(o.short + (":" if o.value is Value.REQUIRED else "") for o in OPTIONS)
    long = [o.long + ("=" if o.value is Value.REQUIRED else "") for o in OPTIONS]
    by_letter = {f"-{o.short}": o.long for o in OPTIONS if o.short}
    for line in lines:
        words = line.split()
        pairs, stray = getopt.gnu_getopt(words, short, long)
        values = {by_letter.get(name, name[2:]): value or None for name, value in pairs}
        given = read(words)
        assert given.values == values
        assert given.stray == stray


def test_optional_values_are_attached() -> None:
    assert read(["-t", "FILE"]).values == {"config-test": None}
    assert read(["-tFILE"]).values == {"config-test": "FILE"}
    assert read(["--config-test=FILE"]).values == {"config-test": "FILE"}
    assert read(["-ng", "-M/tmp/core"]).values == {
        "dont-fork": None,
        "log-file": None,
        "core-dump-pattern": "/tmp/core",
    }
    assert read(["-D", "-DD"]).count == {"log-detail": 3}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-q", "unknown option -q"),
        ("--nonsense", "unknown option --nonsense"),
        ("--dont", "--dont-respawn"),
        ("-f", "--use-file needs a value"),
        ("--pid=", "--pid needs a value"),
        ("--vrrp=yes", "--vrrp takes no value"),
    ],
)
def test_wrong_lines(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=words):
        read([line])
    assert compat.main([line]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("line", ["--signum=TDUMP", "-S9", "-u 01000", "-u many", "-PC -n"])
def test_wrong_values(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compat.main(line.split()) == 1
    assert capsys.readouterr().err.startswith("fastvrrp-keepalived: -")


def test_what_only_prints(capsys: pytest.CaptureFixture[str]) -> None:
    program = shutil.which("keepalived", path="/usr/sbin:/sbin:/usr/bin")
    for name in ("STOP", "RELOAD", "DATA", "STATS", "STATS_CLEAR", "JSON"):
        theirs = subprocess.run([str(program), f"--signum={name}"], capture_output=True, text=True)
        assert compat.main([f"--signum={name}"]) == theirs.returncode == 0
        assert capsys.readouterr().out == theirs.stdout
    assert compat.main(["--version"]) == 0
    out, err = capsys.readouterr()
    assert not out
    # What exporters do with it: the version is the second word, without its letter.
    assert err.splitlines()[0].split(" ")[1][1:].split(".")[0] == "2"
    assert "JSON" in err.partition("Config options:")[2].split("\n")[0].split()
    assert compat.main(["-h"]) == 0
    help_text = capsys.readouterr().err
    assert all(f"--{option.long}" in help_text for option in OPTIONS)


def given(line: str) -> Given:
    return read(line.split())


@pytest.mark.parametrize(
    ("line", "identity", "run_dir", "pid"),
    [
        ("", Identity(), "/run/fastvrrp", "/run/keepalived.pid"),
        ("", Identity(use_pid_dir=True), "/run/fastvrrp", "/run/keepalived/keepalived.pid"),
        (
            "",
            Identity("blue", "edge"),
            "/run/fastvrrp-blue-edge",
            "/run/keepalived/blue/keepalived_edge.pid",
        ),
        (
            "-p /run/keepalived/keepalived.pid",
            Identity(),
            "/run/fastvrrp",
            "/run/keepalived/keepalived.pid",
        ),
        ("-p /var/run/ka/lan.pid", Identity(), "/run/fastvrrp-ka-lan", "/var/run/ka/lan.pid"),
        ("--run-dir /srv/r -p /a.pid", Identity(), "/srv/r", "/a.pid"),
    ],
)
def test_where_files_are(line: str, identity: Identity, run_dir: str, pid: str) -> None:
    words = given(line)
    assert compat.directory(words, identity) == Path(run_dir)
    assert paths({"supervisor": words.get("pid")}, identity)["supervisor"] == Path(pid)


def test_where_the_log_goes() -> None:
    to = compat.destinations(given("-l"), Identity("blue", "edge"), foreground=True)
    assert (to.console, to.facility, to.suffix, to.level) == (True, "daemon", "_blue_edge", "info")
    to = compat.destinations(given("-l -S3 -DD"), Identity(), foreground=False)
    assert (to.console, to.facility, to.suffix, to.level) == (False, "local3", "", "debug")
    to = compat.destinations(given("-G -Slocal1 -g/a/ka.log"), Identity(), foreground=True)
    assert (to.console, to.facility, to.file) == (False, None, Path("/a/ka.log"))


@pytest.mark.parametrize(("text", "mask"), [("022", 0o022), ("18", 18), ("0x3f", 63), ("0", 0)])
def test_umask(text: str, mask: int) -> None:
    assert compat.umask(given(f"-u {text}")) == mask


def test_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for keepalived, but a directory that is everybody's is not taken."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert compat.dump_dir() == tmp_path
    tmp_path.chmod(0o1777)
    assert compat.dump_dir() is None
    for value in ("", "relative", str(tmp_path / "none")):
        monkeypatch.setenv("TMPDIR", value)
        assert compat.dump_dir() is None
