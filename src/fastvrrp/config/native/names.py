"""What the keywords are called in YAML: the keyword table, with plurals for lists.

A keyword that nobody mentions here has its own name, so that a new row of the table is a new key.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from fastvrrp.config.keywords import TOP, Keyword, table

GLOBAL, DEFAULTS, TEMPLATES, INCLUDE = "global", "defaults", "templates", "include"
NODES = "nodes"  # parts of a document that are for one router
VIRTUAL_SERVER = "virtual_server"
REAL_SERVER = "virtual_server/real_server"
# Keywords outside all blocks that open one, and the section they are in YAML.
SECTIONS = {
    "SSL": "tls",
    "global_defs": "global",
    "static_ipaddress": "static_addresses",
    "vrrp_instance": "instances",
    "vrrp_script": "track_scripts",
    "vrrp_sync_group": "sync_groups",
    "vrrp_track_process": "track_processes",
}
_RENAMED = {
    "-nodad": "dad",
    "lvs_method": "method",
    "lvs_sched": "scheduler",
    "misc_dynamic": "dynamic",
    "misc_path": "command",
    "misc_timeout": "timeout",
    "nexthop": "nexthops",
    "real_server": "real_servers",
    "sorry_server_lvs_method": "sorry_server_method",
    "track_file": "track_files",
    "track_interface": "track_interfaces",
    "track_process": "track_processes",
    "track_script": "track_scripts",
    "track_virtual_server": "track_virtual_servers",
    "unicast_peer": "unicast_peers",
    "virtual_ipaddress": "addresses",
    "virtual_ipaddress_excluded": "excluded_addresses",
    "virtual_routes": "routes",
    "virtual_rules": "rules",
}
_RENAMED_THERE = {
    ("track_group", "group"): "instances",
    ("vrrp_sync_group", "group"): "instances",
    ("virtual_server/real_server/FILE_CHECK", "track_file"): "track_file",
}
CHECK_NAMES = {"HTTP_GET": "http", "SSL_GET": "https"}
# What includes check is always checked here, and they stand outside global_defs.
_NOT_IN_YAML = frozenset((("global_defs", "include_check"),))


def section(keyword: Keyword) -> str:
    """The name of the section of a keyword that opens a block outside all others."""
    plural = keyword.type.startswith(("block:", "block")) and keyword.keyword != "SSL"
    return SECTIONS.get(keyword.keyword, keyword.keyword + "s" * plural)


@functools.cache
def sections() -> Mapping[str, Keyword]:
    """Section -> the keyword whose blocks it has, in the order of the table."""
    rows = table()[TOP].values()
    return {
        section(row): row
        for row in rows
        if row.type.startswith(("block", "lines")) and not is_old(row, table()[TOP])
    }


def is_old(row: Keyword, block: Mapping[str, Keyword]) -> bool:
    """Whether a keyword is another spelling of one in the same block."""
    if row.canonical in block:
        return True
    return any(row.keyword in other.aliases.split(", ") for other in block.values())


def is_check(row: Keyword) -> bool:
    """Whether a keyword of real_server opens a checker."""
    return row.block == REAL_SERVER and row.type.startswith("block")


def check_name(keyword: str) -> str:
    """`tcp` for TCP_CHECK."""
    return CHECK_NAMES.get(keyword, keyword.removesuffix("_CHECK").lower())


def key_of(row: Keyword) -> str:
    """The key of a keyword within its block; of an argument that is no word, a name for it."""
    there = _RENAMED_THERE.get((row.block, row.keyword))
    if there is not None:
        return there
    word = _RENAMED.get(row.keyword, row.keyword)
    return word.strip("()").lower() if word[:1] == "(" or word.isupper() else word


def negative_of(row: Keyword, block: Mapping[str, Keyword]) -> str:
    """The keyword that turns a flag off, "" if there is none."""
    if row.type == "flag":
        for word in (f"no{row.keyword}", f"no_{row.keyword}"):
            if word in block:
                return word
    return ""


@functools.cache
def keys(path: str) -> Mapping[str, Keyword]:
    """Key -> row of the keywords that a block has in YAML; checkers, which are a list, are not
    among them."""
    block = table().get(path, {})
    negatives = {negative_of(row, block) for row in block.values()}
    return {
        key_of(row): row
        for word, row in block.items()
        if word not in negatives
        and not is_old(row, block)
        and not is_check(row)
        and (path, word) not in _NOT_IN_YAML
    }


@functools.cache
def global_keys() -> Mapping[str, Keyword]:
    """The keys of `global`: global_defs, and what stands outside all blocks in keepalived.conf."""
    outside = {
        key: row for key, row in keys(TOP).items() if not row.type.startswith(("block", "lines"))
    }
    return {**outside, **keys("global_defs")}


@functools.cache
def checks() -> Mapping[str, Keyword]:
    """Name -> row of the checkers of a real server."""
    rows = table()[REAL_SERVER].values()
    return {check_name(row.keyword): row for row in rows if is_check(row)}


@functools.cache
def spelt(path: str) -> Mapping[str, str]:
    """Words of keepalived.conf that have another key in YAML -> what to write there."""
    block = table().get(path, {})
    known = {row.keyword: key for key, row in keys(path).items()}
    found = {word: key for word, key in known.items() if word != key}
    for word, row in block.items():
        if row.canonical in known:
            found[word] = known[row.canonical]
        negative = negative_of(row, block)
        if negative:
            found[negative] = f"{known[word]}: false"
        if is_check(row):
            found[word] = f"checks: [{check_name(word)}]"
    return found
