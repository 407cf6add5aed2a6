"""`fastvrrp status`: who is master, and why; which servers serve, and why not the others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from fastvrrp.cli import servers
from fastvrrp.cli.common import add_run_dir, duration, fail, milliseconds, print_json
from fastvrrp.words import counted

EXIT_NOT_RUNNING = 3
NOTHING = "The configuration has no vrrp_instance and no virtual_server."
PROCESSES = {"vrrp": "VRRP process", "ipvs": "IPVS process"}
ANSWERS = {"vrrp": "instances", "ipvs": "virtual_servers"}  # null while the process is down

COLUMNS = ("INSTANCE", "STATE", "FOR", "VRID", "INTERFACE", "PRIORITY", "MASTER", "GROUP", "WHY")
STYLES = {
    "MASTER": "bold green",
    "BACKUP": "cyan",
    "FAULT": "bold red",
    "INIT": "yellow",
    servers.UP: "green",
    servers.DOWN: "bold red",
    servers.SORRY: "yellow",
}

DESCRIPTION = f"""\
Show every instance: its state and since when, its priority (base/effective when trackers
change it), who is master as far as this router knows, and why it is not master itself;
every virtual server with its real servers, their weights, connections and last checks.
With NAME, everything about one instance, sync group, tracker, virtual or real server.

exit status:
  0  the daemon answered
  1  no daemon runs in DIR, or nothing has this name
  {EXIT_NOT_RUNNING}  the daemon runs, but one of its processes does not at the moment"""

EXAMPLES = (
    "fastvrrp status                  # a table of all instances",
    "fastvrrp status VI_1             # everything about one",
    "fastvrrp status --json | jq -r '.instances[] | .name + \" \" + .state'",
    "fastvrrp status --json | jq -r '.virtual_servers[].servers[] | select(.up | not) | .name'",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="of an instance, server, ...")
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
    missing = [name for name, key in ANSWERS.items() if status[key] is None]
    states = [status["daemon"][name]["state"] for name in missing]
    return 0 if all(state == "disabled" for state in states) else EXIT_NOT_RUNNING


def _show(status: dict[str, Any], *, detailed: bool) -> None:
    for line in daemon_lines(status["daemon"]):
        print(line)
    if not detailed and all(
        status[key] == [] for key in ANSWERS.values() if status[key] is not None
    ):
        print(NOTHING)
    if status["instances"]:
        _show_instances(status["instances"], detailed=detailed)
    for group in status["groups"] or ():
        print(f"\nGroup {group['name']}: {group['state']}, members {', '.join(group['members'])}")
    for tracker in status["trackers"] or ():
        if detailed or tracker["up"] is not True:
            print("\n" + tracker_line(tracker))
    if status["virtual_servers"]:
        _show_servers(status, detailed=detailed)


def _show_instances(instances: Sequence[dict[str, Any]], *, detailed: bool) -> None:
    if detailed:
        for instance in instances:
            print("\n" + "\n".join(instance_lines(instance)))
    else:
        _table(COLUMNS, [instance_row(instance) for instance in instances])


def _show_servers(status: dict[str, Any], *, detailed: bool) -> None:
    if detailed:
        for virtual_server in status["virtual_servers"]:
            print("\n" + "\n".join(servers.lines(virtual_server)))
        return
    rows, left_out = servers.rows(status["virtual_servers"])
    _table(servers.COLUMNS, rows)
    if left_out:
        count = counted(left_out, "server")
        print(f"\n{count} more, all up: `fastvrrp status NAME` shows those of a virtual server")
    for line in servers.table_lines(status["ipvs"]):
        print("\n" + line)


def daemon_lines(daemon: dict[str, Any]) -> list[str]:
    """The daemon in a line or two, more when something is wrong."""
    configuration = daemon["configuration"]
    lines = [
        f"fastvrrp {daemon['version']}, process {daemon['pid']}, "
        f"up {duration(daemon['uptime_s'])}, "
        f"configuration {configuration['epoch']} of {configuration['file']}"
    ]
    for name, title in PROCESSES.items():
        process = daemon[name]
        quiet = process["state"] in ("running", "disabled")
        if not quiet or process["restarts"]:
            lines.append(_process_line(title, process))
        if process.get("detail"):
            lines.append(f"no answer: {process['detail']}")
    reload = daemon["last_reload"]
    if reload is not None and not reload["ok"]:
        lines.append(f"The last reload ({reload['time']}) was refused: {reload['error']}")
    return lines


def _process_line(title: str, process: dict[str, Any]) -> str:
    line = f"{title}: {process['state']}"
    if process["pid"] is not None:
        line += f", process {process['pid']}"
    if process["restarts"]:
        line += f", restarted {counted(process['restarts'], 'time')}"
    if process["last_exit"]:
        line += f", last end: {process['last_exit']}"
    if process["next_start_s"] is not None:
        line += f", next start in {process['next_start_s']:.0f} s"
    return line


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


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print()
    if sys.stdout.isatty():
        _rich_table(columns, rows)
    else:
        print("\n".join(plain_table(columns, rows)))


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns for a pipe: two spaces between, nothing at the end of a line."""
    table = [columns, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
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
