"""`fastvrrp events`: follow what happens, live."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fastvrrp.cli.common import add_run_dir, fail, milliseconds

DESCRIPTION = """\
Show state changes, priorities, trackers, servers and reloads as they happen, until Ctrl-C or
until the daemon stops. docs/control-socket.md lists the kinds and their fields."""

EXAMPLES = (
    "fastvrrp events                                         # in a second terminal",
    "fastvrrp events --json | jq 'select(.kind == \"state\")'  # for a program",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_dir(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(args: argparse.Namespace) -> int:
    import msgspec

    from fastvrrp.control.client import Client, Unreachable
    from fastvrrp.control.protocol import ControlError

    last: dict[str, Any] = {}
    try:
        with Client(args.run_dir) as client:
            for last in client.events():
                line = msgspec.json.encode(last).decode() if args.json else describe(last)
                print(line, flush=True)
    except (Unreachable, ControlError) as exc:
        return fail(str(exc))
    if last.get("kind") == "overflow":
        return fail("events came faster than they were read: some are lost")
    print("fastvrrp: the daemon stopped", file=sys.stderr)
    return 0


def describe(event: dict[str, Any]) -> str:
    """One line for people."""
    return f"{event.get('time', '')}  {_text(event)}".lstrip()


def _text(event: dict[str, Any]) -> str:
    who = event.get("instance") or event.get("group") or ""
    kind = event.get("kind", "")
    match kind:
        case "state" | "group":
            reason = f" ({event['reason']})" if event.get("reason") else ""
            what = "group " if kind == "group" else ""
            return f"{what}{who}: {event.get('from')} -> {event.get('to')}{reason}"
        case "priority":
            return f"{who}: priority {event.get('from')} -> {event.get('to')}"
        case "master":
            return f"{who}: follows {event.get('address')} (priority {event.get('priority')})"
        case "late":
            whom = who or "this machine"
            return f"{whom}: late by {milliseconds(float(event.get('late_ms', 0)))}"
        case "tracker":
            up = "up" if event.get("up") else "down"
            detail = f": {event['detail']}" if event.get("detail") else ""
            return f"{event.get('tracker')} {event.get('name')} is {up}{detail}"
        case "process":
            detail = f": {event['detail']}" if event.get("detail") else ""
            return f"process {event.get('process')}: {event.get('state')}{detail}"
        case "reload":
            changes = "; ".join(event.get("changes") or ["nothing changed"])
            return f"reload: {changes}" if event.get("ok") else "reload refused"
        case "server" | "check" | "quorum" | "sorry" | "weight":
            return _server_text(kind, event)
    # Kinds that need no wording of their own, and those of later versions.
    rest = {k: v for k, v in event.items() if k not in ("time", "kind", "instance", "group")}
    fields = " ".join(f"{key}={value}" for key, value in rest.items())
    return " ".join(part for part in (f"{who}:" if who else "", str(kind), fields) if part)


def _server_text(kind: str, event: dict[str, Any]) -> str:
    owner, server = event.get("virtual_server"), event.get("server")
    up = event.get("up")
    match kind:
        case "server":
            reason = event.get("reason")
            why = f" ({reason})" if reason != "check" else ""
            return f"server {server} of {owner} is {'up' if up else 'down'}{why}"
        case "check":
            verdict = "succeeds" if up else "fails"
            return f"{event.get('check')} of {server} {verdict}: {event.get('detail')}"
        case "quorum":
            weight, threshold = event.get("weight"), event.get("threshold")
            verb = "gained" if up else "lost"
            return f"virtual server {owner} {verb} quorum (weight {weight}, threshold {threshold})"
        case "sorry":
            verb = "takes over" if event.get("active") else "gives back"
            return f"sorry server {server} of {owner} {verb}"
        case _:
            return f"weight of {server} of {owner} {event.get('from')} -> {event.get('to')}"
