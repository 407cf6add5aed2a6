"""Coverage-guided fuzzing of what comes from outside: `python tests/fuzz/fuzz.py TARGET [SECONDS]`.

TARGET: one of the names in TARGETS. Without SECONDS it runs until interrupted. What it learns
is kept in build/fuzz/TARGET and used next time; an input that breaks something is written beside it
and named, and `fuzz.py TARGET FILE` runs that input again. Options of libFuzzer may follow.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "net"), str(TESTS / "fuzz")]
LEARNED = TESTS.parent / "build" / "fuzz"
SLOWEST_S = 60  # one input; a reader that takes longer can be made to hang


# name -> module, function under test, function that makes its seeds
TARGETS = {
    "advert": ("advert_target", "fuzz_advert", "seeds"),
    "configuration": ("configuration_target", "fuzz_configuration", "seeds"),
    "netlink": ("netlink_target", "fuzz_netlink", "seeds"),
    "smtp": ("checker_target", "fuzz_smtp", "smtp_seeds"),
    "http": ("http_target", "fuzz_http", "seeds"),
    "dns": ("checker_target", "fuzz_dns", "dns_seeds"),
    "udp": ("checker_target", "fuzz_udp", "udp_seeds"),
    "icmp": ("checker_target", "fuzz_icmp", "icmp_seeds"),
}


def target(name: str) -> tuple[Callable[[bytes], None], list[bytes]]:
    """The function under test and its seeds, compiled with branch counters."""
    if name not in TARGETS:
        raise SystemExit(f"{name} is none of {', '.join(TARGETS)}")
    module_name, function, seeds = TARGETS[name]
    with atheris.instrument_imports(include=["fastvrrp", module_name, "canned_netlink"]):
        module = importlib.import_module(module_name)
    return getattr(module, function), getattr(module, seeds)()


def arguments(name: str, seeds: list[bytes], given: list[str]) -> list[str]:
    """libFuzzer's command line: where it learns, and the seeds."""
    place = LEARNED / name
    learned, planted = place / "learned", place / "seeds"
    for directory in (learned, planted):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (planted / f"seed-{number:03}").write_bytes(seed)
    options = [f"-artifact_prefix={place}/", f"-timeout={SLOWEST_S}", "-rss_limit_mb=0"]
    if given and given[0].isdecimal():
        return [*options, f"-max_total_time={given[0]}", *given[1:], str(learned), str(planted)]
    if given and not given[0].startswith("-"):
        return [*options, *given]
    return [*options, *given, str(learned), str(planted)]


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    function, seeds = target(sys.argv[1])
    atheris.Setup([sys.argv[0], *arguments(sys.argv[1], seeds, sys.argv[2:])], function)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
