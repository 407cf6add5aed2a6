"""`fastvrrp reload`: have the daemon read its configuration again, and say what came of it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fastvrrp.cli.common import add_run_dir, fail, print_json

TIMEOUT_S = 180.0  # a big configuration, behind another reload

DESCRIPTION = """\
Have the running daemon read its configuration again and wait for the result.

Instances that did not change miss no advert and keep their addresses. A file with
errors changes nothing: the messages are shown and the exit status is 1."""

EXAMPLES = (
    "fastvrrp reload                        # after editing the configuration",
    "fastvrrp reload --json | jq .messages  # for a program",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_dir(parser)
    parser.add_argument("--json", action="store_true", help="the result as JSON")


def run(args: argparse.Namespace) -> int:
    from fastvrrp.control.client import Client, Unreachable
    from fastvrrp.control.protocol import ControlError

    try:
        with Client(args.run_dir, timeout_s=TIMEOUT_S) as client:
            result = client.request("reload")
    except (Unreachable, ControlError) as exc:
        return fail(str(exc))
    if args.json:
        print_json(result)
    else:
        _show(result)
    return 0 if result["ok"] else 1


def message_line(message: dict[str, Any]) -> str:
    """A diagnostic in the form of `fastvrrp check`."""
    place = f"{message['file']}:{message['line']}:{message['column']}"
    hint = f"; {message['hint']}" if message["hint"] else ""
    return f"{place}: {message['severity']}: {message['text']}{hint}"


def _show(result: dict[str, Any]) -> None:
    from fastvrrp.words import stages

    for message in result["messages"]:
        print(message_line(message), file=sys.stderr)
    if not result["ok"]:
        print(f"refused, the old configuration stays in effect: {result['error']}", file=sys.stderr)
        return
    facts = [f"configuration {result['epoch']}"]
    if "read_s" in result:  # not from a daemon that has been running since before an upgrade
        facts.append(stages(result["read_s"], result["apply_s"]))
    print(f"reloaded ({', '.join(facts)})")
    for change in result["changes"] or ["nothing changed"]:
        print(f"  {change}")
