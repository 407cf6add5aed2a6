"""Configurations out of tables: for every keyword a good line and broken ones, each in a file.

A line stands in the frame of its block. What the table of keywords says of a keyword's type is
enough to write most lines; the others are written out below.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from config_reading import instance
from servers_reading import check, real, virtual

from fastvrrp.config.keywords import LANGUAGE, TOP, Keyword, table

SECURE = "enable_script_security\nscript_user root\n"
HEAD = f"global_defs {{\n{SECURE}}}\n"
CHECKERS = "virtual_server/real_server/"
ANSWERS = Path(__file__).with_name("corpus_keepalived.tsv")
DIFFERENCES = Path(__file__).with_name("corpus_differences.tsv")
DIGEST = "9b3a0c85a887a256d6939da88aabd8cd"
TRACKERS = (
    "vrrp_script S {\nscript /bin/true\n}\ntrack_file F {\nfile /tmp/x\n}\n"
    "vrrp_track_process P {\nprocess nginx\n}\n"
)
SERVER = virtual(real())
BFD = "bfd_instance B {\nneighbor_ip 10.0.0.9\n}\n"


class Case(NamedTuple):
    """A configuration; `keyword` and `kind` (good, bare, wrong) say what it is about."""

    block: str
    keyword: str
    kind: str
    line: str
    text: str

    @property
    def key(self) -> str:
        """Changes with the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        return f"{self.block.strip('()')}: {self.line}".replace("\n", " ")


def vrrp(*lines: str, vips: str = "10.0.0.1/24") -> str:
    return instance(*lines, vips=vips, interface="lan0")


def vrrp_of_line(line: str) -> str:
    """An instance with a line of its own, and without what the line brings."""
    return instance(line, name="L", vrid=9, interface="lan0", vips="10.0.3.1/24")


def in_block(name: str, line: str) -> str:
    return f"{name} {{\n{line}\n}}"


def _group(*lines: str) -> str:
    pair = vrrp() + instance(name="W", vrid=2, interface="lan0", vips="10.0.0.2/24")
    body = "\n".join(lines)
    head = HEAD + TRACKERS + _bfd(body) + SERVER + pair + USED_TRACKERS
    return head + f"vrrp_sync_group G {{\n{body}\n}}\n"


def _bfd(line: str) -> str:
    """What a line about BFD refers to; others do without, because it is a warning."""
    return BFD if "track_bfd" in line or "BFD_CHECK" in line else ""


USED_TRACKERS = instance(
    "track_script {\nS\n}",
    "track_file {\nF\n}",
    "track_process {\nP\n}",
    name="T",
    vrid=8,
    interface="lan0",
    vips="10.0.4.1/24",
)
_TOP_BLOCKS = {  # how a block's own lines become a file
    "vrrp_script": (
        HEAD + "vrrp_script S {\nscript /bin/true\n%s\n}\n" + vrrp("track_script {\nS\n}")
    ),
    "track_file": "track_file F {\nfile /tmp/x\n%s\n}\n" + vrrp("track_file {\nF\n}"),
    "vrrp_track_file": "vrrp_track_file F {\nfile /tmp/x\n%s\n}\n" + vrrp("track_file {\nF\n}"),
    "vrrp_track_process": (
        "vrrp_track_process P {\nprocess nginx\n%s\n}\n" + vrrp("track_process {\nP\n}")
    ),
    "garp_group": "garp_group {\ngarp_interval 0.1\ninterface lan0\n%s\n}\n" + vrrp(),
    "bfd_instance": "bfd_instance B {\nneighbor_ip 10.0.0.9\n%s\n}\n" + vrrp(),
    "SSL": "SSL {\n%s\n}\n" + SERVER,
    "linkbeat_interfaces": "linkbeat_interfaces {\n%s\n}\n" + vrrp(),
    "track_group": vrrp() + "track_group T {\n%s\n}\n",
    "interface_up_down_delays": "interface_up_down_delays {\n%s\n}\n" + vrrp(),
    "virtual_server_group": (
        "virtual_server_group G {\n10.0.0.5 80\n%s\n}\n"
        + virtual("lvs_method TUN", real(), head="group G")
    ),
}
_CHECKER_BASE = {
    "HTTP_GET": check("url", "path /"),
    "SSL_GET": check("url", "path /"),
    "MISC_CHECK": "misc_path /bin/true",
    "FILE_CHECK": "track_file F",
    "BFD_CHECK": "name B",
}


def frame(block: str, line: str) -> str:
    """The whole file around a line of a block."""
    if block == TOP:
        return f"{line}\n" + vrrp()
    if block in _TOP_BLOCKS:
        return _TOP_BLOCKS[block] % line
    if block == "global_defs":
        return f"global_defs {{\n{SECURE}{line}\n}}\n" + vrrp()
    if block == "vrrp_instance":
        # The instance that uses every tracker is another one: `line` may use them, too.
        return HEAD + TRACKERS + _bfd(line) + SERVER + USED_TRACKERS + vrrp_of_line(line)
    if block == "vrrp_sync_group":
        return _group("group {\nV\nW\n}", line)
    if block.startswith("vrrp_sync_group/"):
        return _group("group {\nV\nW\n}", in_block(block.rpartition("/")[2], line))
    if block == "vrrp_instance/virtual_ipaddress":
        return vrrp(vips=line)
    if block == "vrrp_instance/authentication":
        return vrrp(in_block("authentication", f"auth_type PASS\nauth_pass secret\n{line}"))
    if block.startswith("vrrp_instance/"):
        return frame("vrrp_instance", in_block(block.rpartition("/")[2], line))
    if block == "virtual_server":
        return HEAD + virtual(line, real())
    if block == "virtual_server/real_server":
        return HEAD + _bfd(line) + virtual(real(line))
    return HEAD + TRACKERS + _bfd(block) + virtual(real(_checker(block, line))) + USED_TRACKERS


