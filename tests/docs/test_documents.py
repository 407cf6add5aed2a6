"""Every configuration of the documents loads, every command exists, every link leads somewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from documents import (
    DOCUMENTS,
    ROOT,
    Block,
    anchors,
    blocks,
    commands,
    links,
    without_blocks,
)

from fastvrrp._core import COUNTER_NAMES, FAULT_NAMES
from fastvrrp.cli.commands import COMMANDS
from fastvrrp.cli.main import main
from fastvrrp.cli.parser import parse
from fastvrrp.config.host import FileInfo, SystemHost
from fastvrrp.config.load import load
from fastvrrp.config.model import Account

CONFIGURATIONS = [
    block
    for document in DOCUMENTS
    for language in ("keepalived", "yaml")
    for block in blocks(document, language)
]
COMMAND_LINES = [entry for document in DOCUMENTS for entry in commands(document)]
LINKS = [(document, link) for document in DOCUMENTS for link in links(document)]


class ReadersMachine(SystemHost):
    """A machine as the documents assume it: two interfaces, every program and account there."""

    def interfaces(self) -> frozenset[str]:
        return frozenset(("lo", "eth0", "eth1"))

    def mtu(self, interface: str) -> int:
        return 1500

    def addresses(self) -> None:
        """Not known: the documents use addresses of documentation."""

    def user(self, name: str) -> Account:
        return Account(user=name, uid=990, gid=990)

    def file(self, path: str) -> FileInfo:
        is_program = path.rpartition("/")[0].endswith("bin") and not path.endswith("bin")
        return FileInfo(uid=0, gid=0, mode=0o100755 if is_program else 0o040755)

    def real_path(self, path: str) -> str:
        return path


@pytest.mark.parametrize("node", ["node1", "node2"])
@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_configurations_load_without_a_word(block: Block, node: str, tmp_path: Path) -> None:
    """No error and no warning: what a reader copies must be beyond doubt."""
    file = tmp_path / ("fastvrrp.yaml" if block.language == "yaml" else "keepalived.conf")
    file.write_text(block.text)
    loaded = load(file, config_id=node, host=ReadersMachine())
    assert [str(message) for message in loaded.messages] == []
    assert loaded.configuration is not None
    assert loaded.configuration.vrrp_instances or loaded.configuration.ipvs.virtual_servers


@pytest.mark.parametrize("block", [b for b in CONFIGURATIONS if "@node1" in b.text], ids=str)
def test_both_nodes_of_a_file_fit_together(
    block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fastvrrp check` finds nothing to say against the pair, and node1 is its master."""
    file = tmp_path / "pair.conf"
    file.write_text(block.text)
    code = main(["check", str(file), "--config-id", "node1", "--config-id", "node2"])
    shown = capsys.readouterr()
    assert code == 0
    assert "warning" not in shown.out + shown.err
    assert "they fit together" in shown.out
    for line in shown.out.splitlines():
        if "master is" in line:
            assert "node1" in line.partition("then")[0]


def test_the_readmes_two_files_fit_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = list(blocks(ROOT / "README.md", "keepalived"))
    files = [tmp_path / "node1.conf", tmp_path / "node2.conf"]
    for file, block in zip(files, pair, strict=True):
        file.write_text(block.text)
    assert main(["check", *map(str, files)]) == 0
    assert "they fit together" in capsys.readouterr().out


@pytest.mark.parametrize(("place", "words"), COMMAND_LINES, ids=[p for p, _ in COMMAND_LINES])
def test_commands_exist(place: str, words: list[str]) -> None:
    """The command line's own parser takes what the documents show."""
    chosen = next((word for word in words if not word.startswith("-")), None)
    if chosen == "convert" and "convert" not in COMMANDS:
        text = (ROOT / "docs/keepalived-differences.md").read_text(encoding="utf-8")
        assert "`fastvrrp convert`" in text.partition("## Not built")[2]
        return
    if len(words) == 1 and not words[0].startswith("-"):
        assert words[0] in COMMANDS, place  # the command is only mentioned
        return
    if "--help" in words:
        with pytest.raises(SystemExit, match=r"^0$"):
            parse(words)
        return
    args = parse(words)
    assert args is not None, place
    assert args.command in COMMANDS, place


def test_every_command_is_documented() -> None:
    shown = {words[0] for _, words in COMMAND_LINES if words}
    assert set(COMMANDS) <= shown


@pytest.mark.parametrize(("document", "link"), LINKS, ids=[f"{d.name}: {k}" for d, k in LINKS])
def test_links_resolve(document: Path, link: str) -> None:
    if link.startswith(("http://", "https://")):
        return
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    assert target.exists()
    assert target.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(target)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = {
        line.split()[1]
        for document in DOCUMENTS
        for block in blocks(document, "sh")
        for line in block.text.splitlines()
        if line.startswith("make ")
    }
    assert {"demo", "test"} <= shown
    assert all(f"\n{target}:" in makefile for target in shown)


def test_fault_reasons_are_explained() -> None:
    """Each reason that status can show has its row in the guide, and no other has."""
    guide = (ROOT / "docs/user-guide.md").read_text(encoding="utf-8")
    section = guide.partition("### Reasons for FAULT")[2].partition("\n### ")[0]
    rows = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    assert rows == set(FAULT_NAMES.values())


def test_counters_of_the_guide_exist() -> None:
    guide = without_blocks(ROOT / "docs/user-guide.md")
    section = guide.partition("## Troubleshooting")[2].partition("### Nothing moves")[0]
    named = {word for word in section.split("`") if word.endswith(("_err", "_rcvd", "_failure"))}
    assert len(named) > 5
    assert named <= set(COUNTER_NAMES)


def test_keyword_list_is_up_to_date() -> None:
    """docs/keepalived-differences.md lists the keywords without effect as the table has them."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/keyword-effects"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_the_example_loads_without_a_word(node: str) -> None:
    loaded = load(ROOT / "docs/examples/fastvrrp.yaml", config_id=node, host=ReadersMachine())
    assert [str(message) for message in loaded.messages] == []
    assert loaded.configuration is not None
    assert len(loaded.configuration.vrrp_instances) == 51
    priorities = {instance.priority for instance in loaded.configuration.vrrp_instances}
    assert priorities == {150 if node == "node1" else 100}


def test_keyword_page_is_up_to_date() -> None:
    """docs/keywords.md has every keyword, with a status and a test."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/keyword-reference"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
