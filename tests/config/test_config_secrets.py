"""Passwords appear in no message and in no representation of the model."""

from __future__ import annotations

import itertools
import pprint

import msgspec
import pytest
from config_reading import Reader, instance, texts
from hypothesis import given
from hypothesis import strategies as st

from fastvrrp.config import model
from fastvrrp.config.servers import TlsContext

CANARY = "canaryXY"


@pytest.mark.parametrize(
    "lines",
    [
        f"auth_type PASS\nauth_pass {CANARY}",
        f"auth_type PASS\nauth_pass {CANARY}{CANARY}",
        f"auth_type PASS\nauth_pass {CANARY} {CANARY}",
        f'auth_type PASS\nauth_pass "{CANARY}',
        f"auth_type PASS\nauth_pass '{CANARY}",
        f"auth_type PASS\nauth_pass pa${CANARY}",
        f"auth_type PASS\nauth_pass ${{{CANARY}}}",
        f"auth_type PASS\nauth_pass a}}{CANARY}",
        f"auth_type PASS\nauth_pass a{{{CANARY}",
        f"auth_type PASS\nauth_pass {CANARY} {{",
        f"auth_type PASS\nauth_pass 0}} {CANARY}",
        f"auth_type PASS\nauth_pass 0 }} {CANARY}",
        f"auth_type PASS\nauth_pass 0}} priority {CANARY}",
        f"auth_type PASS\nauth_pass 0}} {CANARY} {{",
        f"auth_type PASS\nauth_pass 0}} }} {CANARY} {{ {CANARY}",
        f"auth_type PASS\nauth_pass 0}} virtual_ipaddress {{ {CANARY} }}",
        f"auth_type PASS\nauth_pass 0}} ${{{CANARY}}} pa${CANARY}",
        f"auth_pas 0}} {CANARY}",
        f"auth_type PASS auth_pass 0}} {CANARY}",
        f"auth_type PASS auth_pass ${{{CANARY}}}",
        f"auth_type PASS auth_pass 0{{${CANARY}",
        f"auth_type PASS auth_pass {CANARY}",
        f"auth_type {CANARY}",
        f"auth_pas {CANARY}",
        f"{CANARY}",
        f"{CANARY} {{\n}}",
        f"auth_type AH\nauth_pass {CANARY}",
        f"auth_pass {CANARY}\x00",
        f"auth_pass {CANARY * 200}",
        f"auth_pass {CANARY}\n}}\nversion 3\nauth_hmac {{\nkey 1 {CANARY}\nactive_key {CANARY}",
    ],
    ids=itertools.count(),
)
def test_messages(read: Reader, lines: str) -> None:
    loaded = read(instance("authentication {", lines, "}"))
    shown = "\n".join(map(str, loaded.messages)) + repr(loaded) + pprint.pformat(loaded)
    assert CANARY not in shown


@pytest.mark.parametrize(
    "lines",
    [
        f"password {CANARY}",
        f"password {CANARY} {CANARY}",
        f'password "{CANARY}',
        f"password pa${CANARY}",
        f"password ${{{CANARY}}}",
        f"password a}}{CANARY}",
        f"password a{{{CANARY}",
        f"password 0 }} {CANARY}",
        f"pasword {CANARY}",
        f"ca /x key {CANARY}",
        f"{CANARY}",
        f"{CANARY} {{\n}}",
        f"password {CANARY}\n}}\nSSL {{\npassword {CANARY}",
    ],
    ids=itertools.count(),
)
def test_messages_of_a_passphrase(read: Reader, lines: str) -> None:
    loaded = read(f"SSL {{\n{lines}\n}}\n")
    shown = "\n".join(map(str, loaded.messages)) + repr(loaded) + pprint.pformat(loaded)
    assert CANARY not in shown


def test_the_model_hides_and_keeps_a_passphrase(read: Reader) -> None:
    loaded = read(f"SSL {{\npassword {CANARY}\nkey /k\n}}\n")
    assert loaded.configuration is not None
    found = loaded.configuration.ipvs.tls
    assert found.password == CANARY
    assert repr(found) == "TlsContext(password='***', ca=None, certificate=None, key='/k')"
    assert dict(found.__rich_repr__())["password"] == "***"
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=TlsContext)
    assert decoded == found


PIECES = ["{", "}", " ", "0", '"', "$", "${", "#", "\\", "auth_pass", "@r1 ", "~SEQ(", "priority"]


@given(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=12),
        st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    ),
    st.sampled_from(["auth_pass ", "auth_type PASS auth_pass ", "auth_pas ", "auth_pass x"]),
)
def test_any_text_around_a_password(
    tmp_path_factory: pytest.TempPathFactory, text: str, keyword: str
) -> None:
    read = Reader(tmp_path_factory.mktemp("c"))
    for line in (f"{keyword}{CANARY}{text}{CANARY}", f"{keyword}{text} {CANARY}"):
        loaded = read(instance("authentication {", "auth_type PASS", line, "}"))
        assert CANARY not in repr(loaded)


def test_a_statement_behind_a_secret_is_read(read: Reader) -> None:
    found = read.one("authentication {", "auth_type PASS", "auth_pass x } priority 5")
    assert (found.auth_pass.rstrip(b"\0"), found.priority) == (b"x", 5)


def test_a_mistake_behind_a_secret_has_its_place(read: Reader) -> None:
    block = instance("authentication {", "auth_type PASS", "auth_pass 0} frob", "frob")
    assert [text for text in texts(read(block)) if "error" in text][:2] == [
        "9:14: error: a mistake behind a secret on the same line, of which nothing is shown; "
        "put the secret in quotes, and what follows on a line of its own",
        "10:1: error: unknown keyword 'frob'; remove or correct it",
    ]
    assert "unknown keyword 'frob'" in texts(read("track_file F { file /a } frob\n"))[1]


def test_the_model_hides_it_and_keeps_it(read: Reader) -> None:
    found = read.one("authentication {", "auth_type PASS", f"auth_pass {CANARY}", "}")
    assert found.auth_pass == CANARY.encode()
    assert CANARY not in repr(found)
    assert CANARY not in str(found)
    assert CANARY not in f"{found}"
    assert "auth_pass='***'" in repr(found)
    assert dict(found.__rich_repr__())["auth_pass"] == "***"
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=model.VrrpInstance)
    assert decoded == found
    assert decoded.auth_pass == CANARY.encode()


def test_other_routers_do_not_see_it(read: Reader) -> None:
    from fastvrrp.config.cross import Router, check_routers

    routers = []
    for name, secret in (("a", CANARY), ("b", "other")):
        block = f"authentication {{\nauth_type PASS\nauth_pass {secret}\n}}"
        loaded = read(instance(block, f"priority {100 + len(secret)}"))
        assert loaded.configuration is not None
        routers.append(Router(name, loaded.configuration))
    (message,) = check_routers(routers)
    assert "the authentication differs" in message.text
    assert CANARY not in repr(message)