def _checker(block: str, line: str) -> str:
    kind, _, inner = block.removeprefix(CHECKERS).partition("/")
    if inner == "url":
        return check(kind, check("url", "path /", line))
    if inner == "host":
        return check(kind, check("host", line))
    base = _CHECKER_BASE.get(kind)
    return check(kind, *([base] if base else []), line)


# Values of a type, and a wrong one; None: whatever is written is right.
_VALUES: dict[str, tuple[str, str | None]] = {
    "flag": ("", None),
    "bool": ("off", "foo"),
    "bool-quirk": ("off", None),
    "word": ("foo", None),
    "word?": ("foo", None),
    "path": ("/tmp/foo", None),
    "path?": ("/tmp/foo", None),
    "address": ("10.0.0.77", "10.0.0.256"),
    "command": ("/bin/true", '"/bin/true'),
    "command?": ("/bin/true", '"/bin/true'),
    "interface": ("lan1", None),
    "account": ("root", "nosuchuser"),
    "fifo": ("/tmp/fifo", "fifo"),
    "cpus": ("0", "foo"),
    "weight": ("10", "foo"),
    "forwarding": ("DR", "foo"),
    "extra-if": ("all 60", "foo"),
    "mcast4": ("224.0.0.99", "10.0.0.1"),
    "mcast6": ("ff02::99", "10.0.0.1"),
    "secret": ("secret", None),
    "timeouts": ("tcp 60 tcpfin 30 udp 20", "foo 3"),
    "smtp-server": ("127.0.0.1 25", None),
    "rx-policy": ("MTU", "foo"),
    "words?": ("foo", None),
    "include-check": ("+readable", "foo"),
    "init-file": ("5 overwrite", "foo"),
    "persistence": ("60", "foo"),
    "granularity": ("255.255.255.0", "foo"),
    "digest": (DIGEST, "12"),
    "status-codes": ("200-299 301", "foo"),
    "command-text": ("hello", '"hello'),
    "regex-options": ("caseless", "foo"),
    "regex-stack": ("100 1000", "foo"),
    "payload": ("00 01 ff", "zz"),
    "reply": ("00 01 ff", "zz"),
    "dns-name": ("example.com", "a..b"),
    "vmac": ("vrrp.51", None),
    "vmac?": ("vrrp.51", None),
}
_OPTIONAL = frozenset(
    (
        "flag",
        "bool",
        "bool-quirk",
        "word?",
        "words?",
        "path?",
        "command?",
        "choice?",
        "int?",
        "vmac",
        "include-check",
        "reply",
        "persistence",
        "init-file",
    )
)

