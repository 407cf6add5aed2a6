"""Coverage-guided fuzzing of what comes from outside: `python tests/fuzz/fuzz.py TARGET [SECONDS]`.

TARGET: advert, configuration, netlink. Without SECONDS it runs until interrupted. What it learns
is kept in build/fuzz/TARGET and used next time; an input that breaks something is written beside it
and named, and `fuzz.py TARGET FILE` runs that input again. Options of libFuzzer may follow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "net"), str(TESTS / "fuzz")]
LEARNED = TESTS.parent / "build" / "fuzz"
SLOWEST_S = 60  # one input; a reader that takes longer can be made to hang


def target(name: str) -> tuple[Callable[[bytes], None], list[bytes]]:
    """The function under test and its seeds, compiled with branch counters."""
    with atheris.instrument_imports(include=["fastvrrp", f"{name}_target", "canned_netlink"]):
        if name == "advert":
            import advert_target

            return advert_target.fuzz_advert, advert_target.seeds()
        if name == "configuration":
            import configuration_target

            return configuration_target.fuzz_configuration, configuration_target.seeds()
        if name == "netlink":
            import netlink_target

            return netlink_target.fuzz_netlink, netlink_target.seeds()
    raise SystemExit(f"{name} is not advert, configuration or netlink")


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
