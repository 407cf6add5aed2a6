"""What fastvrrp wants to reach, and how each goal is judged by the results.

A goal for a figure is judged by the median of the rounds; a goal for a count (`worst`), which
says how often something happened that should not happen, by the worst round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.servers import SERVERS, SERVICES

from .figures import Summary, summary
from .results import Results, Series

REFERENCE = "keepalived"
GROWTH_KB = 256  # by which the memory of a process comes and goes, however many reloads
Reader = Callable[[Results, str], Summary | None]  # of the results and a contender's name


@dataclass(frozen=True)
class Of:
    """A value of a case as it was measured, of whom it is asked or always of `whose`."""

    case: str
    key: str
    scale: float = 1.0
    whose: str | None = None

    def __call__(self, results: Results, contender: str) -> Summary | None:
        series = results.get(self.case, self.whose or contender)
        found = series.summary(self.key) if series else None
        return Summary(*(number * self.scale for number in found)) if found else None


def _per_round(results: Results, contender: str, most: str, least: str, key: str) -> list[float]:
    """What the case `most` has more than the case `least`, round by round."""
    large, small = results.get(most, contender), results.get(least, contender)
    if large is None or small is None:
        return []
    base = small.by_round(key)
    return [value - base[n] for n, value in large.by_round(key).items() if n in base]


def memory_per_instance(results: Results, contender: str) -> Summary | None:
    """kB (PSS) that each of 4096 instances adds to the first."""
    more = _per_round(results, contender, "startup-4096@1", "startup-1@1", "pss_kb")
    return summary([kb / 4095 for kb in more]) if more else None


def reading_beyond_one(results: Results, contender: str) -> Summary | None:
    """CPU seconds of reading 4096 instances that reading a single one does not cost."""
    more = _per_round(results, contender, "check-4096", "check-1", "cpu_s")
    return summary(more) if more else None


def _clean(series: Series) -> bool:
    """Whether every advert came on time and nobody took over, in every round."""
    wrong = ("over_1_5", "silent", "false_takeovers")
    if series.failures or any(number > 0 for key in wrong for number in series.numbers(key)):
        return False
    return all(share > 0.99 for share in series.numbers("rate_share"))


def largest_load(results: Results, contender: str) -> Summary | None:
    """Adverts per second of the largest load that was carried without a fault."""
    by_load: dict[float, list[Series]] = {}
    for one in results.of_kind("saturation") + results.of_kind("steady"):
        if one.contender == contender:
            load = one.parameters["instances"] / one.parameters["interval_s"]
            by_load.setdefault(load, []).append(one)
    if not by_load:
        return None
    clean = [load for load, several in by_load.items() if all(map(_clean, several))]
    return summary([max(clean, default=0.0)])


@dataclass(frozen=True)
class Goal:
    """`limit` None: less than the reference needs. `at_least`: the figure should be that high."""

    measure: str
    read: Reader
    limit: float | None
    contender: str = "fastvrrp"
    digits: int = 1
    worst: bool = False
    at_least: bool = False
    floor: Reader | None = None
    reference: str = REFERENCE

    def text(self) -> str:
        if self.limit is None:
            return f"below {self.reference}"
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:,g}" if self.limit else "0"

    def reached(self, results: Results) -> bool | None:
        """None when it was not measured."""
        found = self.read(results, self.contender)
        if found is None:
            return None
        if self.limit is None:
            other = self.read(results, self.reference)
            return None if other is None else found.median < other.median
        if self.at_least:
            return (found.low if self.worst else found.median) >= self.limit
        return (found.high if self.worst else found.median) <= self.limit


def _count(
    measure: str,
    case: str,
    key: str,
    limit: float = 0,
    by: str = "fastvrrp",
    floor: Reader | None = None,
) -> Goal:
    return Goal(measure, Of(case, key), limit, by, digits=0, worst=True, floor=floor)


def _cost(load: str, words: str, limit: float | None, by: str = "fastvrrp") -> Goal:
    """CPU per advert on both sides with either kind of socket, beside the floor's."""
    backend = "packet" if "packet" in by else "raw"
    case = f"floor-packets-{backend}-{load}"
    measure = f"CPU per advert, sender and receiver, {words}, us"
    floor = Of(case, "together_us", whose="floor") if limit is not None else None
    return Goal(measure, Of(f"steady-{load}", "together_us"), limit, by, floor=floor)


