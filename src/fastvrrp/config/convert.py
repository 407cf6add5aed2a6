"""From one format of configuration files to the other, and the proof that both say the same."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from fastvrrp.config.comments import Carrier, Comment, conf_comments, conf_nodes
from fastvrrp.config.conftext import ConfText
from fastvrrp.config.diagnostics import Diagnostics, TooManyErrors, in_order
from fastvrrp.config.files import YAML_SUFFIXES
from fastvrrp.config.host import HostInfo, OtherHost
from fastvrrp.config.load import load, statements
from fastvrrp.config.model import Loaded, Message, Position, Severity
from fastvrrp.config.native.lift import Lifter
from fastvrrp.config.native.remarks import yaml_comments, yaml_nodes
from fastvrrp.config.native.shorten import shortened
from fastvrrp.config.native.text import yaml_text
from fastvrrp.config.node import Node
from fastvrrp.config.text import Texts

SUFFIXES = {"yaml": ".yaml", "keepalived": ".conf"}
NODES_MAX = 32  # other routers whose comments are told apart: each means reading the files again
_PLACES = frozenset(("position", "source_files"))


class Converted(NamedTuple):
    """A text in the other format.

    messages    about the file that was read, and what of it is not in the text
    difference  where the text means something else, "" if it means the same
    """

    text: str
    messages: tuple[Message, ...]
    difference: str
    is_valid: bool


def convert(
    path: Path,
    to: str,
    *,
    host: HostInfo | None = None,
    config_id: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Converted:
    """Convert a file to "yaml" or "keepalived".

    Without a `host` this machine's interfaces, accounts and scripts are not looked at. The result
    is read back and compared.
    """
    host = host or OtherHost()
    before = load(path, config_id=config_id, environ=environ, host=host)
    diagnostics = Diagnostics()
    text = ""
    root: list[Node] = []
    try:
        root = statements(path, Diagnostics(), host=host, config_id=config_id, environ=environ)
        if to == "yaml":
            text = yaml_text(shortened(Lifter(diagnostics, host).lift(root)))
        else:
            text = ConfText(diagnostics).text(root)
    except TooManyErrors:
        pass  # `before` has said it
    after = _read_back(text, to, host)
    files = before.configuration.source_files if before.configuration is not None else ()
    if files and after.configuration is not None:
        read = functools.partial(statements, path, host=host, environ=environ)
        carrier = _comments(text, to, host, root, files, read)
        if carrier.has_comments:
            remarked = _remarked(carrier, to, host, after)
            if not remarked:
                at = Position(file=files[0], line=1)
                what = "not converted: comments, which would change the result"
                diagnostics.add(at, Severity.WARNING, what, "they are left out")
            text = remarked or text
    messages = in_order((*before.messages, *diagnostics.messages), files)
    return Converted(
        text, tuple(dict.fromkeys(messages)), difference(before, after), bool(before.configuration)
    )


@contextlib.contextmanager
def _written(text: str, to: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fastvrrp-convert-") as directory:
        file = Path(directory) / f"converted{SUFFIXES[to]}"
        file.touch(mode=0o600)
        file.write_text(text, "utf-8")
        yield file


def _read_back(text: str, to: str, host: HostInfo) -> Loaded:
    with _written(text, to) as file:
        return load(file, config_id="", environ={}, host=host)


def _comments(
    text: str,
    to: str,
    host: HostInfo,
    source: Iterable[Node],
    files: Iterable[str],
    read: Callable[..., list[Node]],
) -> Carrier:
    """Those of the files, for the result that was made of them; `read` says what the files say to
    another router."""
    with _written(text, to) as file:
        result = statements(file, Diagnostics(), host=host, config_id="", environ={})
    found: dict[str, list[Comment]] = {}
    nodes: dict[str, None] = {}
    texts = Texts(Diagnostics())  # what is wrong with them has been said
    for name in files:
        data = texts.content(Path(name))
        if data is None:
            continue  # it was there a moment ago
        content = texts.decoded(data, name)
        comments = yaml_comments if _is_yaml(name) else conf_comments
        found[name] = list(comments(content))
        if found[name]:
            nodes |= dict.fromkeys((yaml_nodes if _is_yaml(name) else conf_nodes)(content))
    others: list[tuple[str, list[Node]]] = []
    for node in ["", *nodes][: NODES_MAX + 1] if nodes else []:
        with contextlib.suppress(TooManyErrors):
            others.append((node, read(Diagnostics(), config_id=node)))
    carrier = Carrier(source, result, text, others)
    for name, remarks in found.items():
        carrier.add(name, remarks, has_parts=_is_yaml(name))
    return carrier


def _is_yaml(name: str) -> bool:
    return Path(name).suffix in YAML_SUFFIXES


def _remarked(carrier: Carrier, to: str, host: HostInfo, after: Loaded) -> str:
    """The result with comments, if it still says the same; "" if not."""
    for behind in (True, False):
        text = carrier.text(behind=behind)
        again = _read_back(text, to, host)
        if again.configuration is not None and difference(after, again) == "":
            return text
    return ""


def difference(one: Loaded, other: Loaded) -> str:
    """Where the second configuration says something else than the first one; "" if nowhere. No
    value is shown, because it may be a secret."""
    if one.configuration is None:
        return ""
    if other.configuration is None:
        at = other.errors[0]
        return f"line {at.position.line} of the result: {at.text}"
    return _first(_plain(one.configuration), _plain(other.configuration), "")


def _plain(value: Any) -> Any:
    """A model as plain data without places."""
    return _without_places(msgspec.to_builtins(value, enc_hook=tuple))


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_places(v) for k, v in value.items() if k not in _PLACES}
    if isinstance(value, (list, tuple)):
        return [_without_places(item) for item in value]
    return value


def _first(one: Any, other: Any, path: str) -> str:
    """The path of the first difference."""
    if one == other:
        return ""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            found = _first(one.get(key), other.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            name = left.get("name", index) if isinstance(left, dict) else index
            found = _first(left, right, f"{path}[{name}]")
            if found:
                return found
    return path
