"""`--config-test` beside the real one: the same exit codes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fastvrrp.compat import main as compat

GOOD = (
    "global_defs {\n dynamic_interfaces\n}\nvrrp_instance A {\n interface nic0\n"
    " virtual_router_id 51\n virtual_ipaddress {\n 192.0.2.1\n }\n}\n"
)
CASES = {
    "good": (GOOD, 0),
    "missing argument": (GOOD.replace("virtual_router_id 51", "virtual_router_id"), 2),
    "unknown keyword": (GOOD.replace("virtual_router_id", "nonsense 1\n virtual_router_id"), 5),
    "script": (GOOD.replace("virtual_router_id", "notify /usr/bin/true\n virtual_router_id"), 6),
    "script that is not there": (
        GOOD.replace("virtual_router_id", "notify /nonexistent/notify.sh\n virtual_router_id"),
        0,
    ),
    "both": (
        GOOD.replace("virtual_router_id", "nonsense 1\n notify /bin/true\n virtual_router_id"),
        6,
    ),
}


@pytest.mark.interop
@pytest.mark.parametrize("name", CASES)
def test_codes(name: str, tmp_path: Path) -> None:
    text, code = CASES[name]
    file = tmp_path / "k.conf"
    file.write_text(text)
    program = shutil.which("keepalived", path="/usr/sbin:/sbin:/usr/bin")
    theirs = subprocess.run([str(program), "-t", "-f", str(file)], capture_output=True, text=True)
    log = tmp_path / "log"
    assert compat.main(["-f", str(file), f"-t{log}"]) == theirs.returncode == code, theirs.stderr
    assert ("error: " in log.read_text()) == (code in (2, 5) or name == "both")


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compat.main(["-t", "-f", str(tmp_path / "none.conf")]) == 4
    assert "none.conf" in capsys.readouterr().err


def test_every_include_is_needed(tmp_path: Path) -> None:
    """-e makes one that matches nothing an error, as `include_check` does."""
    file = tmp_path / "k.conf"
    file.write_text(f"{GOOD}include {tmp_path}/parts/*.conf\n")
    assert compat.main(["-t", "-f", str(file)]) == 0
    assert compat.main(["-t", "-e", "-f", str(file)]) == 5


def test_the_namespace_of_the_command_line(tmp_path: Path) -> None:
    """Interfaces are not looked for here when the daemon will run elsewhere."""
    file = tmp_path / "k.conf"
    file.write_text(GOOD)
    log = tmp_path / "log"
    assert compat.main(["-t", "-s", "blue", "-f", str(file), f"-t{log}"]) == 0
    assert not log.read_text()


@pytest.mark.interop
@pytest.mark.parametrize("pattern", ["*.conf", "{a,b}.conf", "[ab].conf", "b.con?"])
def test_a_pattern(pattern: str, tmp_path: Path) -> None:
    """-f takes what include takes: every file that matches, one after the other."""
    (tmp_path / "a.conf").write_text("global_defs {\n router_id x\n}\n")
    (tmp_path / "b.conf").write_text(CASES["unknown keyword"][0])
    (tmp_path / "c.conf.d").mkdir()
    program = shutil.which("keepalived", path="/usr/sbin:/sbin:/usr/bin")
    words = ["-t", "-f", f"{tmp_path}/{pattern}"]
    theirs = subprocess.run([str(program), *words], capture_output=True, text=True)
    log = tmp_path / "log"
    assert compat.main([*words[1:], f"-t{log}"]) == theirs.returncode == 5
    assert f"{tmp_path}/b.conf:" in theirs.stderr
    assert f"{tmp_path}/b.conf:" in log.read_text()