# Lines that the type does not say: block and keyword -> good line, wrong line (or None).
LINES: dict[tuple[str, str], tuple[str, str | None]] = {
    (TOP, "global_defs"): ("global_defs {\nrouter_id x\n}", "global_defs"),
    (TOP, "net_namespace_ipvs"): ("net_namespace_ipvs foo", None),
    (TOP, "linkbeat_interfaces"): ("linkbeat_interfaces {\nlan0\n}", "linkbeat_interfaces"),
    (TOP, "track_group"): (
        vrrp().replace(" V ", " U ").replace("10.0.0.1", "10.0.0.3").replace("id 1", "id 3")
        + "track_group T {\ngroup {\nU\n}\n}",
        "track_group",
    ),
    (TOP, "static_ipaddress"): (
        "static_ipaddress {\n10.5.0.1/24 dev lan0\n}",
        "static_ipaddress {\nfoo\n}",
    ),
    (TOP, "static_routes"): (
        "static_routes {\n10.6.0.0/16 via 10.9.0.9 dev lan0\n}",
        "static_routes {\nfoo\n}",
    ),
    (TOP, "static_rules"): (
        "static_rules {\nfrom 10.0.0.0/8 table 5 preference 10\n}",
        "static_rules {\nfoo\n}",
    ),
    (TOP, "interface_up_down_delays"): ("interface_up_down_delays {\nlan0 1 2\n}", None),
    (TOP, "track_file"): (
        "track_file F {\nfile /tmp/x\n}\n"
        + instance("track_file {\nF\n}", name="W", vrid=2, interface="lan0", vips="10.0.0.2/24"),
        "track_file F {\n}",
    ),
    (TOP, "vrrp_track_file"): (
        "vrrp_track_file F {\nfile /tmp/x\n}\n"
        + instance("track_file {\nF\n}", name="W", vrid=2, interface="lan0", vips="10.0.0.2/24"),
        "vrrp_track_file F {\n}",
    ),
    (TOP, "vrrp_track_process"): (
        "vrrp_track_process P {\nprocess x\n}\n"
        + instance("track_process {\nP\n}", name="W", vrid=2, interface="lan0", vips="10.0.0.2/24"),
        "vrrp_track_process P {\n}",
    ),
    (TOP, "vrrp_script"): (
        HEAD
        + "vrrp_script S {\nscript /bin/true\n}\n"
        + instance("track_script {\nS\n}", name="W", vrid=2, interface="lan0", vips="10.0.0.2/24"),
        "vrrp_script S {\n}",
    ),
    (TOP, "vrrp_sync_group"): (
        instance(name="W", vrid=2, interface="lan0", vips="10.0.0.2/24")
        + instance(name="X", vrid=3, interface="lan0", vips="10.0.0.3/24")
        + "vrrp_sync_group G {\ngroup {\nW\nX\n}\n}",
        "vrrp_sync_group G {\ngroup {\nnosuch\n}\n}",
    ),
    (TOP, "vrrp_instance"): (
        instance(name="W", vrid=2, interface="lan0", vips="10.0.0.2/24"),
        "vrrp_instance W {\ninterface lan0\n}",
    ),
    (TOP, "garp_group"): ("garp_group {\ngarp_interval 0.5\ninterface lan0\n}", "garp_group {\n}"),
    (TOP, "bfd_instance"): ("bfd_instance B {\nneighbor_ip 10.0.0.9\n}", "bfd_instance B {\n}"),
    (TOP, "SSL"): ("SSL {\nca /tmp/ca\n}", "SSL {\nfoo\n}"),
    (TOP, "virtual_server_group"): (
        "virtual_server_group G {\n10.0.0.5 80\n}\n" + virtual(real(), head="group G"),
        "virtual_server_group G {\nfoo\n}",
    ),
    (TOP, "virtual_server"): (virtual(real()), virtual(real(), head="foo 80")),
    ("linkbeat_interfaces", "(entry)"): ("lan0 MII", "lan0 foo"),
    ("track_group", "group"): ("group {\nV\n}", None),
    ("interface_up_down_delays", "(entry)"): ("lan0 1 2", "lan0 foo"),
    ("global_defs", "notification_email"): (
        "notification_email {\na@example.com\n}\nsmtp_server 127.0.0.1",
        None,
    ),
    ("global_defs", "startup_script_timeout"): (
        "startup_script /bin/true\nstartup_script_timeout 5",
        "startup_script_timeout 0",
    ),
    ("global_defs", "shutdown_script_timeout"): (
        "shutdown_script /bin/true\nshutdown_script_timeout 5",
        "shutdown_script_timeout 0",
    ),
    ("global_defs", "lvs_sync_daemon"): ("lvs_sync_daemon lan0", "lvs_sync_daemon"),
    ("global_defs", "notify_fifo_script"): (
        "notify_fifo /tmp/f\nnotify_fifo_script /bin/true",
        'notify_fifo_script "/bin/true',
    ),
    ("global_defs", "vrrp_notify_fifo_script"): (
        "vrrp_notify_fifo /tmp/f\nvrrp_notify_fifo_script /bin/true",
        'vrrp_notify_fifo_script "/bin/true',
    ),
    ("global_defs", "lvs_notify_fifo_script"): (
        "lvs_notify_fifo /tmp/f\nlvs_notify_fifo_script /bin/true",
        'lvs_notify_fifo_script "/bin/true',
    ),
    ("global_defs", "dynamic_interfaces"): ("dynamic_interfaces", None),
    ("global_defs", "umask"): ("umask 0077", "umask foo"),
    ("global_defs", "vrrp_iptables"): ("vrrp_iptables", None),
    ("global_defs", "vrrp_ipsets"): ("vrrp_ipsets", None),
    ("global_defs", "snmp_socket"): ("snmp_socket unix:/tmp/x", None),
    ("global_defs/lvs_sync_daemon", "inst"): ("lvs_sync_daemon lan0 inst V", None),
    ("global_defs/lvs_sync_daemon", "id"): (
        "lvs_sync_daemon lan0 id 5",
        "lvs_sync_daemon lan0 id 256",
    ),
    ("global_defs/lvs_sync_daemon", "maxlen"): (
        "lvs_sync_daemon lan0 maxlen 1400",
        "lvs_sync_daemon lan0 maxlen x",
    ),
    ("global_defs/lvs_sync_daemon", "port"): (
        "lvs_sync_daemon lan0 port 9000",
        "lvs_sync_daemon lan0 port 0",
    ),
    ("global_defs/lvs_sync_daemon", "ttl"): (
        "lvs_sync_daemon lan0 ttl 3",
        "lvs_sync_daemon lan0 ttl 256",
    ),
    ("global_defs/lvs_sync_daemon", "group"): (
        "lvs_sync_daemon lan0 group 224.0.0.99",
        "lvs_sync_daemon lan0 group x",
    ),
    ("global_defs/lvs_timeouts", "tcp"): ("lvs_timeouts tcp 60", "lvs_timeouts tcp x"),
    ("global_defs/lvs_timeouts", "tcpfin"): ("lvs_timeouts tcpfin 60", "lvs_timeouts tcpfin x"),
    ("global_defs/lvs_timeouts", "udp"): ("lvs_timeouts udp 60", "lvs_timeouts udp x"),
    ("vrrp_track_process", "process"): ("quorum 1", "quorum x"),
    ("vrrp_sync_group", "group"): ("smtp_alert off", None),
    ("garp_group", "interface"): ("gna_interval 0.5", None),
    ("garp_group", "interfaces"): ("gna_interval 0.5", None),
    ("vrrp_instance", "use_vmac"): ("use_vmac vrrp.51", None),
    ("vrrp_instance", "use_ipvlan"): ("use_ipvlan", None),
    ("vrrp_instance", "vrf"): ("dont_track_primary", None),
    ("vrrp_instance", "unicast_peer"): ("unicast_peer {\n10.0.0.8\n}", "unicast_peer {\nfoo\n}"),
    ("vrrp_instance", "unicast_src_ip"): (
        "unicast_src_ip 10.9.0.1\nunicast_peer {\n10.9.0.2\n}",
        "unicast_src_ip foo",
    ),
    ("vrrp_instance", "mcast_dst_ip"): ("mcast_dst_ip 224.0.0.99", "mcast_dst_ip foo"),
    ("vrrp_instance", "track_src_ip"): ("mcast_src_ip 10.9.0.1\ntrack_src_ip", None),
    ("vrrp_instance", "unicast_ttl"): (
        "unicast_ttl 64\nunicast_peer {\n10.9.0.2\n}",
        "unicast_ttl 256\nunicast_peer {\n10.9.0.2\n}",
    ),
    ("vrrp_instance", "old_unicast_checksum"): ("old_unicast_checksum never", None),
    ("vrrp_instance", "interface"): ("interface lan1", "interface nosuchinterfacename"),
    ("vrrp_instance", "state"): ("state MASTER", "state FOO"),
    ("vrrp_instance", "authentication"): (
        "authentication {\nauth_type PASS\nauth_pass secret\n}",
        "authentication {\nfoo\n}",
    ),
    ("vrrp_instance", "auth_hmac"): ("auth_hmac {\nkey 1 secret\nactive_key 1\n}", None),
    ("vrrp_instance", "virtual_ipaddress"): (
        "virtual_ipaddress {\n10.0.0.9\n}",
        "virtual_ipaddress {\nfoo\n}",
    ),
    ("vrrp_instance", "virtual_ipaddress_excluded"): (
        "virtual_ipaddress_excluded {\n10.0.0.9\n}",
        "virtual_ipaddress_excluded {\nfoo\n}",
    ),
    ("vrrp_instance", "virtual_routes"): (
        "virtual_routes {\n10.1.0.0/16 via 10.0.0.9 dev lan0\n}",
        "virtual_routes {\nfoo\n}",
    ),
    ("vrrp_instance", "virtual_rules"): (
        "virtual_rules {\nfrom 10.0.0.0/8 table 5 preference 10\n}",
        "virtual_rules {\nfoo\n}",
    ),
    ("vrrp_instance", "timer_expired_backup"): (
        "nopreempt\ntimer_expired_backup 200",
        "nopreempt\ntimer_expired_backup 255",
    ),
    ("vrrp_instance", "thread_timer_expired"): (
        "nopreempt\nthread_timer_expired 200",
        "nopreempt\nthread_timer_expired 255",
    ),
    ("vrrp_instance", "owner_ignore_adverts"): ("priority 255\nowner_ignore_adverts", None),
    ("vrrp_instance", "v3_checksum_as_v2"): ("version 3\nv3_checksum_as_v2", None),
    ("vrrp_instance", "advert_int"): ("advert_int 2", "advert_int 0"),
    ("vrrp_instance", "preempt_delay"): ("preempt_delay 60", "preempt_delay 1001"),
    ("vrrp_instance", "lvs_sync_daemon_interface"): ("garp_master_delay 3", None),
    ("vrrp_instance", "no_virtual_ipaddress"): ("no_virtual_ipaddress", None),
    ("vrrp_instance/authentication", "auth_type"): ("auth_type PASS", "auth_type FOO"),
    ("vrrp_instance/authentication", "auth_pass"): ("auth_pass other", "auth_pass"),
    ("vrrp_instance/auth_hmac", "key"): ("key 1 secret", None),
    ("vrrp_instance/unicast_peer", "(address)"): ("10.0.0.8", "10.0.0.256"),
    ("vrrp_instance/unicast_peer", "min_ttl"): ("10.0.0.8 min_ttl 5", "10.0.0.8 min_ttl 256"),
    ("vrrp_instance/unicast_peer", "max_ttl"): ("10.0.0.8 max_ttl 5", "10.0.0.8 max_ttl 256"),
}
for _kind, _name, _wrong in (
    ("track_interface", "lan1", "nosuchinterfacename"),
    ("track_script", "S", "nosuch"),
    ("track_file", "F", "nosuch"),
    ("track_process", "P", "nosuch"),
    ("track_bfd", "B", "nosuch"),
    ("track_virtual_server", "10.0.0.1 80", "nosuch"),
):
    for _owner in ("vrrp_instance", "vrrp_sync_group"):
        LINES[_owner, _kind] = (in_block(_kind, _name), in_block(_kind, _wrong))
        for _row in table()[f"{_owner}/{_kind}"].values():
            _block = f"{_owner}/{_kind}"
            if _row.keyword.startswith("("):
                LINES[_block, _row.keyword] = (_name, _wrong)
            elif _row.keyword == "weight":
                LINES[_block, "weight"] = (f"{_name} weight 10", f"{_name} weight 300")
            else:
                LINES[_block, "reverse"] = (f"{_name} weight 10 reverse", f"{_name} weight 10 foo")

