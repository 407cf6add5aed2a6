"""Trees of YAML entries as they are kept for the next load, which need not parse their text then.

Lines count from the first one of the entry, wherever that is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fastvrrp.config.native.document import Mapping, Pair, Scalar, Sequence, Yaml
from fastvrrp.config.statements import Elsewhere

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def packed(node: Yaml, file: str, lines: range) -> bytes:
    """Raises Elsewhere if something of it is not in these lines."""

    def parts(node: Yaml) -> Any:
        if node.line not in lines or node.file != file:
            raise Elsewhere
        place = node.line - lines.start, node.column
        if isinstance(node, Scalar):
            return (*place, node.text, node.is_plain)
        if isinstance(node, Sequence):
            return (*place, [parts(item) for item in node.items])
        pairs = node.pairs.values()
        return (*place, [(parts(key), parts(value)) for key, value in pairs], None, None)

    return _encode(parts(node))


def unpacked(data: bytes, file: str, line: int) -> Yaml:
    """The tree of an entry that begins there now."""

    def made(parts: Any) -> Yaml:
        below, column, content = parts[:3]
        if len(parts) == 4:
            return Scalar(content, file, line + below, column, parts[3])
        if len(parts) == 3:
            return Sequence(file, line + below, column, [made(item) for item in content])
        pairs = {key[2]: Pair(_scalar(key), made(value)) for key, value in content}
        return Mapping(file, line + below, column, pairs)

    def _scalar(parts: Any) -> Scalar:
        below, column, text, is_plain = parts
        return Scalar(text, file, line + below, column, is_plain)

    return made(_decode(data))
