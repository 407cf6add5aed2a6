"""What a reload leaves for others to see: reload_file while it reads, what its check said in the
file of reload_check_config, copies in config_save_dir.

None of it may keep a reload from happening: what cannot be written is a line in the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastvrrp.config.model import GlobalDefs
from fastvrrp.supervisor import dumpfile

log = logging.getLogger(__name__)

MODE_DIRECTORY = 0o750
MODE_CHECK = 0o600  # as keepalived's
PID_DIRECTORY = Path("/run")


def pid_directory(
    net_namespace: str | None, instance: str | None, use_pid_dir: bool
) -> tuple[Path, str]:
    """Where keepalived keeps PID files and the like, and what it puts behind their names."""
    directory = PID_DIRECTORY
    if net_namespace or instance or use_pid_dir:
        directory /= "keepalived"
    if net_namespace:
        directory /= net_namespace
    return directory, f"_{instance}" if instance else ""


def marker_path(defs: GlobalDefs) -> Path | None:
    """reload_file; None when there is none."""
    path = defs.housekeeping.reload_file
    if path is None:
        return None
    if path:
        return Path(path)
    use_pid_dir = defs.housekeeping.use_pid_dir
    directory, suffix = pid_directory(defs.net_namespace, defs.instance, use_pid_dir)
    return directory / f"keepalived{suffix}.reload"


@contextlib.contextmanager
def reading(defs: GlobalDefs) -> Iterator[None]:
    """While files are read there is a reload_file, and it is empty."""
    path = marker_path(defs)
    if path is None:
        yield
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, flags, dumpfile.MODE))
    except (OSError, ValueError) as exc:  # ValueError: a NUL byte in the name
        log.warning("cannot make reload_file %s: %s", path, exc)
    try:
        yield
    finally:
        try:
            path.unlink(missing_ok=True)
        except (OSError, ValueError) as exc:
            log.warning("cannot remove reload_file %s: %s", path, exc)


def checked(defs: GlobalDefs, lines: Iterable[object]) -> None:
    """What the check of a reload said, in place of what an earlier one did; an empty file when that
    was nothing. It is written to where it is, so that it may be a terminal, or be followed."""
    path = defs.housekeeping.reload_check_log
    if path is None:
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    text = "".join(f"{line}\n" for line in lines)
    try:
        descriptor = os.open(path, flags, MODE_CHECK)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as log_file:  # noqa: PTH123 (a descriptor)
            log_file.write(text)
    except (OSError, ValueError) as exc:  # ValueError: a NUL byte in the name
        log.warning("cannot write what reload_check_config found to %s: %s", path, exc)


class Copies:
    """One directory per reload in config_save_dir: the files as they were read, and state dumps."""

    def __init__(self, defs: GlobalDefs, epoch: int) -> None:
        """`epoch`: of the configuration that is in effect when it begins."""
        parent = defs.housekeeping.config_save_dir
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._directory = None if parent is None else Path(parent) / f"{stamp}-{epoch}"

    def directory(self) -> Path | None:
        """Made when it is asked for; None: nothing is kept."""
        if self._directory is None:
            return None
        try:
            for directory in (self._directory.parent, self._directory):
                directory.mkdir(mode=MODE_DIRECTORY, exist_ok=True)
        except OSError as exc:
            log.warning("nothing is kept in config_save_dir: %s", exc)
            self._directory = None
        return self._directory

    def keep(self, files: Iterable[str]) -> None:
        """Copy configuration files; their paths become names."""
        directory = self.directory()
        if directory is None:
            return
        for file in files:
            name = file.strip("/").replace("/", "-")
            try:
                dumpfile.replace(directory / name, Path(file).read_bytes())
            except OSError as exc:
                log.warning("%s is not kept in config_save_dir: %s", file, exc)