_ADDRESS = "10.0.0.1/24"
_ADDRESS6 = "2001:db8::1/64"
_ROUTE = "10.1.0.0/16 via 10.0.0.9 dev lan0"
_ROUTE6 = "2001:db8:1::/48 via fe80::9 dev lan0"
_RULE = "from 10.0.0.0/8 table 5 preference 10"
# In these blocks a keyword is a word of an entry: the entry, and a wrong one.
_WORDS: dict[str, dict[str, tuple[str, str | None]]] = {
    "vrrp_instance/virtual_ipaddress": {
        "(address)": (_ADDRESS, "foo"),
        "dev": (f"{_ADDRESS} dev lan0", f"{_ADDRESS} dev"),
        "label": (f"{_ADDRESS} label lan0:1", f"{_ADDRESS} label"),
        "scope": (f"{_ADDRESS} scope link", f"{_ADDRESS} scope foo"),
        "brd": (f"{_ADDRESS} brd +", f"{_ADDRESS} brd foo"),
        "broadcast": (f"{_ADDRESS} broadcast 10.0.0.255", f"{_ADDRESS} broadcast foo"),
        "peer": ("10.0.0.1 peer 10.0.0.5/32", "10.0.0.1 peer foo"),
        "home": (f"{_ADDRESS6} home", f"{_ADDRESS} home"),
        "-nodad": (f"{_ADDRESS6} -nodad", None),
        "mngtmpaddr": (f"{_ADDRESS6} mngtmpaddr", None),
        "noprefixroute": (f"{_ADDRESS} noprefixroute", None),
        "autojoin": (f"{_ADDRESS} autojoin", None),
        "preferred_lft": (f"{_ADDRESS} preferred_lft 0", f"{_ADDRESS} preferred_lft foo"),
        "no_track": (f"{_ADDRESS} no_track", None),
        "use_vmac": (_ADDRESS, f"{_ADDRESS} use_vmac"),
        "track_group": (_ADDRESS, f"{_ADDRESS} track_group T"),
    },
    "vrrp_instance/virtual_routes": {
        "(destination)": (_ROUTE, "foo"),
        "TYPE": ("blackhole 10.1.0.0/16", "blackhole"),
        "to": ("to 10.1.0.0/16 via 10.0.0.9 dev lan0", "to foo"),
        "src": (f"{_ROUTE} src 10.0.0.1", f"{_ROUTE} src foo"),
        "via": ("10.1.0.0/16 via inet 10.0.0.9 dev lan0", "10.1.0.0/16 via foo"),
        "gw": ("10.1.0.0/16 gw 10.0.0.9 dev lan0", "10.1.0.0/16 gw foo"),
        "or": ("10.1.0.0/16 gw 10.0.0.9 or 10.0.0.8", "10.1.0.0/16 gw 10.0.0.9 or foo"),
        "dev": ("10.1.0.0/16 dev lan0", "10.1.0.0/16 dev"),
        "oif": ("10.1.0.0/16 oif lan0", "10.1.0.0/16 oif"),
        "table": (f"{_ROUTE} table 7", f"{_ROUTE} table foo"),
        "metric": (f"{_ROUTE} metric 7", f"{_ROUTE} metric foo"),
        "priority": (f"{_ROUTE} priority 7", f"{_ROUTE} priority foo"),
        "preference": (f"{_ROUTE} preference 7", f"{_ROUTE} preference foo"),
        "scope": ("10.1.0.0/16 dev lan0 scope link", f"{_ROUTE} scope foo"),
        "protocol": (f"{_ROUTE} protocol static", f"{_ROUTE} protocol foo"),
        "tos": (f"{_ROUTE} tos 0x10", f"{_ROUTE} tos foo"),
        "dsfield": (f"{_ROUTE} dsfield 0x10", f"{_ROUTE} dsfield foo"),
        "from": (f"{_ROUTE6} from 2001:db8::/64", f"{_ROUTE} from foo"),
        "as": (_ROUTE, f"{_ROUTE} as to foo"),
        "inet": (f"inet {_ROUTE}", f"inet {_ROUTE6}"),
        "inet6": (f"inet6 {_ROUTE6}", f"inet6 {_ROUTE}"),
        "vrf": (_ROUTE, f"{_ROUTE} vrf"),
        "onlink": (f"{_ROUTE} onlink", None),
        "expires": (f"{_ROUTE6} expires 60", f"{_ROUTE6} expires foo"),
        "mtu": (f"{_ROUTE} mtu lock 1400", f"{_ROUTE} mtu foo"),
        "hoplimit": (f"{_ROUTE} hoplimit 9", f"{_ROUTE} hoplimit 256"),
        "advmss": (f"{_ROUTE} advmss 1400", f"{_ROUTE} advmss foo"),
        "rtt": (f"{_ROUTE} rtt 100ms", f"{_ROUTE} rtt foo"),
        "rttvar": (f"{_ROUTE} rttvar 100ms", f"{_ROUTE} rttvar foo"),
        "reordering": (f"{_ROUTE} reordering 5", f"{_ROUTE} reordering foo"),
        "window": (f"{_ROUTE} window 5000", f"{_ROUTE} window foo"),
        "cwnd": (f"{_ROUTE} cwnd lock 10", f"{_ROUTE} cwnd foo"),
        "ssthresh": (f"{_ROUTE} ssthresh 10", f"{_ROUTE} ssthresh foo"),
        "realms": (f"{_ROUTE} realms 1/2", f"{_ROUTE} realms foo"),
        "rto_min": (f"{_ROUTE} rto_min 100ms", f"{_ROUTE} rto_min foo"),
        "initcwnd": (f"{_ROUTE} initcwnd 10", f"{_ROUTE} initcwnd foo"),
        "initrwnd": (f"{_ROUTE} initrwnd 10", f"{_ROUTE} initrwnd foo"),
        "features": (f"{_ROUTE} features ecn", f"{_ROUTE} features foo"),
        "quickack": (f"{_ROUTE} quickack 1", f"{_ROUTE} quickack 2"),
        "congctl": (f"{_ROUTE} congctl cubic", f"{_ROUTE} congctl"),
        "pref": (f"{_ROUTE6} pref high", f"{_ROUTE6} pref foo"),
        "ttl-propagate": (f"{_ROUTE} ttl-propagate enabled", f"{_ROUTE} ttl-propagate foo"),
        "fastopen_no_cookie": (f"{_ROUTE} fastopen_no_cookie 1", f"{_ROUTE} fastopen_no_cookie 2"),
        "encap": (_ROUTE, f"{_ROUTE} encap foo"),
        "nexthop": (
            "10.1.0.0/16 nexthop via 10.0.0.9 dev lan0 weight 2 nexthop via 10.0.0.8 dev lan0",
            "10.1.0.0/16 nexthop via foo",
        ),
        "add": (f"add {_ROUTE}", None),
        "append": (f"append {_ROUTE}", None),
        "prepend": (f"prepend {_ROUTE}", None),
        "no_track": (f"{_ROUTE} no_track", None),
        "track_group": (_ROUTE, f"{_ROUTE} track_group T"),
    },
    "vrrp_instance/virtual_rules": {
        "from": (_RULE, "from foo table 5 preference 10"),
        "to": ("to 10.0.0.0/8 table 5 preference 10", "to foo table 5 preference 10"),
        "table": ("to 10.0.0.0/8 table 6 preference 10", "to 10.0.0.0/8 table foo preference 10"),
        "lookup": ("from all lookup main preference 10", "from all lookup foo preference 10"),
        "not": (f"not {_RULE}", None),
        "preference": (_RULE, "from 10.0.0.0/8 table 5 preference foo"),
        "order": ("from 10.0.0.0/8 table 5 order 10", "from 10.0.0.0/8 table 5 order foo"),
        "priority": ("from 10.0.0.0/8 table 5 priority 10", "from 10.0.0.0/8 table 5 priority foo"),
        "tos": (f"{_RULE} tos 0x10", f"{_RULE} tos foo"),
        "dsfield": (f"{_RULE} dsfield 0x10", f"{_RULE} dsfield foo"),
        "fwmark": (f"{_RULE} fwmark 0x10/0xff", f"{_RULE} fwmark foo"),
        "realms": (f"{_RULE} realms 1/2", f"{_RULE} realms foo"),
        "suppress_prefixlength": (
            f"{_RULE} suppress_prefixlength 0",
            f"{_RULE} suppress_prefixlength 33",
        ),
        "suppress_ifgroup": (f"{_RULE} suppress_ifgroup 3", f"{_RULE} suppress_ifgroup foo"),
        "iif": (f"{_RULE} iif lan0", f"{_RULE} iif"),
        "dev": (f"{_RULE} dev lan0", f"{_RULE} dev"),
        "oif": (f"{_RULE} oif lan0", f"{_RULE} oif"),
        "tunnel-id": (f"{_RULE} tunnel-id 5", f"{_RULE} tunnel-id foo"),
        "uidrange": (f"{_RULE} uidrange 5-9", f"{_RULE} uidrange 9-5"),
        "l3mdev": ("l3mdev preference 10", "l3mdev table 5 preference 10"),
        "protocol": (f"{_RULE} protocol static", f"{_RULE} protocol foo"),
        "ipproto": (f"{_RULE} ipproto tcp", f"{_RULE} ipproto foo"),
        "sport": (f"{_RULE} sport 5-9", f"{_RULE} sport 9-5"),
        "dport": (f"{_RULE} dport 5", f"{_RULE} dport 65536"),
        "goto": ("from all goto 50 preference 10", "from all goto foo preference 10"),
        "nop": ("from all nop preference 10", None),
        "type": ("from all type blackhole preference 10", "from all type foo preference 10"),
        "inet": (f"inet {_RULE}", "inet from 2001:db8::/32 table 5 preference 10"),
        "inet6": ("inet6 from 2001:db8::/32 table 5 preference 10", f"inet6 {_RULE}"),
        "no_track": (f"{_RULE} no_track", None),
        "track_group": (_RULE, f"{_RULE} track_group T"),
    },
    "virtual_server_group": {
        "(address)": ("10.0.0.6 80", "10.0.0.256 80"),
        "(range)": ("10.0.0.7-9 80", "10.0.0.9-7 80"),
        "fwmark": ("fwmark 7", "fwmark foo"),
    },
    "virtual_server/lvs_method": {
        "type": ("lvs_method TUN type gue port 5555", "lvs_method TUN type foo"),
        "port": ("lvs_method TUN type gue port 5556", "lvs_method TUN type gue port 0"),
        "nocsum": ("lvs_method TUN type gre nocsum", "lvs_method TUN nocsum foo"),
        "csum": ("lvs_method TUN type gre csum", "lvs_method TUN type ipip csum"),
        "remcsum": (
            "lvs_method TUN type gue port 5555 remcsum",
            "lvs_method TUN type gre remcsum",
        ),
    },
    "vrrp_instance/use_vmac": {
        "name": ("use_vmac name vrrp.9", None),
        "MAC": ("use_vmac vrrp.9 00:00:5e:00:01:33", None),
        "netlink_notify_msg": ("use_vmac vrrp.9 netlink_notify_msg", None),
        "group": ("use_vmac vrrp.9 group 5", None),
    },
    "vrrp_instance/use_ipvlan": {
        "name": ("use_ipvlan name ipv9", None),
        "IP": ("use_ipvlan ipv9 10.9.0.7", None),
        "bridge": ("use_ipvlan ipv9 bridge", None),
        "private": ("use_ipvlan ipv9 private", None),
        "vepa": ("use_ipvlan ipv9 vepa", None),
        "group": ("use_ipvlan ipv9 group 5", None),
    },
}
for _block, _lines in _WORDS.items():
    for _keyword, _pair in _lines.items():
        LINES[_block, _keyword] = _pair

