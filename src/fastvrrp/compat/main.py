"""`fastvrrp keepalived`, also installed as fastvrrp-keepalived: the daemon for whoever starts
keepalived. Unit files, container entry points and roles stay as they are but for the name.

Options come from `options`; what is done with them is here. What has no effect is told in one line
of the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from fastvrrp import streams
from fastvrrp.compat import background, options, version
from fastvrrp.compat.options import Given, UsageError
from fastvrrp.compat.pidfiles import Identity, PidFiles, Running, paths
from fastvrrp.config.include import matching
from fastvrrp.supervisor.destinations import FACILITIES, Destinations
from fastvrrp.supervisor.early import Early, EarlySignals
from fastvrrp.supervisor.housekeeping import UMASK
from fastvrrp.supervisor.manner import Manner
from fastvrrp.supervisor.reading import Wanted

log = logging.getLogger(__name__)

PROGRAM = "fastvrrp-keepalived"
CONFIGURATION = Path("/etc/keepalived/keepalived.conf")
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")

EXIT_USAGE = 1
EXIT_CONFIGURATION = 2
EXIT_MISSING = 6
EXIT_RUNNING = 0  # keepalived's: the second of two daemons says so and ends well

NAMES = dict.fromkeys(("supervisor", "vrrp", "ipvs"), "keepalived")
"""What scripts look for with pidof and killall, and what keepalived's processes are called."""
# The files that are meant when somebody speaks of "the" keepalived of a host.
USUAL_PID_FILES = frozenset(
    Path(directory, name)
    for directory in ("/run", "/var/run")
    for name in ("keepalived.pid", "keepalived/keepalived.pid")
)
# What may make this one of several daemons, or is in a file that is included.
_MAY_NAME = re.compile(
    rb"^[ \t]*(@\S+[ \t]+)?(net_namespace|instance|use_pid_dir|include\w*)\b", re.MULTILINE
)


def main(argv: Sequence[str] | None = None) -> int:
    """The whole command line; returns the exit code."""
    streams.complete()
    words = sys.argv[1:] if argv is None else list(argv)
    if Path(sys.argv[0]).name == "genhash" or words[:1] in (["-T"], ["--genhash"]):
        from fastvrrp.cli.main import main as command

        rest = words[1:] if words[:1] in (["-T"], ["--genhash"]) else words
        return command(["genhash", *rest])
    try:
        given = options.read(words)
        done = _print(given)
        if done is not None:
            return done
        return _daemon(given)
    except UsageError as exc:
        sys.stderr.write(f"{PROGRAM}: {exc}\nTry '{PROGRAM} --help'\n")
        return EXIT_USAGE


def _print(given: Given) -> int | None:
    """What only prints something, or checks; None: it is a daemon that is wanted."""
    if "help" in given:
        sys.stderr.write(options.usage(PROGRAM))
        return 0
    if "version" in given:
        sys.stderr.write(version.text())
        return 0
    name = given.get("signum")
    if name is not None:
        if name not in version.SIGNALS:
            raise UsageError(f"--signum: no {name}; there are {', '.join(version.SIGNALS)}")
        print(int(version.SIGNALS[name]))
        return 0
    for word in given.stray:
        sys.stderr.write(f"{PROGRAM}: unexpected argument {word}\n")
    if "config-test" in given:
        from fastvrrp.compat import configtest

        try:
            return configtest.run(wanted(given), given.get("config-test"))
        except OSError as exc:
            raise UsageError(f"--config-test: {exc.filename}: {exc.strerror}") from exc
    return None


def wanted(given: Given) -> Wanted:
    """Which configuration. Raises UsageError."""
    only = None
    if "vrrp" in given and "check" in given:
        raise UsageError("-P and -C together leave nothing to run")
    if "vrrp" in given:
        only = "vrrp"
    elif "check" in given:
        only = "ipvs"
    return Wanted(
        file=Path(given.get("use-file") or CONFIGURATION).absolute(),
        config_id=given.get("config-id"),
        only=only,
        net_namespace=given.get("namespace"),
        strict_includes="all-config" in given,
        tolerant=True,
    )


def _daemon(given: Given) -> int:
    facility(given)  # a wrong value is to be told here, not to a log
    umask(given)
    if "dont-fork" in given:
        return _run(given, None)
    return background.run(lambda readiness: _run(given, readiness))


def _run(given: Given, readiness: background.Readiness | None) -> int:
    """In the process that is the daemon."""
    with contextlib.closing(Early(ignore_sigint="ignore-sigint" in given)) as early:
        return _live(given, readiness, early)


def _live(given: Given, readiness: background.Readiness | None, begun: Early) -> int:
    asked = umask(given)
    os.umask(UMASK if asked is None else asked)
    what = wanted(given)
    identity = identify(what, begun.signals)
    to = destinations(given, identity, foreground=readiness is None)
    run_dir = directory(given, identity)
    files = PidFiles(
        paths(
            {
                "supervisor": given.get("pid"),
                "vrrp": given.get("vrrp_pid"),
                "ipvs": given.get("checkers_pid"),
            },
            identity,
        )
    )
    from fastvrrp.supervisor import destinations as logging_to
    from fastvrrp.supervisor import start

    early = readiness.handler if readiness is not None else None
    logging_to.setup(to, "supervisor", also=() if early is None else (early,))
    _tell(given, run_dir)
    manner = Manner(
        names=NAMES,
        pid_files=files,
        exit_configuration=EXIT_CONFIGURATION,
        exit_missing=EXIT_MISSING,
        exit_running=EXIT_RUNNING,
        respawn="dont-respawn" not in given,
        keep_services="dont-release-ipvs" in given,
        ignore_sigint="ignore-sigint" in given,
        umask=asked,
        dump_dir=dump_dir(),
        early=early,
        on_ready=readiness.tell if readiness is not None else lambda: None,
    )
    restore = None
    try:
        restore = _core_dumps(given)
        code = _acquire(files)
        if code is not None:
            return code
        return start.run(start.Options(wanted=what, run_dir=run_dir, log=to, manner=manner), begun)
    finally:
        files.close()
        if restore is not None:
            CORE_PATTERN.write_text(restore)


