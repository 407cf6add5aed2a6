"""global_defs and the settings above all blocks: the part that is not a per-instance default."""

from __future__ import annotations

from fastvrrp.config.blocks import Entries, Entry, get, listed, listed_words
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.housekeeping import housekeeping
from fastvrrp.config.model import Command, Fifo, GarpGroup, GlobalDefs, Mail
from fastvrrp.config.node import Node
from fastvrrp.config.scripts import Scripts
from fastvrrp.config.values import interface_name

# global_defs keywords that only give instances a default, read in instance.py: they count for
# the instances below them.
INSTANCE_DEFAULTS = frozenset(
    (
        "smtp_alert",
        "smtp_alert_vrrp",
        "vrrp_mcast_group4",
        "vrrp_mcast_group6",
        "vrrp_garp_master_delay",
        "vrrp_garp_master_repeat",
        "vrrp_garp_master_refresh",
        "vrrp_garp_master_refresh_repeat",
        "vrrp_garp_lower_prio_delay",
        "vrrp_garp_lower_prio_repeat",
        "vrrp_garp_extra_if",
        "vrrp_min_garp",
        "vrrp_down_timer_adverts",
        "vrrp_lower_prio_no_advert",
        "vrrp_higher_prio_send_advert",
        "vrrp_owner_ignore_adverts",
        "vrrp_version",
        "v3_checksum_as_v2",
        "vrrp_check_unicast_src",
        "vrrp_skip_check_adv_addr",
        "vrrp_strict",
        "vrrp_notify_priority_changes",
        "vrrp_rx_bufs_policy",
        "vrrp_rx_bufs_multiplier",
    )
)
# The same for virtual servers, read in virtualservers.py.
SERVER_DEFAULTS = frozenset(("smtp_alert", "smtp_alert_checker", "checker_log_all_failures"))
LISTS = frozenset(("notification_email",))
PREFIX_BYTES_MAX = 10  # IFNAMSIZ - 1 (linux/if.h) without what follows: a digit, ".", three digits


def merge(old: Entries, new: Entries) -> Entries:
    """A further global_defs block: a new mapping, so that earlier readers keep theirs."""
    merged = {**old, **new}
    for name in LISTS & old.keys() & new.keys():
        merged[name] = Entry(old[name].value + new[name].value, new[name].node)
    return merged


def _fifo(
    context: Context, entries: Entries, scripts: Scripts, name: str, paths: set[str]
) -> Fifo | None:
    entry = entries.get(name)
    reader = entries.get(f"{name}_script")
    if entry is None:
        if reader is not None:
            context.warning(
                reader.node, f"{name}_script is not run without {name}", f"add {name} PATH"
            )
        return None
    fifo: Fifo = entry.value
    if fifo.path in paths:
        context.error(
            entry.node, f"{fifo.path} is used for another FIFO already", "use a path of its own"
        )
    paths.add(fifo.path)
    script = scripts.command(reader.value) if reader is not None else None
    return Fifo(path=fifo.path, account=fifo.account, script=script)


def _command(entries: Entries, scripts: Scripts, name: str) -> Command | None:
    entry = entries.get(name)
    return scripts.command(entry.value) if entry is not None else None


def _mail(context: Context, entries: Entries) -> Mail:
    server = entries.get("smtp_server")
    host, port = server.value if server is not None else (None, 25)
    recipients = tuple(e.value for e in listed(entries, "notification_email"))
    if "notification_email" in entries and not recipients:
        context.warning(
            entries["notification_email"].node, "nobody gets mail", "name at least one address"
        )
    elif recipients and server is None:
        context.warning(
            entries["notification_email"].node,
            "no mail is sent without smtp_server",
            "add smtp_server HOST",
        )
    return Mail(
        smtp_server=host,
        smtp_port=port,
        smtp_helo_name=get(entries, "smtp_helo_name"),
        smtp_connect_timeout_s=get(entries, "smtp_connect_timeout", 30),
        notification_email=recipients,
        notification_email_from=get(entries, "notification_email_from"),
        no_email_faults="no_email_faults" in entries,
    )


def _nftables(entries: Entries) -> str | None:
    """The keyword alone means keepalived's table."""
    entry = entries.get("nftables")
    return (entry.value or "keepalived") if entry is not None else None


def _prefix(context: Context, entries: Entries, keyword: str, default: str) -> str:
    """Of names of virtual devices, which go on with a number, a dot and a VRID."""
    entry = entries.get(keyword)
    if entry is None or not entry.value:
        return default
    value: str = entry.value
    if len(value.encode()) > PREFIX_BYTES_MAX:
        context.error(
            entry.node,
            f"{keyword} {shown(value)} is too long",
            f"write at most {PREFIX_BYTES_MAX} bytes: a name of an interface has 15",
            word=1,
        )
        return default
    return value if interface_name(context, entry.node, value) else default


