"""What a reload knows of blocks depends on the lines above them, and on how many there are that are
alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from config_reading import Reader, instance
from remembering import after, first
from servers_reading import real, virtual

from fastvrrp.config import index
from fastvrrp.config.memory import Last, digest
from fastvrrp.config.text import Texts

pytestmark = pytest.mark.computing

START = "global_defs {\nenable_script_security\nscript_user root\n}\n"
TRACKING = instance("track_script {\nS\n}")
SCRIPT = "vrrp_script S {\nscript /bin/true\n}\n"


@pytest.mark.parametrize(
    "line", ['include "x.conf"', "include x.conf # mine", "@r1 include x.conf"]
)
def test_an_include_of_blocks_that_are_known(read: Reader, line: str) -> None:
    """What these use was not asked for while the line was read."""
    read.file("x.conf", 'vrrp_script S {\nscript "/bin/true ${P}"\n}\n')
    text = f"$P=1\n{START}{line}\n{TRACKING}"
    held = after(read, text, after(read, text, None).held).held
    assert after(read, text, held).blocks == {}
    assert after(read, text.replace("$P=1", "$P=2"), held).blocks == {"vrrp_script": 1}


@pytest.mark.parametrize(
    "between",
    ["$X=5", "@r1 $X=5", "include x.conf", "$Y= \\\n# x \\\nweight 4\n$X=5", "# x\n\n$X=5"],
)
def test_a_definition_above_the_brace(read: Reader, between: str) -> None:
    """It is made each time."""
    read.file("x.conf", "$X=5\n")
    text = f"$X=4\n{START}{SCRIPT}".replace("S {", f"S\n{between}\n{{", 1)
    text += 'vrrp_script S2 {\nscript "/bin/true ${X}"\n}\n'
    text += instance("track_script {\nS\nS2\n}")
    held = first(read, text)
    again = after(read, text, held)
    after(read, text.replace("X=5", "X=6"), again.held)


def test_a_name_above_the_brace(read: Reader) -> None:
    """It means nothing until there is a parameter."""
    text = START + instance().replace("V {", "V$P\n\n# x\n{", 1)
    held = first(read, text)
    assert after(read, f"\n{text}", held).blocks == {"vrrp_instance": 1}
    assert after(read, f"$P=1\n{text}", held).blocks == {"vrrp_instance": 1}


def test_a_file_that_comes_while_others_are_read(
    read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not read, so nothing is known of it."""
    read.file("d/a.inc", "priority 7\n")
    before = Texts.read

    def reads(self: Texts, path: Path, *how: Any) -> bytes | None:
        if path.name == "a.inc":
            read.file("d/b.inc", "advert_int 3\n")
        return before(self, path, *how)

    with monkeypatch.context() as patch:
        patch.setattr(Texts, "read", reads)
        held = first(read, START + instance("include d/*.inc"))
    found = after(read, read.path.read_text(), held)
    assert found.blocks == {"vrrp_instance": 1}


def test_a_place_in_another_file(read: Reader) -> None:
    """A message about a block names it, and it moves."""
    template = "$T= \\\nreal_server 10.0.0.5 80 { \\\n}\n"
    read.file("t.conf", template)
    text = f"{START}include t.conf\n" + virtual("$T", real(at="10.0.0.5 80"))
    held = first(read, text)
    (message,) = after(read, text, held).messages
    assert message.hint.endswith("t.conf:2")
    read.file("t.conf", f"# more\n{template}")
    (message,) = after(read, text, held).messages
    assert message.hint.endswith("t.conf:3")


def test_what_is_kept_has_changed(read: Reader) -> None:
    """Nothing that somebody else wrote there, or a bit that fell over, gets into a configuration or
    ends the reader: it counts as nothing."""
    text = START + SCRIPT + TRACKING + virtual(real())
    kept = first(read, text).last()
    assert Last.of(kept) is not None
    for at in range(len(kept)):
        changed = bytearray(kept)
        changed[at] ^= 1 << at % 8
        assert Last.of(changed) is None, at
        assert Last.of(kept[:at]) is None


ALIKE = {
    "one line": "static_ipaddress {{\n10.0.{0}.1 dev eth0\n}}\n",
    "one text": "$N={0}\nstatic_ipaddress {{\n10.0.0.${{N}} dev eth0\n}}\n",
}


@pytest.mark.parametrize("alike", ALIKE.values(), ids=ALIKE)
def test_many_blocks_that_begin_alike(
    read: Reader, monkeypatch: pytest.MonkeyPatch, alike: str
) -> None:
    """None is compared with all others."""
    looked_at = 0

    def counted(data: bytes) -> bytes:
        nonlocal looked_at
        looked_at += 1
        return digest(data)

    monkeypatch.setattr(index, "digest", counted)
    text = START + "".join(alike.format(number) for number in range(1, 200))
    held = first(read, text)
    assert after(read, f"# more\n{text}", held).blocks == {}
    assert 0 < looked_at <= 3 * 200
    last = text.replace("10.0.199.1", "10.1.199.1").replace("10.0.1.199", "10.1.1.199")
    assert after(read, last.replace("$N=199", "$N=200"), held).blocks == {"static_ipaddress": 1}


def test_blocks_of_many_lengths_that_begin_alike(read: Reader) -> None:
    """What is not remembered is read."""
    text = START + "".join(
        f"static_ipaddress {{\n10.0.0.{n} dev eth0\n#{'x' * 9 * n}\n}}\n" for n in range(1, 200)
    )
    held = first(read, text)
    again = after(read, text, held)
    assert 0 < again.blocks["static_ipaddress"] < 100
    assert after(read, text, again.held).blocks == again.blocks
