"""The control socket against clients that are wrong, slow, many or not allowed."""

# ruff: noqa: ASYNC240 (a test may touch files inside a coroutine)

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fastvrrp.control import protocol
from fastvrrp.control.client import Client, Unreachable
from fastvrrp.control.protocol import ControlError
from fastvrrp.control.server import ControlServer, Limits

Test = Callable[[Path], Awaitable[None]]


async def echo(params: dict[str, Any]) -> Any:
    return params


async def missing(params: dict[str, Any]) -> Any:
    raise ControlError(protocol.NOT_FOUND, "no such thing")


async def broken(params: dict[str, Any]) -> Any:
    raise ValueError("a fault of ours with details")


HANDLERS = {"echo": echo, "missing": missing, "broken": broken}


@contextlib.asynccontextmanager
async def serving(path: Path, **options: Any) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, HANDLERS, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def exchange(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """Send lines, then the end; everything that comes back."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 24)
    writer.write(b"".join(lines))
    writer.write_eof()
    data = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return [json.loads(line) for line in data.splitlines()]


def run(main: Awaitable[None]) -> None:
    asyncio.run(main)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_requests_are_answered_in_order(path: Path, runner: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(path):
            replies = await exchange(
                path,
                b'{"id": 1, "method": "echo", "params": {"a": [1, null]}}\n',
                b'{"id": "two", "method": "missing"}\n',
                b'{"method": "echo"}\n',
            )
        assert replies == [
            {"id": 1, "schema": 1, "result": {"a": [1, None]}},
            {
                "id": "two",
                "schema": 1,
                "error": {"code": "not-found", "message": "no such thing"},
            },
            {"id": None, "schema": 1, "result": {}},
        ]

    runner(main())


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"nonsense\n", "bad-request"),
        (b"\n", "bad-request"),
        (b"[]\n", "bad-request"),
        (b'{"id": 1}\n', "bad-request"),
        (b'{"method": 7}\n', "bad-request"),
        (b'{"method": "echo", "params": []}\n', "bad-request"),
        (b'{"method": "echo", "id": {}}\n', "bad-request"),
        (b"\xff\xfe\x00\n", "bad-request"),
        (b'{"method": "\xff"}\n', "bad-request"),
        (b"[" * 50_000 + b"\n", "bad-request"),
        (b'{"method": "ech"}\n', "unknown-method"),
        (b'{"method": "broken"}\n', "internal"),
    ],
)
def test_wrong_requests_leave_the_connection_usable(path: Path, line: bytes, code: str) -> None:
    async def main() -> None:
        async with serving(path):
            wrong, right = await exchange(path, line, b'{"id": 2, "method": "echo"}\n')
        assert wrong["error"]["code"] == code
        assert "details" not in wrong["error"]["message"], "internals stay in the log"
        assert right["result"] == {}

    run(main())


def test_a_request_that_is_too_long_ends_the_connection(path: Path) -> None:
    async def main() -> None:
        async with serving(path):
            replies = await exchange(path, b"x" * 70_000 + b'\n{"method": "echo"}\n')
            assert [reply["error"]["code"] for reply in replies] == ["bad-request"]
            assert len(await exchange(path, b'{"method": "echo"}\n')) == 1, "still serving"

    run(main())


def test_a_request_without_an_end(path: Path) -> None:
    async def main() -> None:
        async with serving(path):
            assert await exchange(path, b'{"method": "echo"}') == []

    run(main())


def test_too_many_clients(path: Path) -> None:
    async def main() -> None:
        async with serving(path, limits=Limits(clients=3)):
            streams = [await asyncio.open_unix_connection(str(path)) for _ in range(3)]
            for reader, writer in streams:
                writer.write(b'{"method": "echo"}\n')
                await reader.readline()
            (refused,) = await exchange(path)
            assert refused["error"]["code"] == "busy"
            streams[0][1].close()
            await streams[0][1].wait_closed()
            await asyncio.sleep(0.05)
            assert "result" in (await exchange(path, b'{"method": "echo"}\n'))[0]
            for _, writer in streams[1:]:
                writer.close()

    run(main())


def test_an_idle_client_is_disconnected(path: Path) -> None:
    async def main() -> None:
        async with serving(path, limits=Limits(idle_s=0.1)):
            reader, writer = await asyncio.open_unix_connection(str(path))
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    run(main())


def test_a_client_that_does_not_read_its_replies(path: Path) -> None:
    async def main() -> None:
        async def big(params: dict[str, Any]) -> Any:
            return "x" * 4_000_000

        server = ControlServer(path, {"big": big, "echo": echo}, limits=Limits(write_s=0.2))
        await server.start()
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(path))
        deaf.sendall(b'{"method": "big"}\n' * 1000)
        assert "result" in (await exchange(path, b'{"method": "echo"}\n'))[0], "others go on"
        await asyncio.sleep(0.5)
        assert not server._clients, "cut off"
        deaf.close()
        await server.stop()

    run(main())


def test_events_in_order_to_every_subscriber(path: Path) -> None:
    changes: list[bool] = []

    async def main() -> None:
        async with serving(path, on_subscribers=changes.append) as server:
            streams = []
            for _ in range(2):
                reader, writer = await asyncio.open_unix_connection(str(path))
                writer.write(b'{"id": 1, "method": "events"}\n')
                assert json.loads(await reader.readline())["result"] == {"subscribed": True}
                streams.append((reader, writer))
            for number in range(100):
                server.publish({"kind": "test", "n": number})
            for reader, writer in streams:
                got = [json.loads(await reader.readline()) for _ in range(100)]
                assert [line["event"]["n"] for line in got] == list(range(100))
                assert {line["schema"] for line in got} == {1}
                writer.close()
            await asyncio.sleep(0.05)
            assert server.subscribers == 0
        assert changes == [True, False]

    run(main())


def test_a_slow_subscriber_is_told_and_dropped(path: Path) -> None:
    async def main() -> None:
        async with serving(path, limits=Limits(backlog=100_000)) as server:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 24)
            writer.write(b'{"method": "events"}\n')
            await reader.readline()
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            sent = 0
            while server.subscribers:
                server.publish({"kind": "test", "pad": "x" * 1000})
                sent += 1
                assert sent < 10_000, "a subscriber that does not read must not cost memory"
                await asyncio.sleep(0)
            reader._transport.resume_reading()  # type: ignore[attr-defined]
            lines = (await asyncio.wait_for(reader.read(), 5)).splitlines()
            assert json.loads(lines[-1])["event"] == {"kind": "overflow"}
            writer.close()

    run(main())


def test_the_socket_is_private_and_replaces_a_stale_one(path: Path) -> None:
    async def main() -> None:
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(path))
        stale.close()
        async with serving(path):
            status = path.stat()
            assert stat.S_IMODE(status.st_mode) == 0o660
            assert stat.S_ISSOCK(status.st_mode)
        assert not path.exists()
        path.write_text("precious")
        with pytest.raises(FileExistsError):
            await ControlServer(path, HANDLERS).start()
        assert path.read_text() == "precious"

    run(main())


def test_strangers_are_refused(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")

    async def main() -> None:
        async with serving(path):
            # Even when somebody opened the file's mode, the credentials still count.
            path.chmod(0o666)
            for parent in path.parents:
                if parent.stat().st_mode & 0o005 != 0o005:
                    parent.chmod(0o755)
            program = (
                "import os, sys\n"
                "from pathlib import Path\n"
                "from fastvrrp.control.client import Client, ControlError\n"
                "os.setgroups([int(group) for group in sys.argv[2].split()])\n"
                "os.setgid(65534)\n"
                "os.setuid(65534)\n"
                "with Client(Path(sys.argv[1])) as client:\n"
                "    try:\n"
                "        print(client.request('echo'))\n"
                "    except ControlError as error:\n"
                "        print(error.code)\n"
            )

            async def attempt(groups: str) -> bytes:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", program, str(path.parent), groups),
                    stdout=asyncio.subprocess.PIPE,
                )
                out, _ = await process.communicate()
                return out

            assert await attempt("") == b"denied\n"
            assert await attempt(f"{path.stat().st_gid}") == b"{}\n"

    run(main())


def test_client_and_server_on_a_path_longer_than_an_address(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()

    async def main() -> None:
        async with serving(directory / "control.sock"):

            def ask() -> Any:
                with Client(directory) as client:
                    return client.request("echo", {"a": 1})

            assert await asyncio.to_thread(ask) == {"a": 1}

    run(main())


def test_client_explains_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no daemon is running"):
        Client(tmp_path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()
    silent = pytest.raises(Unreachable, match=r"did not answer within 0\.1 s")
    with Client(tmp_path, timeout_s=0.1) as client, silent:
        client.request("echo")

    def answer(line: bytes) -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(line)
        connection.close()

    listener.accept()[0].close()
    for line, text in (
        (b"", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n", "does not speak our protocol"),
        (b'{"schema": 2, "id": 1, "result": 1}\n', "speaks schema 2"),
        (b'{"schema": 1, "id": 9, "result": 1}\n', "does not speak our protocol"),
    ):
        thread = threading.Thread(target=answer, args=(line,))
        thread.start()
        with Client(tmp_path) as client, pytest.raises(Unreachable, match=text):
            client.request("echo")
        thread.join()
    listener.close()
