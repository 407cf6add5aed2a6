"""Authentication of VRRPv2: the PASS type of RFC 2338 10.1. No value appears in a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastvrrp.config.blocks import get

if TYPE_CHECKING:
    from fastvrrp.config.instance import InstanceBuilder

PASSWORD_BYTES = 8  # RFC 2338 5.3.10
TYPE_PASS = 1  # RFC 2338 5.3.6


def authentication(builder: InstanceBuilder) -> dict[str, Any]:
    """The fields of the instance; none where authentication does not apply."""
    block = builder.entries["authentication"].value
    kind, password = get(block, "auth_type"), get(block, "auth_pass")
    if kind is None and not password:
        return {}
    if builder.version == 3:
        builder.warning("VRRPv3 has no authentication, ignored", "remove it", "authentication")
        return {}
    if builder.strict:
        builder.warning("strict mode has no authentication, ignored", "remove it", "authentication")
        return {}
    if kind is None:
        builder.warning(
            "a password without auth_type is ignored", "add auth_type PASS", "authentication"
        )
        return {}
    if kind == "AH":
        builder.warning(
            "auth_type AH has no effect yet: adverts are not authenticated",
            "write auth_type PASS, or remove the block",
            "authentication",
        )
        return {}
    if not password:
        builder.warning(
            "auth_type PASS without a password is ignored", "add auth_pass", "authentication"
        )
        return {}
    secret = password.encode()
    if len(secret) > PASSWORD_BYTES:
        builder.context.warning(
            block["auth_pass"].node,
            f"{builder.name}: only the first {PASSWORD_BYTES} bytes of auth_pass count",
            f"use {PASSWORD_BYTES} bytes or fewer, the same on all nodes",
            word=1,
        )
    return {
        "auth_type": TYPE_PASS,
        "auth_pass": secret[:PASSWORD_BYTES].ljust(PASSWORD_BYTES, b"\0"),
    }
