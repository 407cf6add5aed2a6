"""The canonical configuration model: what every front end (keepalived.conf, YAML) produces.

Frozen, fully resolved data: defaults and global_defs inheritance are already applied, so no
reader of the model needs to know where a value came from. Names are keepalived's keywords;
the unit is the last word of a field name where one applies. Positions lead back to the file.

Everything here can be encoded with msgspec (MessagePack between processes).
"""

from typing import Any

from fastvrrp.config.base import NS_PER_S as NS_PER_S
from fastvrrp.config.base import Account as Account
from fastvrrp.config.base import Command as Command
from fastvrrp.config.base import Message as Message
from fastvrrp.config.base import Position as Position
from fastvrrp.config.base import Severity as Severity
from fastvrrp.config.base import Struct as Struct
from fastvrrp.config.servers import Ipvs

OWNER = 255  # priority of the address owner, RFC 9568 5.2.4
FOREVER_S = 0xFFFF_FFFF  # an explicit `preferred_lft forever`


class VirtualAddress(Struct):
    """An entry of virtual_ipaddress, virtual_ipaddress_excluded or static_ipaddress."""

    address: str  # text form without prefix
    prefixlen: int
    family: int  # 4 or 6
    dev: str | None = None  # None: the instance's interface
    label: str | None = None
    scope: int = 0  # rtnetlink scope number, 0 = global
    broadcast: str | None = None  # resolved address text
    peer: str | None = None
    peer_prefixlen: int | None = None
    home: bool = False
    nodad: bool = True  # IPv6 only
    mngtmpaddr: bool = False
    noprefixroute: bool = False
    autojoin: bool = False
    preferred_lft_s: int | None = None  # None: default (forever, 0 for IPv6 /128); see FOREVER_S
    no_track: bool = False
    use_vmac: bool = False
    track_group: str | None = None
    position: Position | None = None


class Encap(Struct):
    """`encap` of a route: what the kernel puts around its packets."""

    type: str  # ip, ip6, mpls, ila
    id: int | None = None  # ip and ip6, key of the tunnel
    dst: str | None = None
    src: str | None = None
    tos: int | None = None  # tc of ip6
    ttl: int | None = None  # hoplimit of ip6; also of mpls
    flags: int | None = None
    labels: tuple[int, ...] = ()  # mpls, outermost first
    locator: str | None = None  # ila, four groups of hexadecimal digits
    csum_mode: int | None = None
    ident_type: int | None = None
    hook_type: int | None = None


class NextHop(Struct):
    """One `nexthop` of a multipath route."""

    via: str | None = None
    via_family: int | None = None
    dev: str | None = None
    weight: int | None = None
    onlink: bool = False
    realm: int | None = None
    encap: Encap | None = None


class VirtualRoute(Struct):
    """An entry of virtual_routes or static_routes, numbers resolved from names."""

    family: int
    type: str = "unicast"  # unicast, local, blackhole, unreachable, prohibit, throw, ...
    destination: str = "default"  # ADDR/LEN or "default"
    via: str | None = None
    via_family: int | None = None
    dev: str | None = None
    source: str | None = None  # preferred source (`src`)
    from_: str | None = None  # IPv6 `from` selector
    table: int | None = None
    vrf: str | None = None  # the device whose table it is instead of `table`
    protocol: int | None = None  # None: 18
    scope: int | None = None
    metric: int | None = None
    tos: int | None = None
    mtu: int | None = None
    mtu_lock: bool = False
    advmss: int | None = None
    onlink: bool = False
    realm: int | None = None
    # hoplimit, initcwnd, initrwnd, window, cwnd, ssthresh, reordering, quickack,
    # fastopen_no_cookie, features (bits, ecn = 1); rtt, rttvar, rto_min in the kernel's own
    # units, or rtt_ms, rttvar_ms, rto_min_ms
    metrics: tuple[tuple[str, int], ...] = ()
    metric_locks: tuple[str, ...] = ()  # metric names written with `lock`, also advmss, congctl
    congctl: str | None = None
    encap: Encap | None = None
    preference: str | None = None  # IPv6 `pref`
    expires_s: int | None = None
    ttl_propagate: bool | None = None
    nexthops: tuple[NextHop, ...] = ()
    add_mode: str = "prepend"  # prepend, append, add
    no_track: bool = False
    track_group: str | None = None
    position: Position | None = None


