"""Which figures of which kind of case the page shows, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    key: str
    title: str
    digits: int = 1
    scale: float = 1.0


@dataclass(frozen=True)
class Table:
    """How the cases of one kind are shown; `ratio` is the column of which ratios are given."""

    kind: str
    title: str
    columns: tuple[Column, ...]
    ratio: str | None = None


KB_TO_MB = 1 / 1024
FALSE_TAKEOVERS = Column("false_takeovers", "false takeovers", 0)
MEMORY = "memory (PSS) MB"
RATE = Column("rate", "adverts/s", 0)


def cost(digits: int) -> tuple[Column, ...]:
    return (
        Column("send_us", "sender, us CPU per advert", digits),
        Column("receive_us", "receiver", digits),
        Column("together_us", "together", digits),
    )


def error(*digits: int) -> tuple[Column, ...]:
    """Of the intervals between adverts: median, 99th percentile, greatest."""
    titles = ("interval error, ms p50", "p99", "max")
    keys = ("error_p50_ms", "error_p99_ms", "error_max_ms")
    return tuple(map(Column, keys, titles, digits))


def cpu(*sides: str) -> tuple[Column, ...]:
    names = {"a": "master", "b": "backup"}
    return tuple(Column(f"{side}_cpu_percent", f"CPU of the {names[side]}, %") for side in sides)


TABLES = (
    Table(
        "steady",
        "Steady state",
        (
            *cost(1),
            RATE,
            *error(3, 3, 2),
            Column("over_1_5", "later than half an interval", 0),
            FALSE_TAKEOVERS,
            Column("load_s", "exec to all masters, s", 2),
            Column("pss_a_kb", MEMORY, 1, KB_TO_MB),
        ),
        "together_us",
    ),
    Table(
        "saturation",
        "The largest loads",
        (
            Column("rate_share", "adverts heard / due", 3),
            Column("late_percent", "later than half an interval, %", 3),
            Column("late", "of them", 0),
            FALSE_TAKEOVERS,
            *error(3, 3, 2),
            *cpu("a", "b"),
        ),
    ),
    Table(
        "check",
        "Reading the configuration (the command that checks it)",
        (
            Column("cpu_s", "CPU s", 3),
            Column("reading_s", "without the bare interpreter", 3),
            Column("wall_s", "wall s", 3),
        ),
        "cpu_s",
    ),
    Table(
        "startup",
        "Start of address owners: seconds from exec",
        (
            Column("first_advert_s", "first advert", 3),
            Column("last_advert_s", "last first-advert", 3),
            Column("first_to_last_s", "first to last", 3),
            Column("after_reading_s", "beyond a check of the file", 3),
            Column("last_address_s", "last address", 3),
            Column("last_announced_s", "last announced", 3),
            Column("added_again", "added again", 0),
            Column("cpu_s", "CPU s", 3),
            Column("pss_kb", MEMORY, 1, KB_TO_MB),
            Column("rss_kb", "RSS MB", 1, KB_TO_MB),
        ),
        "last_advert_s",
    ),
    Table(
        "takeover",
        "Takeover",
        (
            Column("tail_ms", "last due to last address and announcement, ms"),
            Column("tail_advert_ms", "to last first-advert, ms"),
            Column("address_p50_ms", "own due to address, ms p50", 2),
            Column("address_p99_ms", "p99", 2),
            Column("address_max_ms", "max", 2),
            Column("earliest_ms", "own due to first advert, least, ms", 2),
            Column("outage_ms", "end of the master to all done, ms"),
            Column("cpu_us_each", "us CPU per instance"),
            Column("cpu_us_each_beyond_adverts", "with what follows"),
        ),
        "tail_ms",
    ),
    Table(
        "reload",
        "Reload of an unchanged file",
        (
            Column("longest_gap_s", "longest gap between adverts, s", 3),
            FALSE_TAKEOVERS,
            Column("addresses_touched", "addresses touched", 0),
            Column("announcements", "announcements", 0),
            Column("reload_s", "until it says so, s", 3),
            Column("cpu_ms", "extra CPU ms"),
        ),
        "longest_gap_s",
    ),
    Table(
        "growth",
        "Many reloads that take instances away and bring them back",
        (
            Column("begin_kb", "private memory, MB before", 2, KB_TO_MB),
            Column("warm_kb", "least of the first third", 2, KB_TO_MB),
            Column("end_kb", "least of the last third", 2, KB_TO_MB),
            Column("most_kb", "most", 2, KB_TO_MB),
            Column("growth_kb", "growth, kB", 0),
            Column("reload_ms", "a reload, ms"),
        ),
    ),
    Table(
        "pressure",
        "More busy loops than cores",
        (
            FALSE_TAKEOVERS,
            Column("false_takeovers_before", "before the loops", 0),
            Column("rate_share", "adverts heard / due", 3),
            *error(3, 2, 1),
        ),
    ),
    Table(
        "flood",
        "Many invalid packets from a third host",
        (
            FALSE_TAKEOVERS,
            Column("log_lines", "log lines", 0),
            *cpu("b"),
            Column("flood_rate", "packets/s", 0),
        ),
        "b_cpu_percent",
    ),
    Table(
        "trickle",
        "A few invalid packets a second for a virtual router that lives",
        (
            FALSE_TAKEOVERS,
            Column("checksum", "by checksum", 0),
            Column("ttl", "by TTL", 0),
            Column("version", "by version", 0),
            Column("log_lines", "log lines", 0),
        ),
    ),
    Table(
        "ipvs-checks",
        "Load balancer: health checks",
        (
            Column("cpu_us_each", "CPU us per check"),
            Column("rate_share", "checks done / due", 3),
            Column("cpu_us_per_s", "CPU us per s", 0),
            Column("wakeups_per_s", "sleeps per s"),
            Column("pss_kb", MEMORY, 1, KB_TO_MB),
        ),
        "cpu_us_each",
    ),
    Table(
        "ipvs-probes",
        "Load balancer: health checks by the prober alone, on this machine",
        (
            Column("cpu_us_each", "CPU us per check"),
            Column("rate_share", "checks done / due", 3),
            Column("answered_share", "answered / done", 3),
            Column("cpu_us_per_s", "CPU us per s", 0),
            Column("wakeups_per_s", "sleeps per s"),
        ),
    ),
    Table(
        "ipvs-table",
        "Load balancer: start, a reload that changes one weight, and quiet",
        (
            Column("start_s", "exec to last destination, s", 2),
            Column("start_after_reading_s", "beyond a check of the file", 2),
            Column("start_cpu_s", "CPU s", 2),
            Column("reload_s", "SIGHUP to the new weight, s", 2),
            Column("reload_after_reading_s", "beyond a check of the file", 2),
            Column("reload_apply_s", "of it after reading, as it says", 3),
            Column("operations", "changes of the table", 0),
            Column("reload_cpu_s", "CPU s", 2),
            Column("idle_us_per_s", "idle, CPU us per s", 0),
            Column("idle_wakeups_per_s", "sleeps per s"),
            Column("pss_kb", MEMORY, 1, KB_TO_MB),
            Column("private_kb", "of it not shared", 1, KB_TO_MB),
        ),
        "start_s",
    ),
    Table(
        "ipvs-reading",
        "Load balancer: reading the configuration (the command that checks it)",
        (
            Column("cpu_s", "CPU s", 3),
            Column("reading_s", "without the bare interpreter", 3),
            Column("wall_s", "wall s", 3),
        ),
        "cpu_s",
    ),
    Table(
        "floor-packets",
        "Floor: packets alone, all of a tick in one batch",
        (*cost(2), Column("heard_share", "heard / sent", 4), *error(3, 3, 2)),
    ),
    Table(
        "floor-addresses",
        "Floor: addresses by rtnetlink",
        (
            Column("add_us_each", "add, us each"),
            Column("add_all_ms", "all, ms"),
            Column("delete_us_each", "delete, us each"),
        ),
    ),
    Table(
        "floor-timer",
        "Floor: one timer",
        (Column("cpu_us_each", "CPU us each"), Column("late_us_mean", "late us, mean")),
    ),
)
