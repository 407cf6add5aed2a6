"""HTTP_GET and SSL_GET against nginx: pages as they are, large, in chunks; a server that goes."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from probing import DOWN, UP, attempt, connection, surroundings

from fastvrrp.config.servers import HttpCheck, Regex, Url
from fastvrrp.ipvs.checks.base import Outcome, make_probe
from fastvrrp.lab.namespace import Namespace
from fastvrrp.lab.network import wait_for

pytestmark = pytest.mark.netns

SMALL = b"<html><body>all is well</body></html>\n"
LARGE = b"".join(b"line %d of a long page\n" % number for number in range(200_000))
CONF = """\
daemon off; user root; worker_processes 1; pid {place}/pid; error_log {place}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile on; client_body_temp_path {place}; proxy_temp_path {place};
    fastcgi_temp_path {place}; uwsgi_temp_path {place}; scgi_temp_path {place};
    server {{
        listen 80; listen 443 ssl; server_name named.example;
        ssl_certificate {place}/cert.pem; ssl_certificate_key {place}/key.pem;
        root {place};
        location /gone {{ return 410; }}
        location /moved {{ return 302 /small; }}
        location /chunks {{ proxy_pass http://127.0.0.1:81; proxy_http_version 1.1; }}
        location /host {{ return 200 "$host over $scheme, $ssl_server_name, $http_user_agent"; }}
    }}
    server {{ listen 81; location / {{ ssi on; ssi_types *; root {place}; }} }}
}}
"""


class Nginx(NamedTuple):
    space: Namespace
    process: subprocess.Popen[bytes]


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    (tmp_path / "small").write_bytes(SMALL)
    (tmp_path / "large").write_bytes(LARGE)
    (tmp_path / "chunks").write_bytes(SMALL)
    (tmp_path / "nginx.conf").write_text(CONF.format(place=tmp_path))
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        f" -keyout {tmp_path}/key.pem -out {tmp_path}/cert.pem -days 2 -subj /CN=nobody"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    tmp_path.chmod(0o755)
    with Namespace("web") as space, (tmp_path / "said").open("wb") as output:
        process = space.start(
            ["nginx", "-p", str(tmp_path), "-c", f"{tmp_path}/nginx.conf"], output=output
        )

        def listens() -> bool:
            return ":01BB " in space.call(Path("/proc/thread-self/net/tcp").read_text)

        wait_for(listens, 10, "nginx")
        yield Nginx(space, process)
        process.terminate()  # killed, it would leave its worker behind
        process.wait(10)


def ask(space: Namespace, url: Url, **more: object) -> Outcome:
    """One attempt from inside the namespace."""

    async def scene() -> Outcome:
        tls = bool(more.get("tls"))
        check = HttpCheck(connection=connection(443 if tls else 80), urls=(url,), **more)  # type: ignore[arg-type]
        return await attempt(make_probe(check, surroundings()), 20)

    return space.call(asyncio.run, scene())


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("http_protocol", ["1.0", "1.0C", "1.1"])
@pytest.mark.parametrize("page", [SMALL, LARGE], ids=["small", "large"])
def test_pages(nginx: Nginx, tls: bool, http_protocol: str, page: bytes) -> None:
    path = "/small" if page is SMALL else "/large"
    regex = Regex(pattern="is well" if page is SMALL else r"(?m)^line 199999 .*\n\z")
    url = Url(path=path, digest=hashlib.md5(page).digest(), regex=regex)
    outcome = ask(nginx.space, url, tls=tls, http_protocol=http_protocol)
    assert (outcome.verdict, outcome.detail) == (UP, "status 200")
    wrong = Url(path=path, digest=hashlib.md5(page + b"\n").digest())
    outcome = ask(nginx.space, wrong, tls=tls, http_protocol=http_protocol)
    assert (outcome.verdict, outcome.detail) == (DOWN, f"digest {hashlib.md5(page).hexdigest()}")


@pytest.mark.parametrize(
    ("path", "detail"),
    [("/gone", "status 410"), ("/moved", "status 302"), ("/nosuch", "status 404")],
)
def test_statuses(nginx: Nginx, path: str, detail: str) -> None:
    outcome = ask(nginx.space, Url(path=path))
    assert (outcome.verdict, outcome.detail) == (DOWN, detail)
    status = int(detail.split()[1])
    assert ask(nginx.space, Url(path=path, status_codes=((status, status),))).verdict is UP


def test_chunks_are_not_decoded(nginx: Nginx) -> None:
    """A page of unknown length over HTTP/1.1: the digest is of the chunks, as keepalived's."""
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMALL), SMALL)
    url = Url(path="/chunks", digest=hashlib.md5(chunked).digest())
    assert ask(nginx.space, url, http_protocol="1.1").verdict is UP
    plain = Url(path="/chunks", digest=hashlib.md5(SMALL).digest())
    assert ask(nginx.space, plain, http_protocol="1.0").verdict is UP


def test_what_nginx_is_told(nginx: Nginx) -> None:
    for tls, words in ((False, "http, "), (True, "https, named.example")):
        text = rf"^named.example over {words}, KeepAliveClient$"
        url = Url(path="/host", virtualhost="named.example", regex=Regex(pattern=text))
        outcome = ask(nginx.space, url, tls=tls, enable_sni=True)
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")


@pytest.mark.interop
def test_the_digest_of_a_file_is_genhashs(nginx: Nginx) -> None:
    for words in ("-p 80 -u /large", "-S -p 443 -u /large", "-p 80 -u /chunks -P 1.1"):
        said = nginx.space.run("keepalived", "--genhash", "-s", "127.0.0.1", *words.split())
        path = words.split()[words.split().index("-u") + 1]
        url = Url(path=path, digest=bytes.fromhex(said.strip()))
        protocol = "1.1" if "1.1" in words else "1.0"
        outcome = ask(nginx.space, url, tls="-S" in words, http_protocol=protocol)
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")


def test_a_server_that_stops_and_one_that_stands_still(nginx: Nginx) -> None:
    nginx.space.run("pkill", "-STOP", "-P", str(nginx.process.pid))
    began = time.monotonic()
    outcome = ask(nginx.space, Url(path="/small"))
    assert (outcome.verdict, outcome.detail) == (DOWN, "answer timed out")
    assert time.monotonic() - began < 5
    nginx.space.run("pkill", "-CONT", "-P", str(nginx.process.pid))
    assert ask(nginx.space, Url(path="/small")).verdict is UP
    nginx.process.terminate()
    nginx.process.wait(10)
    outcome = ask(nginx.space, Url(path="/small"))
    assert (outcome.verdict, outcome.detail) == (DOWN, "connection refused")
