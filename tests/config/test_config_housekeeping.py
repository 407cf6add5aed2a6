"""global_defs about processes and files: names, umask, dumps, reloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastvrrp.config.housekeeping import umask_of
from fastvrrp.config.load import load
from fastvrrp.config.model import DumpFiles, Housekeeping, ProcessNames


def read(tmp_path: Path, *lines: str, top: str = "") -> tuple[Housekeeping, list[str]]:
    file = tmp_path / "k.conf"
    body = "".join(f"    {line}\n" for line in lines)
    file.write_text(f"{top}\nglobal_defs {{\n{body}}}\n")
    loaded = load(file)
    assert loaded.configuration is not None, loaded.messages
    texts = [f"{m.position.line}: {m.text}" for m in loaded.messages]
    return loaded.configuration.global_defs.housekeeping, texts


def test_everything(tmp_path: Path) -> None:
    found, messages = read(
        tmp_path,
        "process_names",
        "vrrp_process_name gate",
        "umask IRWXG|IRWXO",
        "state_dump_file /srv/state.data",
        "stats_dump_file stats/",
        "json_dump_file json",
        "data_use_instance on",
        "json_version 2",
        "reload_file /run/marker",
        "reload_time_file /run/when",
        "reload_repeat",
        "reload_check_config /run/found",
        "config_save_dir /srv/kept",
        top="use_pid_dir",
    )
    assert messages == []
    assert found == Housekeeping(
        process_names=ProcessNames(supervisor="keepalived", vrrp="gate", ipvs="keepalived_lvs"),
        umask=0o077,
        use_pid_dir=True,
        dumps=DumpFiles(
            data="/srv/state.data", stats="stats/", json="json", use_instance=True, json_version=2
        ),
        reload_file="/run/marker",
        reload_time_file="/run/when",
        reload_repeat=True,
        reload_check_log="/run/found",
        config_save_dir="/srv/kept",
    )


def test_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == (Housekeeping(), [])


def test_names(tmp_path: Path) -> None:
    found, messages = read(
        tmp_path, "process_name a_name_of_sixteen", "lvs_process_name old", "reload_file"
    )
    assert found.process_names == ProcessNames(supervisor="a_name_of_sixte", ipvs="old")
    assert found.reload_file == ""
    assert [text for text in messages if text.startswith("3: a process name has 15 bytes")]


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("0177", 0o177),
        ("63", 63),
        ("0x1f", 31),
        ("0", 0),
        ("IRUSR", 0o400),
        ("IWGRP|IWOTH", 0o022),
        ("IXUSR|IRWXG|IRWXO", 0o177),
        ("01000", None),
        ("0888", None),
        ("IRWX", None),
        ("IRWXGRP", None),
        ("IRU", None),
        ("rwx", None),
    ],
)
def test_umask(text: str, mask: int | None) -> None:
    assert umask_of(text) == mask


def test_what_is_not_used(tmp_path: Path) -> None:
    found, messages = read(
        tmp_path,
        "umask everything",
        "reload_file marker",
        "json_version 3",
        "reload_check_config found",
    )
    assert found == Housekeeping()
    assert [text.split(": ")[0] for text in messages] == ["3", "4", "5", "6"]
