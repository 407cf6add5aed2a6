"""Readers of arguments that only the load balancer's keywords have. See readers.py."""

from __future__ import annotations

from collections.abc import Sequence

from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.keywords import Keyword, int_range
from fastvrrp.config.node import Node
from fastvrrp.config.readers import Reader, argument, replaced
from fastvrrp.config.servers import Forwarding, Timeouts
from fastvrrp.config.values import canonical, integer, within

METHODS = ("NAT", "DR", "TUN")
TUNNELS = ("ipip", "gue", "gre")
CHECKSUMS = ("nocsum", "csum", "remcsum")
TUNNEL_WORDS = ("type", "port", *CHECKSUMS)
DIGEST_BYTES = 16  # MD5
PERSISTENCE_S = 360  # persistence_timeout without a number
LABEL_BYTES_MAX = 63  # RFC 1035 2.3.4
NAME_BYTES_MAX = 253
_HEX = frozenset("0123456789abcdefABCDEF")
REGEX_OPTIONS = (
    "allow_empty_class",
    "alt_bsux",
    "alt_circumflex",
    "alt_verbnames",
    "auto_callout",
    "caseless",
    "dollar_endonly",
    "dotall",
    "dupnames",
    "extended",
    "firstline",
    "match_unset_backref",
    "multiline",
    "never_backslash_c",
    "never_ucp",
    "never_utf",
    "no_auto_capture",
    "no_auto_possess",
    "no_dotstar_anchor",
    "no_start_optimize",
    "ucp",
    "ungreedy",
    "use_offset_limit",
    "utf",
)


def _forwarding(context: Context, node: Node, keyword: Keyword) -> Forwarding | None:
    """METHOD [type TUNNEL] [port N] [CHECKSUM]; an error where packets would go another way."""
    words = node.words
    if len(words) < 2:
        context.missing(node, keyword)
        return None
    if words[1] not in METHODS:
        context.unknown(node, "forwarding method", METHODS, word=1)
        return None
    found = _tunnel(context, node)
    if found is None and context.is_tolerant:
        found = Forwarding(method="TUN")  # by NAT packets would go another way altogether
    if words[1] != "TUN" and found is not None:
        if len(words) > 2:
            text = f"{words[1]} has no tunnel, its options are ignored"
            context.warning(node, text, "remove them, or write TUN", word=2)
        return Forwarding(method=words[1])
    return found


def _tunnel(context: Context, node: Node) -> Forwarding | None:
    """The options of a tunnel; None where one is wrong, or they do not go together."""
    words = node.words
    tunnel, port, checksum = "ipip", 0, "nocsum"
    index = 2
    while index < len(words):
        word = words[index]
        if word in CHECKSUMS:
            checksum = word
        elif word not in TUNNEL_WORDS:
            _wrong_word(context, node, "tunnel option", TUNNEL_WORDS, index)
            return None
        elif index + 1 == len(words):
            context.error(node, f"{word} needs a value", f"write {word} VALUE", word=index)
            return None
        elif word == "type":
            index += 1
            tunnel = words[index]
            if tunnel not in TUNNELS:
                _wrong_word(context, node, "tunnel type", TUNNELS, index)
                return None
        else:
            index += 1
            number = within(words[index], 1, 65535)
            if number is None:
                text = f"{shown(words[index])} is not a port"
                _wrong(context, node, text, "write 1 to 65535", index)
                return None
            port = number
        index += 1
    found = Forwarding(method="TUN", tunnel=tunnel, tunnel_port=port, checksum=checksum)
    if words[1] != "TUN":
        return found
    problem = hint = ""
    if (tunnel == "gue") != bool(port):
        problem = "a gue tunnel needs a port, others have none"
        hint = "write type gue port N" if tunnel == "gue" else "remove port"
    elif tunnel == "ipip" and checksum != "nocsum":
        problem, hint = "ipip tunnels have no checksum", f"remove {checksum}"
    elif tunnel == "gre" and checksum == "remcsum":
        problem, hint = "gre tunnels have no remote checksum", "write csum or nocsum"
    if problem:
        _wrong(context, node, problem, hint, 1)
        return None
    return found