def build(context: Context, top: Entries, entries: Entries, scripts: Scripts) -> GlobalDefs:
    """`top` has the statements outside all blocks, `entries` those of all global_defs."""
    account = scripts.settle()
    if "dynamic_interfaces" in entries and entries["dynamic_interfaces"].value:
        context.warning(
            entries["dynamic_interfaces"].node,
            "allow_if_changes has no effect: interfaces may always change",
            "remove it",
            word=1,
        )
    paths: set[str] = set()
    prefix = _prefix(context, entries, "vmac_prefix", "vrrp")
    return GlobalDefs(
        router_id=get(entries, "router_id") or context.host.hostname(),
        mail=_mail(context, entries),
        notify_fifo=_fifo(context, entries, scripts, "notify_fifo", paths),
        vrrp_notify_fifo=_fifo(context, entries, scripts, "vrrp_notify_fifo", paths),
        lvs_notify_fifo=_fifo(context, entries, scripts, "lvs_notify_fifo", paths),
        fifo_write_vrrp_states_on_reload="fifo_write_vrrp_states_on_reload" in entries,
        script_account=account,
        enable_script_security=scripts.security,
        default_interface=get(entries, "default_interface", "eth0"),
        dynamic_interfaces="dynamic_interfaces" in entries,
        garp_interval_ns=get(entries, "vrrp_garp_interval", 0),
        gna_interval_ns=get(entries, "vrrp_gna_interval", 0),
        startup_delay_ns=get(entries, "vrrp_startup_delay", 0),
        delay_after_boot_ns=get(entries, "vrrp_delay_after_boot", 0),
        startup_script=_command(entries, scripts, "startup_script"),
        startup_script_timeout_s=get(entries, "startup_script_timeout", 10),
        shutdown_script=_command(entries, scripts, "shutdown_script"),
        shutdown_script_timeout_s=get(entries, "shutdown_script_timeout", 10),
        log_unknown_vrids="log_unknown_vrids" in entries,
        vrrp_socket_backend=get(entries, "vrrp_socket_backend", "raw"),
        vrrp_cpu_dma_latency_us=get(entries, "vrrp_cpu_dma_latency", None),
        vrrp_engine_threads=get(entries, "vrrp_engine_threads", 1),
        vrrp_rt_priority=get(entries, "vrrp_rt_priority", 0),
        vrrp_rlimit_rttime_us=get(entries, "vrrp_rlimit_rttime", 10000),
        vrrp_priority=get(entries, "vrrp_priority", 0),
        vrrp_cpu_affinity=get(entries, "vrrp_cpu_affinity", ()),
        vrrp_no_swap="vrrp_no_swap" in entries,
        child_wait_time_s=get(top, "child_wait_time", 5),
        vmac_prefix=prefix,
        vmac_addr_prefix=_prefix(context, entries, "vmac_addr_prefix", prefix),
        nftables=_nftables(entries),
        nftables_priority=get(entries, "nftables_priority", -1),
        nftables_counters="nftables_counters" in entries,
        disable_local_igmp="disable_local_igmp" in entries,
        housekeeping=housekeeping(context, top, entries),
        net_namespace=get(top, "net_namespace"),
        instance=get(top, "instance"),
    )


class GarpGroups:
    """The garp_group blocks; an interface belongs to one at most."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._taken: set[str] = set()
        self.groups: list[GarpGroup] = []

    def add(self, node: Node, entries: Entries) -> None:
        single = entries.get("interface")
        if single is not None and "interfaces" in entries:
            self._context.warning(
                single.node, "interface and interfaces exclude each other", "keep one of them"
            )
        named = [(single.value, single.node, 1)] if single is not None else []
        named += listed_words(entries, "interfaces")
        interfaces = []
        for name, where, word in named:
            if not interface_name(self._context, where, name, word=word):
                continue
            self._context.check_interface(where, name, word=word)
            if name in self._taken:
                self._context.warning(
                    where,
                    f"{name} belongs to another garp_group already, ignored here",
                    "name it in one garp_group",
                    word=word,
                )
                continue
            self._taken.add(name)
            interfaces.append(name)
        garp_ns, gna_ns = get(entries, "garp_interval", 0), get(entries, "gna_interval", 0)
        if not interfaces or not (garp_ns or gna_ns):
            what = "no interval" if interfaces else "no interface"
            self._context.warning(
                node, f"garp_group has {what}, ignored", "add garp_interval SECS and interface IF"
            )
            return
        self.groups.append(
            GarpGroup(
                interfaces=tuple(interfaces), garp_interval_ns=garp_ns, gna_interval_ns=gna_ns
            )
        )
