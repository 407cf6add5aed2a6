"""`fastvrrp status`: who is master, and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from fastvrrp.cli.common import add_run_dir, duration, fail, milliseconds, print_json
from fastvrrp.words import counted

EXIT_NOT_RUNNING = 3
NOTHING = "The configuration has no vrrp_instance."

COLUMNS = ("INSTANCE", "STATE", "FOR", "VRID", "INTERFACE", "PRIORITY", "MASTER", "GROUP", "WHY")
STYLES = {"MASTER": "bold green", "BACKUP": "cyan", "FAULT": "bold red", "INIT": "yellow"}

DESCRIPTION = f"""\
Show every instance: its state and since when, its priority (base/effective when trackers
change it), who is master as far as this router knows, and why it is not master itself.
With NAME, everything about one instance, sync group or tracker.

exit status:
  0  the daemon answered
  1  no daemon runs in DIR, or nothing has this name
  {EXIT_NOT_RUNNING}  the daemon runs, but its VRRP process does not at the moment"""

EXAMPLES = (
    "fastvrrp status                  # a table of all instances",
    "fastvrrp status VI_1             # everything about one",
    "fastvrrp status --json | jq -r '.instances[] | .name + \" \" + .state'",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="instance, sync group or tracker")
    add_run_dir(parser)
    parser.add_argument("--json", action="store_true", help="as documented, for programs")


def run(args: argparse.Namespace) -> int:
    from fastvrrp.control.client import Client, Unreachable
    from fastvrrp.control.protocol import ControlError

    params = {"name": args.name} if args.name is not None else {}
    try:
        with Client(args.run_dir) as client:
            status = client.request("status", params)
    except (Unreachable, ControlError) as exc:
        return fail(str(exc))
    if args.json:
        print_json(status)
    else:
        _show(status, detailed=args.name is not None)
    state = status["daemon"]["vrrp"]["state"]
    return 0 if status["instances"] is not None or state == "disabled" else EXIT_NOT_RUNNING


def _show(status: dict[str, Any], *, detailed: bool) -> None:
    for line in daemon_lines(status["daemon"]):
        print(line)
    if status["instances"] is None:
        return
    if detailed:
        for instance in status["instances"]:
            print("\n" + "\n".join(instance_lines(instance)))
    elif not status["instances"]:
        print(NOTHING)
    else:
        print()
        rows = [instance_row(instance) for instance in status["instances"]]
        if sys.stdout.isatty():
            _rich_table(rows)
        else:
            for line in plain_table(rows):
                print(line)
    for group in status["groups"]:
        print(f"\nGroup {group['name']}: {group['state']}, members {', '.join(group['members'])}")
    for tracker in status["trackers"]:
        if detailed or tracker["up"] is not True:
            print("\n" + tracker_line(tracker))


def daemon_lines(daemon: dict[str, Any]) -> list[str]:
    """The daemon in a line or two, more when something is wrong."""
    configuration = daemon["configuration"]
    lines = [
        f"fastvrrp {daemon['version']}, process {daemon['pid']}, "
        f"up {duration(daemon['uptime_s'])}, "
        f"configuration {configuration['epoch']} of {configuration['file']}"
    ]
    vrrp = daemon["vrrp"]
    if vrrp["state"] != "running" or vrrp["restarts"]:
        line = f"VRRP process: {vrrp['state']}"
        if vrrp["pid"] is not None:
            line += f", process {vrrp['pid']}"
        if vrrp["restarts"]:
            line += f", restarted {counted(vrrp['restarts'], 'time')}"
        if vrrp["last_exit"]:
            line += f", last end: {vrrp['last_exit']}"
        if vrrp["next_start_s"] is not None:
            line += f", next start in {vrrp['next_start_s']:.0f} s"
        lines.append(line)
    if vrrp.get("detail"):
        lines.append(f"no answer: {vrrp['detail']}")
    if vrrp["state"] == "disabled":
        lines.append(NOTHING)
    reload = daemon["last_reload"]
    if reload is not None and not reload["ok"]:
        lines.append(f"The last reload ({reload['time']}) was refused: {reload['error']}")
    return lines


def priority_text(instance: dict[str, Any]) -> str:
    base, effective = instance["base_priority"], instance["effective_priority"]
    return str(base) if base == effective else f"{base}/{effective}"


def master_text(instance: dict[str, Any]) -> str:
    if instance["state"] == "MASTER":
        return "this router"
    master = instance["master"]
    return f"{master['address']} ({master['priority']})" if master else "-"


def why_text(instance: dict[str, Any]) -> str:
    """Why the instance is not master, in a few words; empty when it is."""
    if instance["state"] == "MASTER":
        return ""
    if instance["fault"]:
        return ", ".join(instance["fault"])
    master = instance["master"]
    if instance["state"] == "BACKUP" and master:
        if master["priority"] < instance["effective_priority"]:
            return "does not preempt (yet)"
        if master["priority"] == instance["effective_priority"]:
            return "equal priority, lower address"
        return "lower priority"
    if instance["state"] == "BACKUP":
        return "listening for a master"
    return "starting"


def instance_row(instance: dict[str, Any]) -> tuple[str, ...]:
    return (
        instance["name"],
        instance["state"],
        duration(instance["since_s"]),
        str(instance["vrid"]),
        instance["interface"] or "-",
        priority_text(instance),
        master_text(instance),
        instance["group"] or "-",
        why_text(instance),
    )


def plain_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns for a pipe: two spaces between, nothing at the end of a line."""
    table = [COLUMNS, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _rich_table(rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in COLUMNS:
        table.add_column(column)
    for row in rows:
        # Text, not str: a name with brackets in it is not markup.
        cells = [Text(cell) for cell in row]
        cells[1].stylize(STYLES.get(row[1], ""))
        table.add_row(*cells)
    Console().print(table)


def tracker_line(tracker: dict[str, Any]) -> str:
    up = {True: "up", False: "down", None: "no result yet"}[tracker["up"]]
    detail = f" ({tracker['detail']})" if tracker.get("detail") else ""
    users = f", used by {', '.join(tracker['instances'])}" if tracker.get("instances") else ""
    return f"{tracker['kind']} {tracker['name']}: {up}{detail}{users}"


def instance_lines(instance: dict[str, Any]) -> list[str]:
    """Everything about one instance."""
    lines = [f"{instance['name']}: {instance['state']}"]
    lines[0] += f" for {duration(instance['since_s'])}, since {instance['since']}"
    why = why_text(instance)
    fields = [
        ("why not master", why or None),
        ("last transition", f"{instance['reason']}, number {instance['transitions']}"),
        (
            "virtual router",
            f"VRID {instance['vrid']}, IPv{instance['family']}, VRRPv{instance['version']}, "
            f"on {instance['interface'] or 'no interface (unicast)'}",
        ),
        (
            "priority",
            f"base {instance['base_priority']}, effective {instance['effective_priority']}",
        ),
        ("master", master_text(instance)),
        ("own address", instance["source"]),
        ("fault", ", ".join(instance["fault"]) or None),
        ("sync group", instance["group"]),
        (
            "intervals",
            f"advert {milliseconds(instance['advert_int_ms'])}, "
            f"master's {milliseconds(instance['master_advert_int_ms'])}, "
            f"skew {milliseconds(instance['skew_time_ms'])}, "
            f"master down {milliseconds(instance['master_down_interval_ms'])}",
        ),
    ]
    lines += [f"  {name + ':':<17}{value}" for name, value in fields if value is not None]
    if instance["addresses"]:
        lines.append("  addresses:")
        for address in instance["addresses"]:
            present = "present" if address["present"] else "absent"
            excluded = ", excluded from adverts" if address["excluded"] else ""
            lines.append(f"    {address['address']} dev {address['dev']}: {present}{excluded}")
    if instance["trackers"]:
        lines.append("  trackers:")
        for tracker in instance["trackers"]:
            effect = f", weight {tracker['weight']}, effect {tracker['effect']:+d}"
            lines.append(f"    {tracker_line(tracker)}{effect}")
    counters = {name: n for name, n in instance["counters"].items() if n}
    if counters:
        lines.append("  counters (those that are not 0):")
        lines += [f"    {name:<28}{n}" for name, n in counters.items()]
    return lines