_SERVER = "virtual_server"
LINES.update(
    {
        (_SERVER, "ip_family"): ("ip_family inet", "ip_family foo"),
        (_SERVER, "lvs_sched"): ("lvs_sched wrr", "lvs_sched foo"),
        (_SERVER, "lb_algo"): ("lb_algo wrr", "lb_algo foo"),
        (_SERVER, "ops"): ("protocol UDP\nops", "ops"),
        (_SERVER, "sh-port"): ("lvs_sched sh\nsh-port", "lvs_sched rr\nsh-port"),
        (_SERVER, "sh-fallback"): ("lvs_sched sh\nsh-fallback", "lvs_sched rr\nsh-fallback"),
        (_SERVER, "mh-port"): ("lvs_sched mh\nmh-port", "lvs_sched rr\nmh-port"),
        (_SERVER, "mh-fallback"): ("lvs_sched mh\nmh-fallback", "lvs_sched rr\nmh-fallback"),
        (_SERVER, "persistence_engine"): (
            "persistence_timeout 60\npersistence_engine sip",
            "persistence_timeout 60\npersistence_engine foo",
        ),
        (_SERVER, "quorum"): ("weight 5\nquorum 3", "quorum 5"),
        (_SERVER, "hysteresis"): ("weight 5\nquorum 3\nhysteresis 1", "hysteresis 1"),
        (_SERVER, "sorry_server"): ("sorry_server 10.0.0.9 80", "sorry_server foo 80"),
        (_SERVER, "sorry_server_inhibit"): (
            "sorry_server 10.0.0.9 80\nsorry_server_inhibit",
            "sorry_server_inhibit",
        ),
        (_SERVER, "sorry_server_lvs_method"): (
            "sorry_server 10.0.0.9 80\nsorry_server_lvs_method DR",
            "sorry_server_lvs_method foo",
        ),
        (_SERVER, "real_server"): ("real_server 10.0.0.3 80 {\n}", "real_server foo 80 {\n}"),
        (_SERVER, "connect_timeout"): ("connect_timeout 3", "connect_timeout foo"),
        ("virtual_server/real_server", "lthreshold"): (
            "uthreshold 9\nlthreshold 5",
            "lthreshold foo",
        ),
        ("vrrp_script", "script"): ("interval 2", 'script "/bin/true'),
        ("track_file", "file"): ("weight 2", "weight 2 foo"),
        ("vrrp_track_file", "file"): ("weight 2", "weight 2 foo"),
        ("vrrp_track_process", "quorum_max"): ("quorum 2\nquorum_max 5", "quorum_max foo"),
        ("bfd_instance", "neighbor_ip"): ("passive", "neighbor_ip foo"),
        ("bfd_instance", "neighbour_ip"): ("passive", "neighbour_ip foo"),
        ("bfd_instance", "max_hops"): ("multihop\nmax_hops 5", "max_hops 256"),
        ("bfd_instance", "hoplimit"): ("idle_tx 1500", "hoplimit 256"),
    }
)
for _kind in (
    "MISC_CHECK",
    "SMTP_CHECK",
    "TCP_CHECK",
    "PING_CHECK",
    "UDP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "DNS_CHECK",
    "FILE_CHECK",
    "BFD_CHECK",
):
    _base = _CHECKER_BASE.get(_kind)
    _whole = check(_kind, *([_base] if _base else []))
    if _kind == "FILE_CHECK":
        _whole = check("TCP_CHECK")
    LINES["virtual_server/real_server", _kind] = (_whole, check(_kind, "foo"))
    for _outer in ("HTTP_GET", "SSL_GET"):
        _url = f"{CHECKERS}{_outer}"
        LINES[_url, "url"] = (check("url", "path /b"), check("url", "foo"))
        LINES[_url, "http_protocol"] = ("http_protocol 1.1", "http_protocol 3")
        for _option, _value, _bad in (
            ("regex_no_match", "", None),
            ("regex_options", "caseless", "foo"),
            ("regex_stack", "100 1000", "foo"),
            ("regex_min_offset", "5", "foo"),
            ("regex_max_offset", "500", "foo"),
        ):
            LINES[f"{_url}/url", _option] = (
                f"regex x\n{_option} {_value}",
                None if _bad is None else f"regex x\n{_option} {_bad}",
            )