class VirtualRule(Struct):
    """An entry of virtual_rules or static_rules, numbers resolved from names."""

    family: int
    action: str = "lookup"  # lookup, goto, nop, blackhole, unreachable, prohibit
    table: int | None = None
    goto: int | None = None
    preference: int | None = None  # None: assigned downwards from 16384
    negate: bool = False
    from_: str | None = None
    to: str | None = None
    iif: str | None = None
    oif: str | None = None
    tos: int | None = None
    fwmark: int | None = None
    fwmask: int | None = None
    realms: int | None = None
    ipproto: int | None = None
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None
    uid_range: tuple[int, int] | None = None
    l3mdev: bool = False
    protocol: int | None = None
    tunnel_id: int | None = None
    suppress_prefixlength: int | None = None
    suppress_ifgroup: int | None = None
    no_track: bool = False
    track_group: str | None = None
    position: Position | None = None


class TrackScript(Struct):
    """vrrp_script."""

    name: str
    command: Command
    interval_ns: int = NS_PER_S
    timeout_ns: int = NS_PER_S
    weight: int = 0
    reverse: bool = False
    rise: int = 1
    fall: int = 1
    init_fail: bool = False
    position: Position | None = None


class TrackProcess(Struct):
    """vrrp_track_process."""

    name: str
    process: str
    parameters: tuple[str, ...] = ()
    param_match: str = "none"  # none, exact, partial, initial
    full_command: bool = False
    weight: int = 0
    reverse: bool = False
    quorum: int = 1
    quorum_max: int | None = None
    fork_delay_ns: int = 0
    terminate_delay_ns: int = 0
    position: Position | None = None


class TrackFile(Struct):
    """track_file (vrrp_track_file)."""

    name: str
    file: str
    weight: int = 1
    reverse: bool = False
    init_value: int | None = None  # None: the file is not created
    init_overwrite: bool = False
    position: Position | None = None


class Tracked(Struct):
    """One line of a track_... block."""

    name: str
    weight: int = 0  # resolved: the object's weight unless overridden here
    reverse: bool = False
    position: Position | None = None


class Notify(Struct):
    """Notification scripts of an instance or a group; None = not configured."""

    notify: Command | None = None
    notify_master: Command | None = None
    notify_backup: Command | None = None
    notify_fault: Command | None = None
    notify_stop: Command | None = None
    notify_deleted: Command | None = None
    report_deleted: bool = False  # bare `notify_deleted`
    notify_master_rx_lower_pri: Command | None = None
    notify_priority_changes: bool = False
    smtp_alert: bool = False


class UnicastPeer(Struct):
    address: str
    min_ttl: int = 0
    max_ttl: int = 255


class Vmac(Struct):
    """use_vmac: virtual MAC device of an instance."""

    name: str | None = None  # None: made of vmac_prefix and the VRID
    address: str | None = None  # custom MAC; of 5 octets, if the VRID is the last one
    xmit_base: bool = False
    group: int | None = None  # link group, None: the parent's


class Ipvlan(Struct):
    """use_ipvlan: ipvlan device of an instance."""

    name: str | None = None  # None: made of vmac_prefix and the VRID
    address: str | None = None  # on the device, source of the adverts
    prefixlen: int = 0
    mode: str = "bridge"  # bridge, private, vepa
    group: int | None = None  # link group, None: the parent's


class Device(Struct):
    """A virtual device that a running configuration needs: what vrrp.devices makes of the above."""

    name: str
    kind: str  # macvlan or ipvlan
    parent: str  # interface it is made on
    mac: bytes = b""  # of a macvlan
    mode: str = "private"  # of an ipvlan: bridge, private, vepa
    group: int | None = None  # None: the parent's
    address: str | None = None  # its own, of an ipvlan
    prefixlen: int = 0
    carries_ipv4: bool = False
    carries_ipv6: bool = False


class Garp(Struct):
    """Gratuitous ARP / unsolicited NA settings of one instance, resolved."""

    master_delay_s: int = 5
    master_repeat: int = 5
    master_refresh_s: int = 0
    master_refresh_repeat: int = 1
    lower_prio_delay_s: int = 5
    lower_prio_repeat: int = 5
    extra_if_s: int = 0
    extra_if_all: bool = False