def _punctual(daemon: str, awake: str = "") -> tuple[Goal, ...]:
    """Adverts of the largest load that keepalived carries as well. `awake`: how the names end of
    those whose processors do not sleep."""
    backend = "packet" if "packet" in daemon else "raw"
    case = f"floor-packets-{backend}-4096@0.1"

    def goal(measure: str, key: str, limit: float, digits: int) -> Goal:
        return Goal(
            measure,
            Of("steady-4096@0.1", key),
            limit,
            daemon + awake,
            digits=digits,
            floor=Of(case, key, whose=f"floor{awake}"),
            reference=f"{REFERENCE}{awake}",
        )

    return (
        goal("lateness of adverts, 4096 every 100 ms, p99, ms", "error_p99_ms", 0.25, 3),
        goal("the same, greatest, ms", "error_max_ms", 2, 2),
    )


def _carried(load: str, words: str, by: str) -> tuple[Goal, ...]:
    """A load for a minute without a fault; the floor has it for ten seconds."""
    case = f"saturation-{load}-60s"
    backend = "packet" if "packet" in by else "raw"
    floor = Of(f"floor-packets-{backend}-{load}", "over_1_5", whose="floor")
    late = f"{words}, 60 s: adverts later than half an interval"
    return (
        _count(late, case, "late", by=by, floor=floor),
        _count(f"{words}, 60 s: false takeovers", case, "false_takeovers", by=by),
    )


def _flooded(fault: str, words: str, cpu_limit: float | None) -> list[Goal]:
    case = f"flood-{fault}-100000-250@0.1"
    goals = [
        _count(f"flood of {words}: false takeovers", case, "false_takeovers"),
        _count(f"flood of {words}: log lines", case, "log_lines", 20),
    ]
    if cpu_limit is not None:
        measure = f"flood of {words}: CPU of the backup, % of a processor"
        goals.append(Goal(measure, Of(case, "b_cpu_percent"), cpu_limit))
    return goals


_KILL, _STOP = "takeover-kill-4096@0.1", "takeover-stop-4096@0.1"
_FLOOR_64 = Of("floor-addresses-4096-64", "add_all_ms", whose="floor")
_RELOAD = "reload-4096@0.1"
_PRESSURE = "pressure-255@0.01-60s"
LARGEST = "largest load with every advert on time and no false takeover, adverts/s"
_MANY = "steady-32768@1"
_LARGE = f"{SERVICES} virtual servers, {SERVERS} real servers"
_TABLE = f"ipvs-table-{SERVICES}x{SERVERS}"
_READING = f"ipvs-reading-{SERVICES}x{SERVERS}"

