"""The command line: help that teaches, suggestions, exit codes, and what the clients print."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from answers import DAEMON, INSTANCE, STATUS, answering, invoke

from fastvrrp import __version__
from fastvrrp.cli import events, main, parser, reload, run, status
from fastvrrp.cli.commands import COMMANDS
from fastvrrp.cli.common import duration, milliseconds

HEAVY_FOR_A_CHECK = {
    *("argparse", "locale", "uvloop", "yaml", "asyncio"),
    *("typing_extensions", "inspect", "ast"),
}


def fastvrrp(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastvrrp", *words], capture_output=True, text=True, timeout=30
    )


# ---------------------------------------------------------------------- help and errors


@pytest.mark.parametrize("command", [("check",), ("convert", "--to", "yaml")])
def test_closed_standard_streams_are_nowhere_to_write_to(
    tmp_path: Path, command: Sequence[str]
) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text("global_defs {\n    router_id R\n}\n")
    words = [sys.executable, "-m", "fastvrrp", *command, file]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words], timeout=30)
    assert done.returncode == 0


def test_help_names_every_command_and_imports_none_of_them() -> None:
    program = (
        "import sys\n"
        "from fastvrrp.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'uvloop', 'pyroute2', 'msgspec', 'rich', 'asyncio', 'fastvrrp._core'}\n"
        "print('imported:', sorted(heavy & set(sys.modules)))\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    for name in COMMANDS:
        assert re.search(rf"^    {name} ", out, re.MULTILINE), name
    assert "imported: []" in out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_help_teaches_with_two_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([name, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: fastvrrp {name}")
    _, _, examples = out.partition("examples:")
    assert len(re.findall(rf"^ +(?:sudo )?fastvrrp {name}\b", examples, re.MULTILINE)) >= 2


def test_clients_do_not_import_what_the_daemon_needs() -> None:
    program = (
        "import sys\n"
        "from fastvrrp.cli.main import main\n"
        "main(['status', '--run-dir', '/nonexistent'])\n"
        "print(sorted({'uvloop', 'pyroute2', 'asyncio'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"
    assert "no daemon is running at /nonexistent" in done.stderr


def test_a_check_without_options_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "k.conf"
    file.write_text(
        "vrrp_instance V {\n interface lo0\n virtual_router_id 1\n"
        " virtual_ipaddress {\n 10.0.0.1/24\n }\n}\n"
    )
    program = (
        "import sys\n"
        "from fastvrrp.cli.main import main\n"
        f"assert main(['check', {str(file)!r}]) == 0\n"
        f"print('imported:', sorted({HEAVY_FOR_A_CHECK!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "imported: []" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("files", [["a"], ["a", "b.yaml"], ["check"], [""], ["a", "a", "c d"]])
def test_a_check_without_options_is_read_as_argparse_reads_it(files: list[str]) -> None:
    quick, whole = main._arguments(["check", *files]), parser.parse(["check", *files])
    assert type(quick) is not type(whole)  # it is the quick way
    assert whole is not None
    assert vars(quick) == vars(whole)


PLAIN_DAEMONS = [
    [],
    ["-f", "a.conf"],
    ["--file", "a b.yaml", "--run-dir", "/run/x"],
    ["-f", "a", "-f", "b", "--only", "vrrp"],
    ["--log-level", "debug", "--log-format", "json", "--config-id", "node2"],
    ["--config-id", "", "--only", "ipvs"],
]
NOT_PLAIN_DAEMONS = [
    ["-fa.conf"],
    ["--file=a.conf"],
    ["--run", "/run/x"],
    ["-f"],
    ["-f", "-"],
    ["-f", "--run-dir", "/run/x"],
    ["--only", "both"],
    ["--log-level", "loud"],
    ["--command", "status"],
    ["a.conf"],
    ["--help"],
]


@pytest.mark.parametrize("words", PLAIN_DAEMONS)
def test_a_daemon_with_plain_options_is_read_as_argparse_reads_it(words: list[str]) -> None:
    quick, whole = run.quick(words), parser.parse(["run", *words])
    assert quick is not None
    assert whole is not None
    assert vars(quick) == vars(whole)


@pytest.mark.parametrize("words", NOT_PLAIN_DAEMONS)
def test_a_daemon_with_other_words_is_left_to_argparse(words: list[str]) -> None:
    assert run.quick(words) is None


def test_the_words_of_a_daemon_are_read_without_what_only_its_help_needs() -> None:
    program = (
        "import sys\n"
        "from fastvrrp.cli.parser import parse\n"
        "assert parse(['run', '-f', '/nonexistent']) is not None\n"
        "print(sorted({'shutil', 'bz2', 'lzma'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_help_is_as_wide_as_it_is_asked_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def options(columns: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", columns)
        _, _, rest = fastvrrp("run", "--help").stdout.partition("options:")
        return rest.partition("examples:")[0].splitlines()

    narrow, wide = options("60"), options("200")
    assert max(map(len, narrow)) <= 58
    assert 100 < max(map(len, wide)) <= 198
    assert len(narrow) > len(wide)
    for odd in ("", "wide", "0"):  # not a terminal: 80 are assumed
        assert 60 < max(map(len, options(odd))) <= 78


def test_version() -> None:
    done = fastvrrp("--version")
    assert (done.returncode, done.stdout) == (0, f"fastvrrp {__version__}\n")


def test_without_a_command_there_is_help() -> None:
    done = fastvrrp()
    assert done.returncode == 0
    assert "examples:" in done.stdout


@pytest.mark.parametrize(
    ("word", "meant"),
    [("stauts", "status"), ("relaod", "reload"), ("rnu", "run"), ("chek", "check")],
)
def test_did_you_mean(word: str, meant: str) -> None:
    done = fastvrrp(word)
    assert done.returncode == 2
    assert f"unknown command '{word}'; did you mean `{meant}`?" in done.stderr


def test_a_word_that_resembles_nothing() -> None:
    done = fastvrrp("xyzzyx", "--json")
    assert done.returncode == 2
    assert "there are run, check, status" in done.stderr


def test_convert_there_and_back(tmp_path: Path) -> None:
    conf, native = tmp_path / "k.conf", tmp_path / "f.yaml"
    conf.write_text(
        "vrrp_instance V {\n interface eth0\n virtual_router_id 1\n prio 5\n"
        " virtual_ipaddress {\n 10.0.0.1/24\n }\n}\n"
    )
    done = fastvrrp("convert", str(conf), "--to", "yaml")
    assert done.returncode == 1
    assert f"{conf}:4:2: warning: not converted: unknown keyword 'prio'" in done.stderr
    conf.write_text(conf.read_text().replace("prio 5", "priority 5"))
    done = fastvrrp("convert", str(conf), "--to", "yaml")
    assert (done.returncode, done.stderr) == (0, "")
    native.write_text(done.stdout)
    assert "priority: 5" in done.stdout
    done = fastvrrp("convert", str(native), "--to", "keepalived")
    assert (done.returncode, done.stderr) == (0, "")
    assert "priority 5" in done.stdout


def test_wrong_options_are_usage_errors() -> None:
    done = fastvrrp("run", "--log-level", "loud")
    assert done.returncode == 2
    assert "'debug', 'info', 'warning', 'error'" in done.stderr


def test_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "NATIVE", tmp_path / "fastvrrp.yaml")
    assert run.default_file() == Path("/etc/keepalived/keepalived.conf")
    (tmp_path / "fastvrrp.yaml").write_text("")
    assert run.default_file() == tmp_path / "fastvrrp.yaml"


def test_run_refuses_a_bad_file(tmp_path: Path) -> None:
    file = tmp_path / "bad.conf"
    file.write_text("vrrp_instance V {\n    interfaec eth0\n}\n")
    done = fastvrrp("run", "-f", str(file), "--run-dir", str(tmp_path / "run"))
    assert done.returncode == 1
    assert f"{file}:2:5: error: " in done.stderr


def test_clean_without_a_run_directory_has_nothing_to_do(tmp_path: Path) -> None:
    done = fastvrrp("clean", "--run-dir", str(tmp_path / "absent"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "absent").exists()


def test_clean_reports_a_journal_it_cannot_trust(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("nonsense")
    (tmp_path / "journal").chmod(0o600)
    done = fastvrrp("clean", "--run-dir", str(tmp_path))
    assert done.returncode == 1
    assert "not a journal" in done.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m fastvrrp run --help | head -c 1 >/dev/null",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------------- against a daemon


def test_status_table(daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    daemon({"status": answering(STATUS)})
    assert invoke(status, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("fastvrrp 0.1.0, process 812, up 2h01m, configuration 3 of ")
    assert lines[2].split() == list(status.COLUMNS)
    assert re.split(r" {2,}", lines[3]) == [
        *("VI_1", "BACKUP", "30m24s", "51", "eth0", "150/100", "192.0.2.2 (120)", "G"),
        "lower priority",
    ]
    assert "script chk: down, used by VI_1" in lines


def test_status_of_one_instance(
    daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon({"status": answering(STATUS)})
    assert invoke(status, tmp_path, "VI_1") == 0
    out = capsys.readouterr().out
    for expected in (
        "VI_1: BACKUP for 30m24s, since 2025-03-01T10:00:03.610Z",
        "why not master:  lower priority",
        "VRID 51, IPv4, VRRPv2, on eth0",
        "base 150, effective 100",
        "192.0.2.2 (120)",
        "advert 1000 ms, master's 1000 ms, skew 414.06 ms, master down 3414.06 ms",
        "192.0.2.100/24 dev eth0: absent",
        "script chk: down (exit status 1), weight -50, effect -50",
        "advert_rcvd                 7",
    ):
        assert expected in out
    assert "advert_sent" not in out


def test_status_as_json_is_what_the_daemon_said(
    daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon({"status": answering(STATUS)})
    assert invoke(status, tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out) == STATUS


def test_status_on_a_terminal_takes_names_literally(daemon: Any, tmp_path: Path) -> None:
    name = "[red]VI[/red]"
    daemon({"status": answering({**STATUS, "instances": [{**INSTANCE, "name": name}]})})
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "fastvrrp", "status", "--run-dir", str(tmp_path)],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    ) as process:
        os.close(theirs)
        out = b""
        try:
            while chunk := os.read(ours, 4096):
                out += chunk
        except OSError:
            pass  # how a pseudo terminal says that nobody writes to it any more
        assert process.wait() == 0
    os.close(ours)
    assert name in out.decode()
    assert b"\x1b[" in out, "colours"


def test_status_while_the_vrrp_process_is_down(
    daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = {
        **DAEMON["vrrp"],
        "state": "down",
        "pid": None,
        "restarts": 4,
        "last_exit": "killed by SIGSEGV",
        "next_start_s": 7.6,
    }
    record = dict.fromkeys(STATUS) | {"daemon": {**DAEMON, "vrrp": down}}
    daemon({"status": answering(record)})
    assert invoke(status, tmp_path) == 3
    out = capsys.readouterr().out
    assert (
        "VRRP process: down, restarted 4 times, last end: killed by SIGSEGV, next start in 8 s"
        in out
    )


def test_status_of_nothing(daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    daemon({"status": answering(STATUS)})
    assert invoke(status, tmp_path, "absent") == 1
    assert capsys.readouterr().err == "fastvrrp: nothing is called absent\n"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"state": "MASTER"}, ""),
        ({"state": "FAULT", "fault": ["link", "script"]}, "link, script"),
        ({"master": {"address": "x", "priority": 100}}, "equal priority, lower address"),
        ({"master": {"address": "x", "priority": 90}}, "does not preempt (yet)"),
        ({"master": None}, "listening for a master"),
        ({"state": "INIT", "master": None}, "starting"),
    ],
)
def test_why_not_master(changes: dict[str, Any], why: str) -> None:
    assert status.why_text({**INSTANCE, **changes}) == why


MESSAGE = {
    "file": "/etc/x.conf",
    "line": 7,
    "column": 5,
    "severity": "error",
    "text": "unknown keyword 'interfaec'",
    "hint": "did you mean interface?",
}


def test_reload_accepted(daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = {"ok": True, "epoch": 4, "changes": ["instance VI_2 added"], "messages": []}
    daemon({"reload": answering({**result, "read_s": 0.314, "apply_s": 0.0271})})
    assert invoke(reload, tmp_path) == 0
    assert capsys.readouterr().out == (
        "reloaded (configuration 4, read in 0.31 s, in effect 0.027 s later)\n"
        "  instance VI_2 added\n"
    )


def test_reload_refused(daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = {"ok": False, "epoch": 3, "changes": [], "messages": [MESSAGE], "error": "1 error"}
    daemon({"reload": answering(result)})
    assert invoke(reload, tmp_path) == 1
    err = capsys.readouterr().err
    assert "/etc/x.conf:7:5: error: unknown keyword 'interfaec'; did you mean interface?\n" in err
    assert "the old configuration stays in effect: 1 error" in err


def test_events_until_the_daemon_stops(daemon: Any, tmp_path: Path) -> None:
    server = daemon({})
    process = subprocess.Popen(
        [sys.executable, "-m", "fastvrrp", "events", "--json", "--run-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    loop = server._server.get_loop()
    record = {"kind": "state", "instance": "V", "from": "BACKUP", "to": "MASTER"}

    async def publish() -> None:
        while not server.subscribers:  # noqa: ASYNC110 (a poll is simplest here)
            await asyncio.sleep(0.01)
        server.publish(record)

    asyncio.run_coroutine_threadsafe(publish(), loop).result(20)
    assert json.loads(process.stdout.readline()) == record
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(5)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert err == "fastvrrp: the daemon stopped\n"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            {"kind": "state", "instance": "V", "from": "BACKUP", "to": "MASTER", "reason": "timer"},
            "V: BACKUP -> MASTER (timer)",
        ),
        (
            {"kind": "group", "group": "G", "from": "INIT", "to": "BACKUP"},
            "group G: INIT -> BACKUP",
        ),
        ({"kind": "priority", "instance": "V", "from": 150, "to": 100}, "V: priority 150 -> 100"),
        (
            {"kind": "master", "instance": "V", "address": "192.0.2.2", "priority": 120},
            "V: follows 192.0.2.2 (priority 120)",
        ),
        ({"kind": "late", "instance": None, "late_ms": 12.5}, "this machine: late by 12.5 ms"),
        (
            {"kind": "tracker", "tracker": "script", "name": "c", "up": False, "detail": "x"},
            "script c is down: x",
        ),
        ({"kind": "reload", "ok": False}, "reload refused"),
        ({"kind": "reload", "ok": True, "changes": []}, "reload: nothing changed"),
        ({"kind": "process", "process": "vrrp", "state": "down"}, "process vrrp: down"),
        ({"kind": "novel", "instance": "V", "a": 1, "b": "x"}, "V: novel a=1 b=x"),
    ],
)
def test_events_in_words(event: dict[str, Any], text: str) -> None:
    assert events.describe({"time": "T", **event}) == f"T  {text}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.254, "0.25s"),
        (12.9, "12s"),
        (59.99, "59s"),
        (185, "3m05s"),
        (7620, "2h07m"),
        (356_400, "4d03h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(1000.0, "1000 ms"), (10, "10 ms"), (0.5, "0.5 ms")])
def test_milliseconds(value: float, text: str) -> None:
    assert milliseconds(value) == text
