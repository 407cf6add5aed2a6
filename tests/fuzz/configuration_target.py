"""Whatever a configuration file holds.

`fuzz_configuration(data)` raises when reading it raises, when a refused file has no error that
says where, or when an accepted one does not survive the way to the child. The seeds are the
configurations that the operators' tests run with, and those of the tests' texts.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from fastvrrp.config.load import load
from fastvrrp.config.model import Configuration, Severity

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "config"), str(TESTS)]

from config_reading import FakeHost  # noqa: E402

import keepalived_text  # noqa: E402

LONGEST = 20_000
_scratch = tempfile.TemporaryDirectory(prefix="fastvrrp-fuzz")
_path = Path(_scratch.name) / "k.conf"


def seeds() -> list[bytes]:
    files = sorted((TESTS / "operator" / "files").rglob("*.conf"))
    return [
        keepalived_text.instance().encode(),
        keepalived_text.instance(version=2, advert_int=1, state="MASTER").encode(),
        *(file.read_bytes() for file in files),
    ]


def fuzz_configuration(data: bytes) -> None:
    # a file may name any other; what is on this machine is not the question here
    _path.write_bytes(data[:LONGEST].replace(b"include", b"exclude"))
    loaded = load(_path, config_id="r1", environ={}, host=FakeHost())
    errors = [message for message in loaded.messages if message.severity is Severity.ERROR]
    assert (loaded.configuration is None) == bool(errors), errors
    for message in loaded.messages:
        assert message.text
        assert "\n" not in message.text
        if message.position is not None:
            assert message.position.line >= 1
            assert message.position.column >= 1
    if loaded.configuration is not None:
        sent = msgspec.msgpack.encode(loaded.configuration, enc_hook=tuple)
        assert msgspec.msgpack.decode(sent, type=Configuration) == loaded.configuration
