"""What the checker says to somebody who is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastvrrp.cli.commands import COMMANDS
from fastvrrp.cli.main import main
from fastvrrp.config.host import OtherHost
from fastvrrp.config.load import load
from fastvrrp.words import counted

INSTANCE = (
    "vrrp_instance V {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress { 192.0.2.1 }\n"
)


def said(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "k.conf"
    path.write_text(text)
    messages = load(path, config_id="x", environ={}, host=OtherHost()).messages
    return [str(message).replace(f"{path}:", "") for message in messages]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "global_defs {\npriority 100\n}\n",
            "2:1: error: unknown keyword 'priority'; it belongs into vrrp_instance",
        ),
        (
            INSTANCE + "fall 3\n}\n",
            "5:1: error: unknown keyword 'fall'; it belongs into vrrp_script",
        ),
        (
            INSTANCE + "script_user root\n}\n",
            "5:1: error: unknown keyword 'script_user'; it belongs into global_defs",
        ),
        (
            "global_defs {\nnet_namespace blue\n}\n",
            "2:1: error: unknown keyword 'net_namespace'; "
            "it stands outside all blocks: is a '}' missing above?",
        ),
        ("priority 100\n", "1:1: error: unknown keyword 'priority'; it belongs into vrrp_instance"),
    ],
)
def test_a_keyword_in_the_wrong_place(tmp_path: Path, text: str, message: str) -> None:
    assert message in said(tmp_path, text)


def test_a_missing_brace_is_named_twice(tmp_path: Path) -> None:
    """Where the block begins, and where the next one does."""
    text = INSTANCE + INSTANCE.replace(" V ", " W ") + "}\n"
    assert said(tmp_path, text)[0].startswith("1:1: error: the block vrrp_instance is never closed")
    assert (
        "5:1: error: unknown keyword 'vrrp_instance'; "
        "it stands outside all blocks: is a '}' missing above?" in said(tmp_path, text)
    )


def test_messages_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    """Though instances are judged after all files were read, and errors found at any time."""
    (tmp_path / "a.conf").write_text("vrrp_instance A {\nfrob 1\n}\n")
    text = f"{INSTANCE}track_script {{\nnone\n}}\n}}\nfrob\ninclude a.conf\nglobal_defs {{\nx\n}}\n"
    places = [message.split(": ")[0] for message in said(tmp_path, text)]
    own = [tuple(map(int, p.split(":"))) for p in places if "/" not in p]
    assert own == sorted(own)
    assert len(own) >= 3
    included = [p for p in places if "/" in p]
    assert included
    assert places[-len(included) :] == included


def test_an_address_of_two_instances(tmp_path: Path) -> None:
    other = INSTANCE.replace(" V ", " W ").replace("router_id 1", "router_id 2") + "}\n"
    assert said(tmp_path, INSTANCE + "}\n" + other) == [
        "9:21: warning: W: 192.0.2.1 is an address of V, too; "
        "an address belongs to one virtual router"
    ]
    elsewhere = other.replace("192.0.2.1 ", "192.0.2.1 dev eth1 ")
    assert said(tmp_path, INSTANCE + "}\n" + elsewhere) == []


def test_a_comment_within_a_word(tmp_path: Path) -> None:
    """As in passwords; what is cut off is not shown."""
    lines = "authentication {\nauth_type PASS\nauth_pass can#aryXY\n}\n}#end\n!note\n#note"
    (message,) = said(tmp_path, INSTANCE + lines)
    assert message == (
        "7:14: warning: '#' within a word begins a comment: the rest is not read; "
        "put the word in quotes, or a blank before the comment"
    )
    assert said(tmp_path, INSTANCE + lines.replace("can#ary", '"can#ary').replace("XY", 'X"')) == []


@pytest.mark.parametrize(("value", "is_taken"), [("0", False), ("0.0", False), ("0.000001", True)])
def test_no_pacing_may_be_written_down(tmp_path: Path, value: str, is_taken: bool) -> None:
    """vrrp_garp_interval 0 stands in the sample file of several distributions; keepalived 2.2.7
    calls it invalid, and paces nothing."""
    lines = f"vrrp_garp_interval {value}\nvrrp_gna_interval {value}\n"
    found = said(tmp_path, f"global_defs {{\n{lines}}}\n{INSTANCE}}}\n")
    places = [line.partition(" is not a time")[0] for line in found]
    told = ["2:20: warning: vrrp_garp_interval", "3:19: warning: vrrp_gna_interval"]
    assert places == ([] if is_taken else told)


def test_numbers_have_their_nouns() -> None:
    assert [counted(n, "error") for n in (0, 1, 2)] == ["0 errors", "1 error", "2 errors"]
    assert counted(2, "address", "addresses") == "2 addresses"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-n -l -f k.conf", "fastvrrp: options come behind a command, as in: fastvrrp run -f FILE"),
        ("run -D", "fastvrrp run: error: unknown option -D"),
        ("check -f k.conf", "fastvrrp check: error: unknown option -f"),
        ("run k.conf", "fastvrrp run: error: 'k.conf' is one word too many"),
        ("-t", "fastvrrp: unknown option -t"),
    ],
)
def test_habits_of_keepalived_s_command_line(
    capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    """Each is told with the usage of the command that was meant."""
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == message
    command = line.split()[0]
    assert said[0].startswith(f"usage: fastvrrp {command if command in COMMANDS else '['}")
