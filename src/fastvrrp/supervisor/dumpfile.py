"""Dump files: where they are, and writing one so that nobody is ever shown half of it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from fastvrrp.config.model import GlobalDefs

MODE = 0o664  # what the umask leaves of it
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# What each process adds to the name, as keepalived's do.
_PARTS = {"supervisor": "_parent", "vrrp": "", "ipvs": "_check"}


def place(kind: str, role: str, defs: GlobalDefs, directory: Path) -> Path:
    """The file of a dump ("data", "stats", "json") of one process. `directory` is where they are
    unless the configuration has another place."""
    dumps = defs.housekeeping.dumps
    path = directory / f"keepalived.{kind}"
    configured: str | None = getattr(dumps, kind)
    if configured is not None:
        path = directory / configured
        if configured.endswith("/"):
            path /= f"keepalived.{kind}"
    name = f"{path.stem}{_PARTS[role]}"
    if dumps.use_instance:
        identity = "_".join(filter(None, (defs.net_namespace, defs.instance)))
        name += f".{identity}" if identity else ""
    return path.with_name(name + path.suffix)


def replace(path: Path, data: bytes) -> None:
    """Put a file in place of the file or the link that has this name, never following a link.
    Into a device (/dev/null) it is written.

    Whoever watches the directory sees a file of this name moved in, and one of this name closed
    after it was open for writing: programs wait for the one or the other (inotify(7)). Raises
    OSError; PermissionError for a directory in which others could exchange what we made;
    FileExistsError for what is neither file nor device, nor a link to a file.
    """
    kind = _kind(path)
    if kind == stat.S_IFCHR and not path.is_symlink():
        with open(os.open(path, _WRITE), "wb", buffering=0) as device:  # noqa: PTH123 (a descriptor)
            device.write(data)
        return
    if kind not in (0, stat.S_IFREG):
        raise FileExistsError(errno.EEXIST, "it is no ordinary file", str(path))
    mode = path.parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise PermissionError(f"{path.parent} can be written by everybody")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        with open(os.open(temporary, _WRITE | os.O_CREAT | os.O_EXCL, MODE), "wb") as file:  # noqa: PTH123 (a descriptor)
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk need not keep what is of no use
        raise
    os.close(os.open(path, _WRITE))


def _kind(path: Path) -> int:
    """What the name leads to, also through links; 0 for nothing."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError:  # a link to nowhere, or in a circle
        return 0