def _wrong(context: Context, node: Node, text: str, hint: str, word: int) -> None:
    """An option of a tunnel that costs all of them, or where nothing is tolerated the method."""
    if context.is_tolerant:
        context.warning(node, f"{text}, no option is used", hint, word=word)
    else:
        context.error(node, text, hint, word=word)


def _wrong_word(context: Context, node: Node, what: str, known: Sequence[str], word: int) -> None:
    text = shown(node.words[word])
    hint = suggestion(node.words[word], known) or f"known: {', '.join(known)}"
    _wrong(context, node, f"unknown {what} {text}", hint, word)


def _granularity(context: Context, node: Node, keyword: Keyword) -> tuple[int, int] | None:
    """Prefix length and family; family 0 where it was written as a number."""
    text = argument(context, node, keyword)
    if text is None:
        return None
    number = within(text.removeprefix("/"), 0, 128)
    if number is not None:
        return number, 0
    mask, family = canonical(text)
    if family == 4:
        bits = "".join(f"{int(part):08b}" for part in mask.split("."))
        if "01" not in bits:
            return bits.count("1"), 4
    context.error(
        node,
        f"{keyword.keyword} is not a netmask: {shown(text)}",
        "write a netmask like 255.255.255.0, or a prefix length",
        word=1,
    )
    return None


def _status_codes(
    context: Context, node: Node, keyword: Keyword
) -> tuple[tuple[int, int], ...] | None:
    """N or A-B, several; what is none is an error, because the page would count as wrong."""
    if len(node.words) == 1:
        context.missing(node, keyword)
        return None
    low, high = int_range(keyword.range)
    ranges = []
    for index, word in enumerate(node.words[1:], 1):
        first, dash, last = word.partition("-")
        begin = within(first, low, high)
        end = within(last, low, high) if dash else begin
        if begin is None or end is None or begin > end:
            context.error(
                node,
                f"{shown(word)} is not a status code",
                f"write N or FIRST-LAST, {low} to {high}",
                word=index,
            )
            return None
        ranges.append((begin, end))
    return tuple(ranges)


def _digest(context: Context, node: Node, keyword: Keyword) -> bytes | None:
    text = argument(context, node, keyword)
    if text is None:
        return None
    if len(text) != 2 * DIGEST_BYTES or not _HEX.issuperset(text):
        context.error(
            node,
            f"{keyword.keyword} is not an MD5 digest: {shown(text)}",
            f"write the {2 * DIGEST_BYTES} hexadecimal digits that fastvrrp genhash prints",
            word=1,
        )
        return None
    return bytes.fromhex(text)


def _regex_options(context: Context, node: Node, keyword: Keyword) -> tuple[str, ...] | None:
    """Words of PCRE2."""
    if len(node.words) == 1:
        context.missing(node, keyword)
        return None
    for index, word in enumerate(node.words[1:], 1):
        if word in REGEX_OPTIONS:
            continue
        if node.is_native:
            context.unknown(node, "option", REGEX_OPTIONS, word=index)
            return None
        hint = suggestion(word, REGEX_OPTIONS) or "remove it"
        text = f"unknown option {shown(word)}, the pattern is used without it"
        context.warning(node, text, hint, word=index)
    return tuple([word for word in node.words[1:] if word in REGEX_OPTIONS])


