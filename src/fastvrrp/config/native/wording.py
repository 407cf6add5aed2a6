"""Messages of the keywords' readers in the words of YAML.

The readers are the same for both formats and speak keepalived's language; what has another name
in YAML is called by it here. No argument of a message is touched: they are in quotes.
"""

from __future__ import annotations

import re

# Hints that show a whole statement.
HINTS = {
    "add virtual_ipaddress { ADDRESS }, or no_virtual_ipaddress": (
        "add addresses: [ADDRESS], or no_virtual_ipaddress: true"
    ),
    "add virtual_ipaddress { ADDRESS }": "add addresses: [ADDRESS]",
    "add group { INSTANCE ... }": "add instances: [INSTANCE, ...]",
    "add group { INSTANCE }": "add instances: [INSTANCE]",
    "add track_group NAME { group { INSTANCE } }": (
        "add track_groups: {NAME: {instances: [INSTANCE]}}"
    ),
    "add url { path / }": "add url: {path: /}",
    "add real_server ADDRESS PORT { ... }": "add real_servers: [ADDRESS:PORT]",
    "add path /": "add path: /",
    "move global_defs to the beginning": "write it to global",
}
WORDS = {
    "global_defs": "global",
    "lvs_method": "method",
    "lvs_sched": "scheduler",
    "misc_path": "command",
    "misc_timeout": "timeout",
    "nopreempt": "preempt: false",
    "no_accept": "accept: false",
    "sorry_server_lvs_method": "sorry_server_method",
    "unicast_peer": "unicast_peers",
    "virtual_ipaddress": "addresses",
    "virtual_ipaddress_excluded": "excluded_addresses",
    "virtual_routes": "routes",
    "virtual_rules": "rules",
    "vrrp_instance": "instance",
    "vrrp_script": "track_script",
    "vrrp_sync_group": "sync_group",
    "vrrp_track_process": "track_process",
}
_PIECES = re.compile(r"'[^']*'|[A-Za-z_][A-Za-z0-9_-]*")


def native_wording(text: str) -> str:
    """The message or hint; what stands in quotes stays."""
    hint = HINTS.get(text)
    if hint is not None:
        return hint
    return _PIECES.sub(lambda match: WORDS.get(match[0], match[0]), text)