LINES[f"{CHECKERS}SMTP_CHECK", "host"] = (
    check("host", "connect_ip 10.0.0.2"),
    check("host", "foo"),
)
LINES[f"{CHECKERS}DNS_CHECK", "type"] = ("type MX", "type FOO")
LINES[f"{CHECKERS}FILE_CHECK", "track_file"] = ("weight 2", "track_file nosuch")
LINES[f"{CHECKERS}BFD_CHECK", "name"] = ("alpha", "name")

# Language: keyword -> text of a good file, and of a wrong one.
LANGUAGE_TEXTS: dict[str, tuple[str, str | None]] = {
    "comment #": ("# x\n! y\n" + vrrp("priority 5 # z"), None),
    "escaped comment": (vrrp() + "global_defs {\nrouter_id a\\#b\n}\n", None),
    "include": ("include /nonexistent/*.conf\n" + vrrp(), None),
    "includer": ("includer /nonexistent/*.conf\n" + vrrp(), None),
    "includem": (
        "includem /nonexistent/*.conf\n" + vrrp(),
        "includem /nonexistent/x.conf\n" + vrrp(),
    ),
    "includew": (vrrp(), "includew /nonexistent/*.conf\n" + vrrp()),
    "includeb": (vrrp(), "includeb /nonexistent/{a,b}.conf\n" + vrrp()),
    "includea": (vrrp(), "includea /nonexistent/*.conf\n" + vrrp()),
    "@ID line": (vrrp("@nobody foo"), None),
    "@^ID line": (vrrp("@^nobody priority 5"), vrrp("@^nobody foo")),
    "$NAME=VALUE": ("$P=5\n" + vrrp("priority $P"), "$P=foo\n" + vrrp("$P 5")),
    "$NAME reference": ("$P=5\n" + vrrp("priority 1${P}0"), vrrp("priority ${P}")),
    "multi-line definition": ("$T= \\\n priority 5 \\\n nopreempt\n" + vrrp("$T"), None),
    "~SEQ": (
        vrrp("virtual_ipaddress_excluded {\n~SEQ(A,1,3) 10.0.1.$A\n}"),
        vrrp("~SEQ(A,1,0,3) priority 1"),
    ),
    "~SEQx": (vrrp("virtual_ipaddress_excluded {\n~SEQx(A,1,3) 10.0.1.$A\n}"), None),
    "~LST": (vrrp("virtual_ipaddress_excluded {\n~LST({A,B},{1,2},{3,4}) 10.0.${A}.${B}\n}"), None),
    "${_PWD}": ("global_defs {\nrouter_id ${_PWD}\n}\n" + vrrp(), None),
    "${_INSTANCE}": ("global_defs {\nrouter_id ${_INSTANCE}x\n}\n" + vrrp(), None),
    "${_RANDOM}": (vrrp("priority ${_RANDOM 5 9}"), None),
    "${_ENV}": ("global_defs {\nrouter_id x${_ENV NOSUCH}\n}\n" + vrrp(), None),
    "${_HASH}": ("global_defs {\nrouter_id a${_HASH}b\n}\n" + vrrp(), None),
    "${_BANG}": ("global_defs {\nrouter_id a${_BANG}b\n}\n" + vrrp(), None),
    "reserved names": (vrrp(), "$_X=5\n" + vrrp("priority $_X")),
    "block braces": (vrrp().replace(" {", "\n{", 1), vrrp() + "}\n"),
    "double-quoted word": (vrrp('priority "5"'), vrrp('priority "5')),
    "shell-like quoting": (
        HEAD + vrrp("notify_master \"/bin/true 'a b' c\""),
        HEAD + vrrp('notify_master "/bin/true \'a"'),
    ),
    "line length": (
        vrrp("# " + "x" * 900),
        "global_defs {\nrouter_id " + "x" * 1100 + "\n}\n" + vrrp(),
    ),
    "BOOL": (vrrp("lower_prio_no_advert on", "higher_prio_send_advert false"), None),
    "TIMER": (vrrp("preempt_delay 1.5"), vrrp("preempt_delay 1.5.5")),
    "unknown keyword": (vrrp(), vrrp("foo 1")),
    "missing argument": (vrrp(), vrrp("priority")),
    "bad number": (vrrp(), vrrp("priority abc")),
    "definition order": (vrrp(), vrrp("priority $P") + "$P=5\n"),
}
# Checkers share these: wrong values are tried in two kinds.
SHARED = frozenset(
    (
        "connect_ip",
        "connect_port",
        "bindto",
        "bind_port",
        "bind_if",
        "connect_timeout",
        "fwmark",
        "retry",
        "delay_before_retry",
        "warmup",
        "delay_loop",
        "alpha",
        "log_all_failures",
    )
)
TRIED_IN = (f"{CHECKERS}TCP_CHECK", f"{CHECKERS}HTTP_GET")