def _octets(words: Sequence[str]) -> tuple[bytes, bytes] | None:
    """Bytes and which of their bits count, or None. A word ends a byte: `1 ff` is 01 ff."""
    data, mask = bytearray(), bytearray()
    for word in words:
        for part in word.split():
            for start in range(0, len(part), 2):
                byte = bits = 0
                for digit in part[start : start + 2]:
                    is_any = digit in "xX"
                    if not is_any and digit not in _HEX:
                        return None
                    byte = byte << 4 | (0 if is_any else int(digit, 16))
                    bits = bits << 4 | (0 if is_any else 15)
                if len(part) == start + 1:
                    bits |= 0xF0
                data.append(byte)
                mask.append(bits)
    return bytes(data), bytes(mask)


def _payload(context: Context, node: Node, keyword: Keyword) -> bytes | None:
    """Hexadecimal digits, blanks between bytes are possible."""
    if len(node.words) == 1:
        context.missing(node, keyword)
        return None
    found = _octets(node.words[1:])
    if found is None or any(bits != 0xFF for bits in found[1]):
        context.error(
            node,
            f"{keyword.keyword} is not hexadecimal: {shown(' '.join(node.words[1:]))}",
            "write pairs of the digits 0 to 9 and a to f",
            word=1,
        )
        return None
    return found[0]


def _reply(context: Context, node: Node, keyword: Keyword) -> tuple[bytes, bytes] | None:
    """The bytes of an answer and the bits of them that count; empty: any answer."""
    found = _octets(node.words[1:])
    if found is None:
        context.error(
            node,
            f"{keyword.keyword} is not hexadecimal: {shown(' '.join(node.words[1:]))}",
            "write pairs of the digits 0 to 9 and a to f, x for what may be anything",
            word=1,
        )
    return found


def _dns_name(context: Context, node: Node, keyword: Keyword) -> str | None:
    text = argument(context, node, keyword)
    if text is None:
        return None
    if text == ".":
        return text
    labels = text.removesuffix(".").split(".")
    sizes = [len(label.encode()) for label in labels]
    if min(sizes) == 0 or max(sizes) > LABEL_BYTES_MAX or sum(sizes) > NAME_BYTES_MAX:
        want = f"write labels of 1 to {LABEL_BYTES_MAX} bytes with dots between them"
        replaced(context, node, keyword, f"is not a name of the DNS: {shown(text)}", want)
        return None
    return text


def _timeouts(context: Context, node: Node, keyword: Keyword) -> Timeouts | None:
    """[tcp S] [tcpfin S] [udp S]."""
    low, high = int_range(keyword.range)
    known = ("tcp", "tcpfin", "udp")
    if len(node.words) < 3:
        context.error(node, f"{keyword.keyword} needs a value", f"write {keyword.syntax}")
        return None
    found: dict[str, int] = {}
    index = 1
    while index < len(node.words):
        word = node.words[index]
        if word not in known:
            context.unknown(node, "option", known, word=index)
            return None
        text = node.words[index + 1] if index + 1 < len(node.words) else ""
        value = within(text, low, high)
        if value is None:
            context.warning(
                node,
                f"{word} is not a number from {low} to {high}: {shown(text)}, ignored",
                f"write {low} to {high} seconds",
                word=index + 1,
            )
        else:
            found[f"{word}_s"] = value
        index += 2
    return Timeouts(**found)


def _persistence(context: Context, node: Node, keyword: Keyword) -> int | None:
    """A number of seconds; without one keepalived's six minutes."""
    if len(node.words) == 1:
        return PERSISTENCE_S
    text = argument(context, node, keyword)
    if text is None:
        return None
    low, high = int_range(keyword.range)
    value = integer(text)
    if value is None or not low <= value <= high:
        want = f"a number from {low} to {high}"
        replaced(context, node, keyword, f"is not {want}: {shown(text)}", f"write {want} (seconds)")
        return None
    return value


LVS_READERS: dict[str, Reader] = {
    "forwarding": _forwarding,
    "granularity": _granularity,
    "persistence": _persistence,
    "status-codes": _status_codes,
    "digest": _digest,
    "regex-options": _regex_options,
    "payload": _payload,
    "reply": _reply,
    "dns-name": _dns_name,
    "timeouts": _timeouts,
}