def _acquire(files: PidFiles) -> int | None:
    """The exit code if that is not possible."""
    try:
        files.acquire()
    except Running as exc:
        log.error("daemon is already running: %s", exc)
        return EXIT_RUNNING
    except OSError as exc:
        log.error("cannot use pid file %s: %s", exc.filename, exc.strerror)
        return EXIT_USAGE
    return None


def _tell(given: Given, run_dir: Path) -> None:
    """One line with the options that do nothing; one with where our own files are."""
    without = [o for o in options.OPTIONS if o.without and o.long in given]
    if without:
        reasons = "; ".join(f"--{option.long} ({option.without})" for option in without)
        log.warning("without effect: %s", reasons)
    log.info("Dump files and the control socket are in %s", dump_dir() or run_dir)
    if dump_dir() is not None:
        log.info("The control socket is in %s", run_dir)


def identify(what: Wanted, signals: EarlySignals) -> Identity:
    """What tells this daemon from others of the host, as far as its files can be read."""
    try:
        with signals.stop_at_once():
            text = b"\n".join(file.read_bytes() for file in matching(what.file))
    except OSError:
        text = b""  # the daemon says more about that
    identity = Identity(net_namespace=what.net_namespace)
    if _MAY_NAME.search(text) is None:
        return identity
    defs = _global_defs(what, signals)
    return Identity(*defs) if defs is not None else identity


def _global_defs(what: Wanted, signals: EarlySignals) -> tuple[str | None, str | None, bool] | None:
    """Network namespace, instance, use_pid_dir; read in a process that ends, because a parser
    takes memory and we are to live for years. None for a file with errors. Raises OSError."""
    import msgspec

    from fastvrrp.supervisor import fork
    from fastvrrp.supervisor.channel import read_all
    from fastvrrp.supervisor.reader import Outcome
    from fastvrrp.supervisor.reading import start_reading

    with contextlib.closing(start_reading(what, fork.launch)) as reading:
        with signals.stop_at_once():
            code = reading.process.wait()
        if code != 0:
            return None
        held = msgspec.msgpack.decode(read_all(reading.out), type=Outcome).held
    if held is None:
        return None
    defs = held.global_defs
    return defs.net_namespace, defs.instance, defs.housekeeping.use_pid_dir


def directory(given: Given, identity: Identity) -> Path:
    """The run directory: one for each daemon, as pid files are, and the usual one for the usual
    pid file."""
    asked = given.get("run-dir")
    if asked is not None:
        return Path(asked)
    base = Path("/run/fastvrrp")
    parts = [part for part in (identity.net_namespace, identity.instance) if part]
    pid_file = given.get("pid")
    if pid_file is not None and Path(pid_file).absolute() not in USUAL_PID_FILES:
        path = Path(pid_file).absolute().with_suffix("")
        parts = [word for word in path.parts[1:] if word not in ("run", "var")]
    return base.with_name("-".join((base.name, *parts)))


def dump_dir() -> Path | None:
    """TMPDIR, which is where keepalived writes its dumps then; None without it.

    A directory in which everybody may create files is not taken."""
    value = os.environ.get("TMPDIR", "")
    path = Path(value)
    try:
        private = path.is_dir() and not path.stat().st_mode & 0o002
    except OSError:
        return None
    return path if value and path.is_absolute() and private else None


def destinations(given: Given, identity: Identity, *, foreground: bool) -> Destinations:
    """Where the log goes: syslog unless -G; the console with -l, if there still is one."""
    names = [name for name in (identity.net_namespace, identity.instance) if name]
    file = None
    if "log-file" in given:
        file = Path(given.get("log-file") or directory(given, identity) / "keepalived.log")
    return Destinations(
        level="debug" if given.count.get("log-detail", 0) > 1 else "info",
        console=foreground and "log-console" in given,
        facility=None if "no-syslog" in given else facility(given),
        suffix="".join(f"_{name}" for name in names),
        file=None if file is None else file.absolute(),
    )


def facility(given: Given) -> str:
    """Raises UsageError."""
    value = given.get("log-facility") or "daemon"
    name = f"local{value}" if value.isdigit() else value
    if name not in FACILITIES:
        raise UsageError(f"--log-facility: no {value}; there are {', '.join(FACILITIES)}")
    return name


def umask(given: Given) -> int | None:
    """Octal, decimal or hexadecimal as strtol(3) takes it. Raises UsageError."""
    value = given.get("umask")
    if value is None:
        return None
    try:
        mask = int(value, 8) if re.fullmatch("0[0-7]+", value) else int(value, 0)
    except ValueError:
        raise UsageError(f"--umask: {value} is not a number") from None
    if not 0 <= mask <= 0o777:
        raise UsageError(f"--umask: {value} is not between 0 and 0777")
    return mask


def _core_dumps(given: Given) -> str | None:
    """-m, -M: returns the pattern to be written back at the end."""
    pattern = given.get("core-dump-pattern") or "core"
    if "core-dump" not in given and "core-dump-pattern" not in given:
        return None
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if "core-dump-pattern" not in given:
            return None
        before = CORE_PATTERN.read_text()
        CORE_PATTERN.write_text(pattern)
    except (OSError, ValueError) as exc:
        log.warning("no core dumps: %s", exc)
        return None
    return before


if __name__ == "__main__":
    sys.exit(main())
