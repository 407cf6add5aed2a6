"""global_defs about processes and files: titles, umask, dumps, and what accompanies a reload."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from fastvrrp.config.blocks import Entries, get
from fastvrrp.config.context import Context
from fastvrrp.config.model import DumpFiles, Housekeeping, ProcessNames

NAME_MAX = 15  # bytes of a process's name, proc(5)
STANDARD_NAMES = ProcessNames(
    supervisor="keepalived", vrrp="keepalived_vrrp", ipvs="keepalived_lvs"
)
_BIT = re.compile(r"I([RWX]|RWX)(U|G|O|USR|GRP|OTH)")
_RIGHTS = {"R": 4, "W": 2, "X": 1, "RWX": 7}
_SHIFTS = {"U": 6, "G": 3, "O": 0}


def housekeeping(context: Context, top: Entries, entries: Entries) -> Housekeeping:
    """Of all global_defs."""
    return Housekeeping(
        process_names=_names(context, entries),
        umask=_umask(context, entries),
        use_pid_dir="use_pid_dir" in top,
        dumps=_dumps(context, entries),
        reload_file=_place(context, entries, "reload_file"),
        reload_time_file=get(entries, "reload_time_file"),
        reload_repeat="reload_repeat" in entries,
        reload_check_log=_place(context, entries, "reload_check_config") or None,
        config_save_dir=get(entries, "config_save_dir"),
    )


def _names(context: Context, entries: Entries) -> ProcessNames:
    def name(keyword: str, standard: str | None) -> str | None:
        entry = entries.get(keyword)
        if entry is None:
            return standard
        text: str = entry.value
        short = text.encode()[:NAME_MAX].decode(errors="ignore")
        if short != text:
            context.warning(
                entry.node,
                f"a process name has {NAME_MAX} bytes at most, {short} is used",
                "write a shorter one",
                word=1,
            )
        return short

    standard = STANDARD_NAMES if "process_names" in entries else ProcessNames()
    return ProcessNames(
        supervisor=name("process_name", standard.supervisor),
        vrrp=name("vrrp_process_name", standard.vrrp),
        ipvs=name("checker_process_name", standard.ipvs),
    )


def _umask(context: Context, entries: Entries) -> int | None:
    entry = entries.get("umask")
    if entry is None:
        return None
    mask = umask_of(entry.value)
    if mask is None:
        context.warning(
            entry.node,
            "umask is neither a number up to 0777 nor a list of bits, ignored",
            "write 0177, or IRWXG|IRWXO",
            word=1,
        )
    return mask


def umask_of(text: str) -> int | None:
    """A number as strtol(3) takes it (octal with a leading 0), or names of bits of sys/stat.h
    without their S_, joined by `|`. None: it is neither."""
    if text[:1].isdigit():
        try:
            mask = int(text, 8) if re.fullmatch("0[0-7]+", text) else int(text, 0)
        except ValueError:
            return None
        return mask if mask <= 0o777 else None
    mask = 0
    for word in text.split("|"):
        match = _BIT.fullmatch(word.strip())
        if match is None or (match[1] == "RWX") != (len(match[2]) == 1):
            return None
        mask |= _RIGHTS[match[1]] << _SHIFTS[match[2][0]]
    return mask


def _dumps(context: Context, entries: Entries) -> DumpFiles:
    return DumpFiles(
        data=get(entries, "state_dump_file"),
        stats=get(entries, "stats_dump_file"),
        json=get(entries, "json_dump_file"),
        use_instance=bool(get(entries, "data_use_instance", False)),
        json_version=get(entries, "json_version", 1),
    )


def _place(context: Context, entries: Entries, keyword: str) -> str | None:
    """A file of which the path may be left out: "" then."""
    entry = entries.get(keyword)
    if entry is None:
        return None
    path: str = entry.value
    if path and not PurePosixPath(path).is_absolute():
        context.warning(
            entry.node,
            f"{keyword} is not an absolute path, ignored",
            "begin it with /",
            word=1,
        )
        return None
    return path