def _lines(row: Keyword) -> tuple[str, str | None]:
    """A good and a wrong line of a keyword."""
    written = LINES.get((row.block, row.keyword))
    if written is not None:
        return written
    kind = row.type
    if kind.rstrip("!?+") in ("int", "clamp") or kind.rstrip("+") in ("time", "time-ms"):
        low, _, high = row.range.partition("..")
        value = "7" if float(low) <= 7 <= float(high) else low
        wrong = "foo" if float(high) > 1e6 else str(int(float(high)) + 1)
        return f"{row.keyword} {value}", f"{row.keyword} {wrong}"
    if kind.startswith("choice"):
        return f"{row.keyword} {row.range.partition('/')[0]}", f"{row.keyword} foo"
    good, bad = _VALUES[kind]
    return f"{row.keyword} {good}".rstrip(), None if bad is None else f"{row.keyword} {bad}"


def cases() -> Iterator[Case]:
    """Every file, in the order of the keyword table."""
    for path, block in table().items():
        for row in block.values():
            if path == LANGUAGE:
                good, bad = LANGUAGE_TEXTS[row.keyword]
                yield Case(path, row.keyword, "good", row.keyword, good)
                if bad is not None:
                    yield Case(path, row.keyword, "wrong", f"wrong {row.keyword}", bad)
                continue
            line, wrong = _lines(row)
            outer = path
            if path in ("global_defs/lvs_sync_daemon", "global_defs/lvs_timeouts"):
                outer = "global_defs"
            elif path in ("virtual_server/lvs_method",):
                outer = "virtual_server"
            elif path in ("vrrp_instance/use_vmac", "vrrp_instance/use_ipvlan"):
                outer = "vrrp_instance"
            yield Case(path, row.keyword, "good", line, frame(outer, line))
            is_shared = path.startswith(CHECKERS) and row.keyword in SHARED
            if wrong is not None and (not is_shared or path in TRIED_IN):
                yield Case(path, row.keyword, "wrong", wrong, frame(outer, wrong))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


def answers() -> dict[str, int]:
    """Exit status of `keepalived -t` (2.2.7) by `Case.key`: what tools/corpus-answers recorded."""
    return {row["key"]: int(row["status"]) for row in _rows(ANSWERS)}


def differences() -> dict[tuple[str, str, str], dict[str, str]]:
    """Where we decide otherwise than keepalived, by block, keyword and kind."""
    return {(row["block"], row["keyword"], row["kind"]): row for row in _rows(DIFFERENCES)}