class VrrpInstance(Struct):
    """vrrp_instance, resolved."""

    name: str
    virtual_router_id: int
    family: int  # 4 or 6
    version: int  # 2 or 3
    interface: str | None = None  # None: unicast with a source address only
    state: str = "BACKUP"  # the configured wish: MASTER or BACKUP
    priority: int = 100
    advert_int_ns: int = NS_PER_S
    nopreempt: bool = False
    preempt_delay_ns: int = 0
    down_timer_adverts: int = 3
    accept: bool = True
    strict_mode: bool = False
    auth_type: int = 0  # 0 none, 1 PASS
    auth_pass: bytes = b""  # 8 bytes, zero padded
    source: str | None = None  # mcast_src_ip or unicast_src_ip; None: primary address
    track_src_ip: bool = False
    mcast_dst_ip: str = "224.0.0.18"
    unicast_peers: tuple[UnicastPeer, ...] = ()
    unicast_ttl: int = 255
    check_unicast_src: bool = False
    unicast_fault_no_peer: bool = False
    vrf: str | None = None
    vmac: Vmac | None = None
    use_vmac_addr: bool = False  # virtual MAC devices for addresses on other interfaces, too
    ipvlan: Ipvlan | None = None
    device: str | None = None  # name of its virtual device while it runs, see Configuration.devices
    virtual_ipaddress: tuple[VirtualAddress, ...] = ()
    virtual_ipaddress_excluded: tuple[VirtualAddress, ...] = ()
    virtual_routes: tuple[VirtualRoute, ...] = ()
    virtual_rules: tuple[VirtualRule, ...] = ()
    promote_secondaries: bool = False
    skip_check_adv_addr: bool = False
    lower_prio_no_advert: bool = False
    higher_prio_send_advert: bool = False
    owner_ignore_adverts: bool = False
    v3_checksum_as_v2: bool = False
    old_unicast_checksum: str = "auto"  # keepalived's before 1.3.7: auto, always, never
    timer_expired_backup: int = 0  # 0 off, else the priority assumed for the other node
    dont_track_primary: bool = False
    track_interface: tuple[Tracked, ...] = ()
    track_script: tuple[Tracked, ...] = ()
    track_file: tuple[Tracked, ...] = ()
    track_process: tuple[Tracked, ...] = ()
    track_virtual_server: tuple[Tracked, ...] = ()  # by VirtualServer.name; up: it has quorum
    track_groups: tuple[str, ...] = ()  # those of static objects, see VirtualAddress.track_group
    garp: Garp = Garp()
    notify: Notify = Notify()
    kernel_rx_buf_size: int = 0
    sync_group: str | None = None  # name of its vrrp_sync_group
    position: Position | None = None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The fields; the password is not shown."""
        fields = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name == "auth_pass" and v else v) for name, v in fields]

    def __repr__(self) -> str:
        return f"VrrpInstance({', '.join(f'{k}={v!r}' for k, v in self.__rich_repr__())})"


class SyncGroup(Struct):
    """vrrp_sync_group."""

    name: str
    members: tuple[str, ...]  # instance names, all of which exist
    sync_group_tracking_weight: bool = False
    track_interface: tuple[Tracked, ...] = ()
    track_script: tuple[Tracked, ...] = ()
    track_file: tuple[Tracked, ...] = ()
    track_process: tuple[Tracked, ...] = ()
    track_virtual_server: tuple[Tracked, ...] = ()  # by VirtualServer.name; up: it has quorum
    notify: Notify = Notify()
    position: Position | None = None


class GarpGroup(Struct):
    """garp_group: pacing shared by some interfaces."""

    interfaces: tuple[str, ...]
    garp_interval_ns: int = 0
    gna_interval_ns: int = 0


class InterfaceDelay(Struct):
    """A line of interface_up_down_delays: how long a change of its state has to last."""

    interface: str
    down_ns: int = 0
    up_ns: int = 0


class Mail(Struct):
    """Alert mail settings of global_defs."""

    smtp_server: str | None = None
    smtp_port: int = 25
    smtp_helo_name: str | None = None
    smtp_connect_timeout_s: int = 30
    notification_email: tuple[str, ...] = ()
    notification_email_from: str | None = None
    no_email_faults: bool = False


class Fifo(Struct):
    """A notify FIFO and the program that reads it."""

    path: str
    account: Account | None = None
    script: Command | None = None


class ProcessNames(Struct):
    """What ps shall call the processes; None: as it is."""

    supervisor: str | None = None
    vrrp: str | None = None
    ipvs: str | None = None


class DumpFiles(Struct):
    """Where dumps go, as configured (a path, relative to the usual directory, or a directory when
    it ends with a slash), and in which form."""

    data: str | None = None
    stats: str | None = None
    json: str | None = None
    use_instance: bool = False  # network namespace and instance are part of the names
    json_version: int = 1


class Housekeeping(Struct):
    """Processes and files about the daemon, which say nothing about routers or servers."""

    process_names: ProcessNames = ProcessNames()
    umask: int | None = None
    use_pid_dir: bool = False
    dumps: DumpFiles = DumpFiles()
    reload_file: str | None = None  # empty: at the usual place
    reload_time_file: str | None = None
    reload_repeat: bool = False
    reload_check_log: str | None = None  # what a reload's check says; None: nowhere but the log
    config_save_dir: str | None = None


class GlobalDefs(Struct):
    """global_defs that are not per-instance defaults."""

    router_id: str = ""
    mail: Mail = Mail()
    notify_fifo: Fifo | None = None
    vrrp_notify_fifo: Fifo | None = None
    lvs_notify_fifo: Fifo | None = None
    fifo_write_vrrp_states_on_reload: bool = False
    script_account: Account | None = None  # default account of scripts; None: the daemon's own
    enable_script_security: bool = False
    default_interface: str = "eth0"
    dynamic_interfaces: bool = False
    garp_interval_ns: int = 0
    gna_interval_ns: int = 0
    startup_delay_ns: int = 0
    delay_after_boot_ns: int = 0
    startup_script: Command | None = None
    startup_script_timeout_s: int = 10
    shutdown_script: Command | None = None
    shutdown_script_timeout_s: int = 10
    log_unknown_vrids: bool = False
    vrrp_socket_backend: str = "raw"  # raw or packet
    vrrp_engine_threads: int = 1
    vrrp_cpu_dma_latency_us: int | None = None  # None: as the machine is set up
    vrrp_rt_priority: int = 0
    vrrp_rlimit_rttime_us: int = 10000
    vrrp_priority: int = 0
    vrrp_cpu_affinity: tuple[int, ...] = ()
    vrrp_no_swap: bool = False
    child_wait_time_s: int = 5
    vmac_prefix: str = "vrrp"
    vmac_addr_prefix: str = "vrrp"
    nftables: str | None = None  # table name, None: "fastvrrp" on demand
    nftables_priority: int = -1  # of the chains in their hooks
    nftables_counters: bool = False
    disable_local_igmp: bool = False
    housekeeping: Housekeeping = Housekeeping()
    net_namespace: str | None = None
    instance: str | None = None


class Configuration(Struct):
    """A whole configuration, valid by construction."""

    global_defs: GlobalDefs = GlobalDefs()
    vrrp_instances: tuple[VrrpInstance, ...] = ()  # of one that runs: compact.Packed, as good
    sync_groups: tuple[SyncGroup, ...] = ()
    track_scripts: tuple[TrackScript, ...] = ()
    track_processes: tuple[TrackProcess, ...] = ()
    track_files: tuple[TrackFile, ...] = ()
    garp_groups: tuple[GarpGroup, ...] = ()
    interface_delays: tuple[InterfaceDelay, ...] = ()
    static_addresses: tuple[VirtualAddress, ...] = ()
    static_routes: tuple[VirtualRoute, ...] = ()
    static_rules: tuple[VirtualRule, ...] = ()
    devices: tuple[Device, ...] = ()  # none before it runs: names depend on what there is
    ipvs: Ipvs = Ipvs()
    source_files: tuple[str, ...] = ()


class Loaded(Struct):
    """Result of reading a configuration: usable only when `configuration` is not None."""

    configuration: Configuration | None
    messages: tuple[Message, ...] = ()

    @property
    def errors(self) -> tuple[Message, ...]:
        return tuple(m for m in self.messages if m.severity is Severity.ERROR)