GOALS: tuple[Goal, ...] = (
    _cost("4096@0.1", "4096 every 100 ms", 5.5),
    _cost("4096@0.1", "4096 every 100 ms", 2.8, "fastvrrp-packet"),
    _cost("4096@0.1", "4096 every 100 ms", 2.8, "fastvrrp-packet-quiet"),
    _cost("4096@1", "4096 every second", 9),
    _cost("4096@1", "4096 every second", 5, "fastvrrp-packet"),
    _cost("255@0.1", "255 every 100 ms", 12),
    _cost("255@1", "255 every second", None),
    _cost("16@1", "16 every second", None),
    Goal("CPU per second, one instance every second, sender, us", Of("steady-1@1", "send_us"), 80),
    Goal("the same, receiver", Of("steady-1@1", "receive_us"), 28),
    Goal(
        LARGEST,
        largest_load,
        204_800,
        digits=0,
        at_least=True,
    ),
    Goal(LARGEST, largest_load, 409_600, "fastvrrp-packet-quiet-threads", digits=0, at_least=True),
    Goal(LARGEST, largest_load, 409_600, "fastvrrp-packet", digits=0, at_least=True),
    *_carried("4096@0.02", "4096 every 20 ms", "fastvrrp"),
    *_carried("4096@0.02", "4096 every 20 ms", "fastvrrp-awake"),
    *_carried("4096@0.01", "4096 every 10 ms", "fastvrrp-packet-quiet"),
    *_carried("4096@0.01", "4096 every 10 ms", "fastvrrp-packet-quiet-threads"),
    *_punctual("fastvrrp"),
    *_punctual("fastvrrp", "-awake"),
    *_punctual("fastvrrp-packet", "-awake"),
    Goal(
        "takeover of 4096 after kill -9: last due to last address and announcement, ms",
        Of(_KILL, "tail_ms"),
        45,
        floor=_FLOOR_64,
    ),
    Goal("the same: last due to last first-advert, ms", Of(_KILL, "tail_advert_ms"), 12),
    Goal("takeover of 4096 after SIGTERM: last due to all done, ms", Of(_STOP, "tail_ms"), 50),
    Goal("CPU per instance taken over (1024), us", Of("takeover-kill-1024@0.1", "cpu_us_each"), 25),
    Goal(
        "4096 address owners: exec to last first-advert, s",
        Of("startup-4096@1", "last_advert_s"),
        0.33,
        digits=3,
    ),
    Goal(
        "the same, beyond what a check of the file takes, s",
        Of("startup-4096@1", "after_reading_s"),
        0.10,
        digits=3,
    ),
    Goal(
        "reading 4096 instances, CPU beyond the bare interpreter, s",
        Of("check-4096", "reading_s"),
        0.177,
        digits=3,
    ),
    Goal("the same, beyond reading one instance, s", reading_beyond_one, 0.177, digits=3),
    Goal("memory per instance, kB (PSS)", memory_per_instance, 1.0, digits=2),
    Goal("memory in all at 4096, MB (PSS)", Of("startup-4096@1", "pss_kb", 1 / 1024), 70),
    Goal("growth over 1000 reloads, kB", Of("growth-64@1-1000", "growth_kb"), GROWTH_KB, digits=0),
    Goal("reload of 4096 unchanged: longest gap, s", Of(_RELOAD, "longest_gap_s"), 0.11, digits=3),
    _count("the same: false takeovers", _RELOAD, "false_takeovers"),
    _count("4 busy loops, 255 every 10 ms, 60 s: false takeovers", _PRESSURE, "false_takeovers"),
    Goal("the same: interval error p99, ms", Of(_PRESSURE, "error_p99_ms"), 0.3, digits=3),
    *_flooded("checksum", "bad checksums", None),
    *_flooded("ttl", "bad TTLs", 20),
    *_flooded("vrid", "an unknown VRID", 20),
    *(
        _count(
            f"{rate} invalid packets/s for a live VRID: false takeovers",
            f"trickle-{rate}-250@0.1",
            "false_takeovers",
        )
        for rate in (12, 50)
    ),
    Goal(
        "CPU per TCP_CHECK, 10,000 servers every second, us",
        Of("ipvs-checks-tcp-10000@1", "cpu_us_each"),
        None,
    ),
    Goal("CPU per HTTP_GET, 2000 a second, us", Of("ipvs-checks-http-2000@1", "cpu_us_each"), None),
    Goal(
        "10,000 TCP_CHECKs a second on one processor: done / due",
        Of("ipvs-probes-tcp-10000@1", "rate_share"),
        0.99,
        digits=3,
        at_least=True,
        worst=True,
    ),
    Goal(
        "2000 HTTP_GETs a second on one processor: done / due",
        Of("ipvs-probes-http-2000@1", "rate_share"),
        0.99,
        digits=3,
        at_least=True,
        worst=True,
    ),
    Goal(f"{_LARGE}: exec to last destination, s", Of(_TABLE, "start_s"), None, digits=2),
    Goal(
        "the same: one weight changed, beyond a check of the file, s",
        Of(_TABLE, "reload_after_reading_s"),
        0.24,
        digits=3,
    ),
    Goal(
        "the same: in effect after it was read, as the daemon says, s",
        Of(_TABLE, "reload_apply_s"),
        0.24,
        digits=3,
    ),
    Goal("the same: changes of the kernel's table", Of(_TABLE, "operations"), 1, digits=0),
    Goal(f"reading {_LARGE}, CPU s", Of(_READING, "cpu_s"), None, digits=3),
    Goal(
        "32768 every second: masters",
        Of(_MANY, "masters"),
        32768,
        digits=0,
        at_least=True,
        worst=True,
    ),
    _count("the same: adverts later than half an interval", _MANY, "over_1_5"),
    _count("the same: false takeovers", _MANY, "false_takeovers"),
)
