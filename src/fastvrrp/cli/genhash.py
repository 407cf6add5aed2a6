"""`fastvrrp genhash`: the digest of a page, as HTTP_GET and SSL_GET compare it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fastvrrp.cli.common import fail

if TYPE_CHECKING:
    from fastvrrp.config.servers import Connection
    from fastvrrp.ipvs.checks.answer import Answer
    from fastvrrp.ipvs.checks.exchange import Tls

DESCRIPTION = """\
Fetches a page exactly as HTTP_GET or SSL_GET would and prints its digest (MD5, 32 hexadecimal
digits) for `digest` in the configuration. The options are those of keepalived's genhash, and so
is the digest of every page (an interim answer, 1xx, is not part of it).

exit status:
  0  the digest was printed
  1  there was no complete answer"""

EXAMPLES = (
    "fastvrrp genhash -s 10.0.0.11 -p 80 -u /health",
    "fastvrrp genhash -S -s 10.0.0.11 -p 443 -u / -V www.example.com -I  # with SNI",
    "fastvrrp genhash -v -s 10.0.0.11 -p 80 -u /      # and what the server sent",
)

PROTOCOLS = {"1.0": "1.0", "1.0c": "1.0C", "1.1": "1.1"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--server", required=True, metavar="HOST", help="server's address")
    parser.add_argument("-p", "--port", type=int, default=80, help="its port (default: 80)")
    parser.add_argument("-u", "--url", required=True, metavar="PATH", help="path to get")
    parser.add_argument("-S", "--use-ssl", action="store_true", help="speak TLS")
    parser.add_argument(
        "-I", "--use-sni", action="store_true", help="send the virtual host as SNI (with -S)"
    )
    parser.add_argument("-V", "--use-virtualhost", metavar="NAME", help="Host header")
    parser.add_argument(
        "-P",
        "--protocol",
        type=str.lower,
        choices=list(PROTOCOLS),
        default="1.0",
        help="HTTP version; 1.0c is 1.0 with `Connection: close` (default: 1.0)",
    )
    parser.add_argument(
        "-t", "--timeout", type=float, default=5.0, metavar="S", help="each wait (default: 5 s)"
    )
    parser.add_argument("-m", "--fwmark", type=int, default=0, help="mark of the packets")
    parser.add_argument("-v", "--verbose", action="store_true", help="show header and body")


def run(args: argparse.Namespace) -> int:
    import time

    if not 0 < args.port < 65536:
        return fail(f"port {args.port} is not between 1 and 65535", 2)
    if args.timeout <= 0:
        return fail(f"a timeout of {args.timeout:g} s leaves no time", 2)
    connection = _connection(args)
    if isinstance(connection, str):
        return fail(connection)
    began_ns = time.monotonic_ns()
    problem, answer = _fetch(args, connection)
    if problem:
        return fail(problem)
    if args.verbose:
        took_ms = (time.monotonic_ns() - began_ns) / 1e6
        print(f"\n{answer.body_bytes} bytes of body in {took_ms:.3f} ms\n")
    print(answer.digest.hex())
    return 0


def _connection(args: argparse.Namespace) -> Connection | str:
    """Where to connect, or why that cannot be known."""
    import socket

    from fastvrrp.config.base import NS_PER_S
    from fastvrrp.config.servers import Connection

    try:
        found = socket.getaddrinfo(args.server, args.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        return f"{args.server}: {getattr(e, 'strerror', None) or e}"
    return Connection(
        address=str(found[0][4][0]).partition("%")[0],
        port=args.port,
        bind_if=args.server.partition("%")[2] or None,
        fwmark=args.fwmark,
        timeout_ns=int(args.timeout * NS_PER_S),
    )


def _fetch(args: argparse.Namespace, connection: Connection) -> tuple[str, Answer]:
    """One exchange: what went wrong (empty: nothing), and the answer."""
    import asyncio

    from fastvrrp.ipvs.checks.answer import Answer
    from fastvrrp.ipvs.checks.base import Verdict
    from fastvrrp.ipvs.checks.exchange import Exchange
    from fastvrrp.ipvs.checks.request import make_request
    from fastvrrp.ipvs.checks.tls import TlsError

    answer = Answer(digest=True)
    shown = _Shown(answer) if args.verbose else None
    request = make_request(
        args.url,
        connection,
        virtualhost=args.use_virtualhost,
        http_protocol=PROTOCOLS[args.protocol],
    )

    async def exchange() -> tuple[Verdict, str]:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[Verdict, str]] = loop.create_future()
        Exchange(
            loop,
            connection,
            request,
            feed=answer.feed if shown is None else shown.feed,
            ended=lambda verdict, text: ended.set_result((verdict, text)),
            tls=_tls(args) if args.use_ssl else None,
        )
        return await ended

    try:
        verdict, text = asyncio.run(exchange())
    except TlsError as e:
        return str(e), answer
    if shown is not None:
        shown.finish()
    if verdict is not Verdict.UP:
        return f"{args.server} port {args.port}: {text}", answer
    if not answer.complete_header:
        return f"{args.server} port {args.port}: no complete header", answer
    return "", answer


def _tls(args: argparse.Namespace) -> Tls:
    from fastvrrp.config.servers import TlsContext
    from fastvrrp.ipvs.checks.exchange import Tls
    from fastvrrp.ipvs.checks.tls import check_server_name, client_context

    name = args.use_virtualhost if args.use_sni else None
    if name is not None:
        check_server_name(name)
    return Tls(client_context(TlsContext()), name, close_notify=False)


class _Shown:
    """Shows an answer while it arrives: nothing of it is kept."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._lines = _Dump("header")

    def feed(self, data: bytes) -> str:
        had_header, header_bytes = self._answer.complete_header, len(self._answer.header)
        problem = self._answer.feed(data)
        if not had_header and self._answer.complete_header:
            end = len(self._answer.header) - header_bytes
            self._lines.add(data[:end])
            self.finish()
            print(f"\n{self._answer.header.decode('latin-1')}")
            self._lines = _Dump("body")
            data = data[end:]
        self._lines.add(data)
        return problem

    def finish(self) -> None:
        self._lines.finish()


class _Dump:
    """Bytes as lines of sixteen: offset, hexadecimal, text."""

    def __init__(self, title: str) -> None:
        self._rest = b""
        self._offset = 0
        print(f"--- {title}")

    def add(self, data: bytes) -> None:
        data = self._rest + data
        whole = len(data) - len(data) % 16
        for at in range(0, whole, 16):
            self._line(data[at : at + 16])
        self._rest = data[whole:]

    def finish(self) -> None:
        if self._rest:
            self._line(self._rest)

    def _line(self, data: bytes) -> None:
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
        sys.stdout.write(f"{self._offset:08x}  {data.hex(' '):47}  {text}\n")
        self._offset += len(data)
