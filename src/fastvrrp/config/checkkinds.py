"""The kinds of checkers: each from its block to its model. What they share is in checks.py.

A function here returns the checkers of one block (SMTP_CHECK may have several), or nothing after
an error or where the checker cannot run; then that has been said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from fastvrrp.config.blocks import Entries, get, listed_blocks, read_block
from fastvrrp.config.checks import (
    Draft,
    Settings,
    Surroundings,
    Target,
    check_pace,
    connection,
)
from fastvrrp.config.model import NS_PER_S, TrackFile
from fastvrrp.config.node import Node
from fastvrrp.config.servers import (
    HELO_NAME,
    HTTP_PROTOCOL,
    Check,
    DnsCheck,
    FileCheck,
    HttpCheck,
    MiscCheck,
    PingCheck,
    Regex,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
    Url,
)

REAL_SERVER = "virtual_server/real_server"
HTTP_DELAY_BEFORE_RETRY_NS = 3 * NS_PER_S
DNS_RETRY = 3
UDP_REPLY_BYTES_MAX = 255
_CONNECTION = frozenset(
    ("connect_ip", "connect_port", "bindto", "bind_port", "bind_if", "connect_timeout", "fwmark")
)


class Made(NamedTuple):
    """A checker; for the rest see Draft."""

    check: Check
    has_address: bool = False
    inner: int = -1
    command: int = -1


Build = Callable[[Surroundings, Node, Entries, Target, Settings], Iterator[Made]]


def _drafted(entries: Entries, check: Check, inner: int = -1) -> Made:
    """Of a checker that connects to the real server unless its block says otherwise."""
    return Made(check, "connect_ip" not in entries, inner)


def _tcp(
    around: Surroundings, node: Node, entries: Entries, target: Target, settings: Settings
) -> Iterator[Made]:
    to = connection(around, node, entries, target, settings)
    if to is not None:
        schedule = settings.schedule(retry=1, delay_before_retry_ns=NS_PER_S)
        yield _drafted(entries, TcpCheck(connection=to, schedule=schedule))


def _ping(
    around: Surroundings, node: Node, entries: Entries, target: Target, settings: Settings
) -> Iterator[Made]:
    """ICMP has no ports."""
    for keyword in ("connect_port", "bind_port"):
        if keyword in entries:
            around.context.warning(
                entries[keyword].node, f"{keyword} has no effect: ICMP has no ports", "remove it"
            )
    plain = {name: e for name, e in entries.items() if name not in ("connect_port", "bind_port")}
    to = connection(around, node, plain, target, settings, has_ports=False)
    if to is not None:
        schedule = settings.schedule(retry=1, delay_before_retry_ns=NS_PER_S)
        check = PingCheck(connection=to, schedule=schedule)
        yield _drafted(entries, check)


def _udp(
    around: Surroundings, node: Node, entries: Entries, target: Target, settings: Settings
) -> Iterator[Made]:
    least = get(entries, "min_reply_length", 0)
    most = get(entries, "max_reply_length", UDP_REPLY_BYTES_MAX)
    reply, mask = get(entries, "require_reply", (b"", b""))
    if least > most:
        keyword = "min_reply_length" if "min_reply_length" in entries else "max_reply_length"
        around.context.warning(
            entries[keyword].node,
            f"no answer has at least {least} and at most {most} bytes: the check always fails",
            "correct min_reply_length or max_reply_length",
            word=1,
        )
    to = connection(around, node, entries, target, settings)
    if to is None:
        return
    check = UdpCheck(
        connection=to,
        payload=get(entries, "payload"),
        require_reply="require_reply" in entries,
        reply=reply or None,
        reply_mask=mask if any(bits != 0xFF for bits in mask) else None,
        min_reply_length=least,
        max_reply_length=most,
        schedule=settings.schedule(retry=1, delay_before_retry_ns=NS_PER_S),
    )
    yield _drafted(entries, check)


def _dns(
    around: Surroundings, node: Node, entries: Entries, target: Target, settings: Settings
) -> Iterator[Made]:
    to = connection(around, node, entries, target, settings)
    if to is None:
        return
    check = DnsCheck(
        connection=to,
        query_type=get(entries, "type", "SOA"),
        name=get(entries, "name", "."),
        schedule=settings.schedule(retry=DNS_RETRY, delay_before_retry_ns=None),
    )
    yield _drafted(entries, check)


def _smtp(
    around: Surroundings, node: Node, entries: Entries, target: Target, settings: Settings
) -> Iterator[Made]:
    """A `host` block is a checker of its own; with such blocks the one around them is a checker
    only if it says where to connect to."""
    body = node.body or []
    hosts = listed_blocks(entries, "host")
    places: list[tuple[Node, Entries]] = [] if hosts else [(node, entries)]
    if hosts:
        text = "host is an old form: each is a checker of its own"
        around.context.warning(hosts[0], text, "write an SMTP_CHECK block for each")
        if not _CONNECTION.isdisjoint(entries):
            places.append((node, entries))
        path = f"{REAL_SERVER}/SMTP_CHECK/host"
        places += [(host, read_block(around.context, host, path, {})) for host in hosts]
    for place, written in places:
        own = settings if place is node else settings.within(written)
        to = connection(around, place, written, target, own)
        if to is not None:
            check = SmtpCheck(
                connection=to,
                helo_name=get(entries, "helo_name", HELO_NAME),
                schedule=own.schedule(retry=1, delay_before_retry_ns=NS_PER_S),
            )
            yield _drafted(written, check, -1 if place is node else body.index(place))


def _misc(
    around: Surroundings, node: Node, entries: Entries, target: Target, settings: Settings
) -> Iterator[Made]:
    context = around.context
    written = [line.words[0] for line in node.body or ()]
    if "misc_path" not in entries:
        if "misc_path" not in written:
            context.error(node, "MISC_CHECK has no misc_path", 'add misc_path "PROGRAM ..."')
        return
    draft = entries["misc_path"].value
    user = entries.get("user")
    if user is not None and user.value is False:
        draft.bad_account = True
    account = user.value if user is not None and user.value else None
    command = around.scripts.command(draft, account)
    if command is None:
        return
    timeout_s = get(entries, "misc_timeout", 0)
    if timeout_s * NS_PER_S > settings.delay_loop_ns:
        delay_s = settings.delay_loop_ns / NS_PER_S
        context.warning(
            entries["misc_timeout"].node,
            f"misc_timeout {timeout_s} is longer than delay_loop {delay_s:g}: a program that "
            "hangs is run less often",
            f"write misc_timeout {delay_s:g} or less",
            word=1,
        )
    check = MiscCheck(
        command=command,
        timeout_ns=timeout_s * NS_PER_S or settings.service_delay_loop_ns,
        dynamic="misc_dynamic" in entries,
        schedule=settings.schedule(retry=0, delay_before_retry_ns=NS_PER_S),
    )
    last = len(written) - 1 - written[::-1].index("misc_path")
    yield Made(check, command=last)


def _file(
    around: Surroundings, node: Node, entries: Entries, target: Target, settings: Settings
) -> Iterator[Made]:
    entry = entries.get("track_file")
    if entry is None:
        if not any(line.words[0] == "track_file" for line in node.body or ()):
            around.context.error(node, "FILE_CHECK has no track_file", "add track_file NAME")
        return
    found = around.trackers.use("track_file", entry.value, entry.node, around.owner, around.order)
    if not isinstance(found, TrackFile):
        return
    weight, reverse = get(entries, "weight", (found.weight, found.reverse))
    check = FileCheck(track_file=found.name, weight=weight, reverse=reverse)
    yield Made(check)


def _http(
    around: Surroundings, node: Node, entries: Entries, target: Target, settings: Settings
) -> Iterator[Made]:
    kind = node.words[0]
    to = connection(around, node, entries, target, settings)
    urls = [_url(around, url, kind, entries, settings) for url in listed_blocks(entries, "url")]
    if not urls and not any(line.words[0] == "url" for line in node.body or ()):
        around.context.error(node, f"{kind} has no url", "add url { path / }")
    good = tuple(url for url in urls if url is not None)
    if to is None or not good:
        return
    name: str | None = get(entries, "sni_name")
    check = HttpCheck(
        connection=to,
        urls=good,
        tls=kind == "SSL_GET",
        http_protocol=get(entries, "http_protocol", HTTP_PROTOCOL),
        enable_sni=get(entries, "enable_sni", name is not None),
        sni_name=name or None,
        fast_recovery=get(entries, "fast_recovery", False),
        schedule=settings.schedule(retry=1, delay_before_retry_ns=HTTP_DELAY_BEFORE_RETRY_NS),
    )
    yield _drafted(entries, check)


def _url(
    around: Surroundings, node: Node, kind: str, checker: Entries, settings: Settings
) -> Url | None:
    entries = read_block(around.context, node, f"{REAL_SERVER}/{kind}/url", {})
    if "path" not in entries:
        if not any(line.words[0] == "path" for line in node.body or ()):
            around.context.error(node, "url has no path", "add path /")
        return None
    return Url(
        path=entries["path"].value,
        virtualhost=get(entries, "virtualhost") or settings.virtualhost,
        digest=get(entries, "digest"),
        status_codes=get(entries, "status_code", ((200, 299),)),
        regex=_regex(around, entries),
        tls_compliant=get(entries, "tls_compliant", get(checker, "tls_compliant", False)),
    )


def _regex(around: Surroundings, entries: Entries) -> Regex | None:
    """The pattern of a url with everything that belongs to it."""
    pattern = get(entries, "regex")
    if not pattern:
        for keyword in entries:
            if keyword.startswith("regex_"):
                around.context.warning(
                    entries[keyword].node, f"{keyword} has no effect without regex", "add regex"
                )
        return None
    least, most = get(entries, "regex_min_offset", 0), get(entries, "regex_max_offset")
    if most is not None and least > most:
        around.context.warning(
            entries["regex_max_offset"].node,
            f"nothing matches from byte {least} to byte {most}",
            f"write {least} or more",
            word=1,
        )
    regex = Regex(
        pattern=pattern,
        options=get(entries, "regex_options", ()),
        no_match="regex_no_match" in entries,
        min_offset=least,
        max_offset=most,
    )
    # only a file with patterns needs the library
    from fastvrrp.ipvs.checks.pattern import NoLibraryError, Pattern, PatternError

    try:
        Pattern(regex)
    except NoLibraryError as e:
        around.context.warning(
            entries["regex"].node, f"no check of this url: {e}", "install libpcre2-8-0", word=1
        )
    except PatternError as e:
        around.context.warning(
            entries["regex"].node, f"the regex is left out: {e}", "see pcre2pattern(3)", word=1
        )
        return None
    return regex


CHECKS: dict[str, Build] = {
    "TCP_CHECK": _tcp,
    "HTTP_GET": _http,
    "SSL_GET": _http,
    "SMTP_CHECK": _smtp,
    "DNS_CHECK": _dns,
    "MISC_CHECK": _misc,
    "UDP_CHECK": _udp,
    "PING_CHECK": _ping,
    "FILE_CHECK": _file,
}


def read_check(
    around: Surroundings, node: Node, number: int, target: Target, settings: Settings
) -> Iterator[Draft]:
    """The checkers of one block, which is the statement with this number of a real server."""
    kind = node.words[0]
    entries = read_block(around.context, node, f"{REAL_SERVER}/{kind}", {})
    own = settings.within(entries)
    check_pace(around.context, entries, settings, own)
    for made in CHECKS[kind](around, node, entries, target, own):
        yield Draft(made.check, number, made.has_address, made.inner, made.command)
