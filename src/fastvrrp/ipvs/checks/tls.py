"""TLS for SSL_GET: the context made of the SSL block, and errors in words."""

from __future__ import annotations

import re
import ssl

from fastvrrp.config.servers import TlsContext

_WHERE = re.compile(r"^\[.*?\] | \(_ssl\.c:\d+\)$")  # places in Python's own source


class TlsError(Exception):
    """The SSL block names files that cannot be used."""


def client_context(tls: TlsContext) -> ssl.SSLContext:
    """What a checker accepts and presents: any certificate, and what the system's policy allows.

    A checker asks whether a server works, not who it is. Raises TlsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # not Python's own policy, which refuses ciphers that the system's allows
    context.set_ciphers("DEFAULT")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    try:
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
    except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
        raise TlsError(f"SSL block: ca {tls.ca}: {tls_problem(e)}") from e
    try:
        # one without the other presents nothing, here as in keepalived
        if tls.certificate is not None and tls.key is not None:
            context.load_cert_chain(tls.certificate, tls.key, lambda: tls.password or "")
    except (OSError, ValueError) as e:
        files = f"certificate {tls.certificate}, key {tls.key}"
        raise TlsError(f"SSL block: {files}: {tls_problem(e)}") from e
    return context


def check_server_name(name: str) -> None:
    """Raises TlsError for what cannot be sent as SNI (RFC 6066 3)."""
    try:
        encoded = name.encode("idna")
    except UnicodeError as e:
        raise TlsError(f"SNI: {name!r} is no host name: {e}") from e
    if b"\0" in encoded:
        raise TlsError(f"SNI: {name!r} is no host name: it has a NUL")


def tls_problem(error: OSError | ValueError) -> str:
    """`wrong version number`, `no such file or directory`."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str) and reason:
        return reason.lower().replace("_", " ")
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = _WHERE.sub("", text)
    if text == "PEM lib":  # all that OpenSSL's queue of errors leaves for Python
        return "no PEM files that fit, or another password"
    return text[:1].lower() + text[1:]
