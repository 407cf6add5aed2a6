"""Scripts, processes, files, interfaces, sync groups, global_defs."""

from __future__ import annotations

import stat

import pytest
from config_reading import Reader, instance, texts

from fastvrrp.config.host import FileInfo
from fastvrrp.config.model import (
    Configuration,
    Fifo,
    GarpGroup,
    Loaded,
    Mail,
    TrackFile,
    TrackProcess,
    TrackScript,
)

MS = 1_000_000
SECURE = "global_defs {\n enable_script_security\n script_user root\n}\n"


def valid(loaded: Loaded) -> Configuration:
    assert loaded.configuration is not None, texts(loaded)
    return loaded.configuration


def script(read: Reader, *lines: str) -> TrackScript:
    text = SECURE + "vrrp_script S {\n script /bin/check\n" + "\n".join(lines) + "\n}\n"
    (found,) = valid(read(text + instance("track_script { S }"))).track_scripts
    return found


def test_script_defaults(read: Reader) -> None:
    found = script(read)
    assert found.command.argv == ("/bin/check",)
    assert found.command.account is None
    assert (found.interval_ns, found.timeout_ns) == (1000 * MS, 1000 * MS)
    assert (found.weight, found.rise, found.fall, found.init_fail) == (0, 1, 1, False)


def test_script_settings(read: Reader) -> None:
    found = script(
        read, "interval 0.25", "weight -50 reverse", "rise 2", "fall 3", "user nobody", "init_fail"
    )
    assert (found.interval_ns, found.timeout_ns) == (250 * MS, 250 * MS)
    assert (found.weight, found.reverse, found.rise, found.fall) == (-50, True, 2, 3)
    assert found.init_fail
    assert found.command.account is not None
    assert found.command.account.user == "nobody"
    assert script(read, "interval 5", "timeout 2").timeout_ns == 2000 * MS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("interval 0", "interval 0 makes no sense, using 1"),
        ("interval x", "interval is not a time of 0.001 to 4294 seconds: 'x', using 1"),
        ("weight 254", "weight is not a number from -253 to 253: '254', using 0"),
        ("rise 0", "rise is not a number from 1 to 2147483647: '0', using 1"),
        ("init_fail yes", "one more word than init_fail takes"),
    ],
)
def test_script_values_that_are_replaced(read: Reader, line: str, message: str) -> None:
    plain = script(read)
    assert (script(read, line).interval_ns, script(read, line).weight) == (
        plain.interval_ns,
        plain.weight,
    )
    text = f"{SECURE}vrrp_script S {{\n script /bin/check\n {line}\n}}\n"
    said = texts(read(text + instance("track_script { S }")))
    assert any(message in text for text in said), said


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("/bin/check a b", ("/bin/check",)),
        ('"/bin/check a b"', ("/bin/check", "a", "b")),
        ("\"/bin/check 'a b' c\"", ("/bin/check", "a b", "c")),
        ("'/bin/check \"a b\" c'", ("/bin/check", "a b", "c")),
        ('"/bin/check $X #1 !"', ("/bin/check", "$X", "#1", "!")),
        ("check", ("/bin/check",)),
        ('"</etc/passwd"', ("/bin/test", "-r", "/etc/passwd")),
    ],
)
def test_script_commands(read: Reader, command: str, argv: tuple[str, ...]) -> None:
    read.host.files["/bin/test"] = read.host.files["/bin/true"]
    text = f"{SECURE}vrrp_script S {{\n script {command}\n}}\n"
    (found,) = valid(read(text + instance("track_script { S }"))).track_scripts
    assert found.command.argv == argv


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("script /bin/nothing", "script is not run: '/bin/nothing' does not exist"),
        ("script /tmp", "script is not run: '/tmp' is not a file"),
        ("script /etc/passwd", "script is not run: root may not execute '/etc/passwd'"),
        ("script nothing", "script is not run: 'nothing' is not found"),
        ("script ./check", "script is not run: './check' is not found"),
        ("script /bin/true\nuser nosuch", "there is no user 'nosuch'"),
        ("script /bin/true\nuser root nosuch", "there is no group 'nosuch'"),
        ("script /home/nobody/x", "others than root can replace '/home/nobody'"),
    ],
)
def test_scripts_that_cannot_run_are_taken_out(read: Reader, lines: str, message: str) -> None:
    loaded = read(f"{SECURE}vrrp_script S {{\n{lines}\n}}\n" + instance("track_script { S }"))
    configuration = valid(loaded)
    assert configuration.track_scripts == ()
    assert configuration.vrrp_instances[0].track_script == ()
    said = texts(loaded)
    assert any(message in text for text in said), said
    assert any("'S' is not tracked, because it cannot work" in text for text in said)


def test_weak_paths_only_warn_without_script_security(read: Reader) -> None:
    text = "vrrp_script S {\n script /home/nobody/x\n}\n" + instance("track_script { S }")
    loaded = read(text)
    assert len(valid(loaded).track_scripts) == 1
    said = texts(loaded)
    assert said[0].startswith("2:2: warning: scripts are run without enable_script_security")
    assert said[1].startswith("2:9: warning: script: others than root can replace '/home/nobody'")
    # As nobody the owner of the file does no harm.
    loaded = read(text.replace("/x\n", "/x\n user nobody\n"))
    assert len(texts(loaded)) == 1


def test_symbolic_links_are_checked_behind_the_link(read: Reader) -> None:
    read.host.files["/bin/link"] = FileInfo(65534, 0, stat.S_IFREG | 0o755)
    read.host.real["/bin/link"] = "/home/nobody/x"
    read.host.files["/bin/link"] = FileInfo(0, 0, stat.S_IFREG | 0o755)
    loaded = read(
        SECURE + "vrrp_script S {\n script /bin/link\n}\n" + instance("track_script { S }")
    )
    assert valid(loaded).track_scripts == ()


def test_execution_follows_owner_group_and_others(read: Reader) -> None:
    read.host.files["/bin/own"] = FileInfo(65534, 0, stat.S_IFREG | 0o700)
    read.host.files["/bin/group"] = FileInfo(0, 65534, stat.S_IFREG | 0o710)
    read.host.files["/bin/setuid"] = FileInfo(0, 0, stat.S_IFREG | 0o4755)
    for name, runs in (("own", True), ("group", True), ("true", True), ("nothing", False)):
        text = f"vrrp_script S {{\n script /bin/{name}\n user nobody\n}}\n"
        loaded = read(text + instance("track_script { S }"))
        assert bool(valid(loaded).track_scripts) == runs


def test_no_account_for_scripts(read: Reader) -> None:
    text = "global_defs {\n enable_script_security\n}\n" + instance("notify /bin/true")
    loaded = read(text)
    assert valid(loaded).vrrp_instances[0].notify.notify is None
    assert "no account for scripts is set" in texts(loaded)[0]
    nobody = read.host.users["nobody"]
    read.host.users["keepalived_script"] = nobody
    configuration = valid(read(text))
    assert configuration.global_defs.script_account == nobody
    command = configuration.vrrp_instances[0].notify.notify
    assert command is not None
    assert command.argv == ("/bin/true",)


def test_unused_trackers_are_dropped(read: Reader) -> None:
    loaded = read(SECURE + "vrrp_script S {\n script /bin/true\n}\n" + instance())
    assert valid(loaded).track_scripts == ()
    assert texts(loaded) == [
        "5:13: warning: vrrp_script 'S' is not used; name it in a track_script block, or remove it"
    ]


def test_the_first_of_two_definitions_counts(read: Reader) -> None:
    one = "track_file F {\n file /a\n}\n"
    loaded = read(one + one.replace("/a", "/b") + instance("track_file { F }"))
    assert [f.file for f in valid(loaded).track_files] == ["/a"]
    assert "4:12: warning: track_file 'F' is defined already, ignored" in texts(loaded)[0]


def test_a_definition_below_its_use_is_used(read: Reader) -> None:
    loaded = read(instance("track_file { F }") + "track_file F {\n file /a\n}\n")
    assert len(valid(loaded).track_files) == 1
    assert "is defined below, keepalived would ignore it" in texts(loaded)[0]


def test_files(read: Reader) -> None:
    text = "vrrp_track_file F {\n file /a\n weight -2 reverse\n init_file 5 overwrite\n}\n"
    loaded = read(text + instance("track_file {\nF weight 3 noreverse\n}"))
    (found,) = valid(loaded).track_files
    assert found == TrackFile(
        name="F",
        file="/a",
        weight=-2,
        reverse=True,
        init_value=5,
        init_overwrite=True,
        position=found.position,
    )
    (tracked,) = valid(loaded).vrrp_instances[0].track_file
    assert (tracked.weight, tracked.reverse) == (3, False)
    assert "vrrp_track_file is an old spelling; write track_file" in texts(loaded)[0]
    plain = valid(read("track_file F {\n file /a\n init_file\n}\n" + instance("track_file { F }")))
    assert (plain.track_files[0].weight, plain.track_files[0].init_value) == (1, 0)


def test_processes(read: Reader) -> None:
    text = 'vrrp_track_process P {\n process "/usr/bin/a b" c\n weight 3\n quorum 2\n%s\n}\n'
    use = instance("track_process { P }")
    (found,) = valid(read(text % "quorum_max 4\ndelay 1.5\nfork_delay 2" + use)).track_processes
    assert found == TrackProcess(
        name="P",
        process="/usr/bin/a b",
        parameters=("c",),
        param_match="exact",
        weight=3,
        quorum=2,
        quorum_max=4,
        fork_delay_ns=2000 * MS,
        terminate_delay_ns=1500 * MS,
        position=found.position,
    )

    def one(lines: str) -> TrackProcess:
        return valid(read(text % lines + use)).track_processes[0]

    assert one("param_match initial").param_match == "initial"
    assert one("param_match").param_match == "exact"
    assert (one("quorum_max 0").quorum, one("quorum_max 0").quorum_max) == (0, 0)
    assert one("quorum_max 1").quorum_max is None
    assert one("full_command").full_command
    bare = "vrrp_track_process P {\n process a\n}\n"
    assert valid(read(bare + use)).track_processes[0].param_match == "none"


@pytest.mark.parametrize(
    ("line", "weight", "reverse", "message"),
    [
        ("eth1", 0, False, ""),
        ("eth1 weight -5 reverse", -5, True, ""),
        ("eth1 weight 254", 253, False, "weight 254: using 253"),
        ("eth1 weight 300", 0, False, "weight is not a number from -253 to 253: '300', ignored"),
        ("eth9", 0, False, "interface 'eth9' does not exist now"),
    ],
)
def test_interfaces(read: Reader, line: str, weight: int, reverse: bool, message: str) -> None:
    loaded = read(instance("track_interface {", line, "}"))
    (tracked,) = valid(loaded).vrrp_instances[0].track_interface
    assert (tracked.weight, tracked.reverse) == (weight, reverse)
    assert [message in text for text in texts(loaded)] == ([True] if message else [])


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("track_interface {\neth1 wieght 5\n}", "8:6: error: unknown option 'wieght'"),
        ("track_interface {\neth1 weight\n}", "8:6: error: weight needs a value"),
        ("track_script {\nS T\n}", "unknown option 'T'"),
        ("track_process {\nP\n}", "there is no vrrp_track_process 'P'"),
        ("track_interface {\na/b\n}", "cannot be the name of an interface"),
        ("track_interface {\neth1 {\n}\n}", "8:1: error: no block is possible in track_interface"),
    ],
)
def test_tracker_errors(read: Reader, block: str, message: str) -> None:
    loaded = read(instance(block))
    assert loaded.configuration is None
    assert any(message in text for text in texts(loaded)), texts(loaded)


def test_the_own_interface_is_tracked_anyway(read: Reader) -> None:
    loaded = read(instance("track_interface {", "eth0", "eth1", "eth1", "}"))
    assert [t.name for t in valid(loaded).vrrp_instances[0].track_interface] == ["eth1"]
    assert len(texts(loaded)) == 2


WEIGHTED = (
    SECURE
    + "vrrp_script S {\n script /bin/true\n weight 5\n}\n"
    + "track_file F {\n file /a\n}\ntrack_file G {\n file /b\n weight 2\n}\n"
    + "vrrp_track_process P {\n process a\n weight 3\n}\n"
)
TRACK = (
    "track_interface {\neth1 weight 4\n}",
    "track_script {\nS\n}",
    "track_file {\nF\nG\n}",
    "track_process {\nP\n}",
)


def weights(configuration: Configuration, index: int = 0) -> dict[str, int]:
    found = configuration.vrrp_instances[index]
    return {
        t.name: t.weight
        for t in (
            *found.track_interface,
            *found.track_script,
            *found.track_file,
            *found.track_process,
        )
    }


def test_weights_of_an_owner(read: Reader) -> None:
    loaded = read(WEIGHTED + instance("priority 255", *TRACK))
    assert weights(valid(loaded)) == {"F": 0, "P": 3}
    assert sum("priority 255 never changes" in text for text in texts(loaded)) == 4


def test_weights_in_a_sync_group(read: Reader) -> None:
    members = instance(*TRACK) + instance(name="W", vrid=2)
    group = "vrrp_sync_group G {\n group {\n V W\n }\n%s\n}\n"
    loaded = read(WEIGHTED + members + group % "")
    assert weights(valid(loaded)) == {"eth1": 0, "F": 0, "P": 3}
    allowed = valid(read(WEIGHTED + members + group % "sync_group_tracking_weight"))
    assert weights(allowed) == {"eth1": 4, "S": 5, "F": 1, "G": 2, "P": 3}
    assert allowed.sync_groups[0].sync_group_tracking_weight
    old = read(WEIGHTED + members + group % "global_tracking")
    assert valid(old).sync_groups[0].sync_group_tracking_weight
    assert any("global_tracking is an old spelling" in text for text in texts(old))


def test_sync_groups(read: Reader) -> None:
    text = (
        WEIGHTED
        + "vrrp_sync_group G {\n group {\n  V\n  W\n }\n notify /bin/check\n smtp_alert\n"
        + "\n".join(TRACK)
        + "\n}\n"
        + instance()
        + instance(name="W", vrid=2)
        + instance(name="X", vrid=3)
    )
    configuration = valid(read(text))
    (group,) = configuration.sync_groups
    assert group.members == ("V", "W")
    assert [i.sync_group for i in configuration.vrrp_instances] == ["G", "G", None]
    assert [t.weight for t in group.track_file] == [1, 2]
    assert [t.weight for t in group.track_script] == [5]
    assert group.notify.smtp_alert
    assert group.notify.notify is not None


@pytest.mark.parametrize(
    ("groups", "message", "severity"),
    [
        ("vrrp_sync_group G {\ngroup { V }\n}", "sync group G has only one member", "warning"),
        ("vrrp_sync_group G {\ngroup {\n}\n}", "sync group G has no members, ignored", "warning"),
        ("vrrp_sync_group G {\n}", "sync group G has no members, ignored", "warning"),
        ("vrrp_sync_group G {\ngroup { V V W }\n}", "belongs to this group already", "error"),
        (
            "vrrp_sync_group G {\ngroup { V W }\n}\nvrrp_sync_group H {\ngroup { W }\n}",
            "H: 'W' belongs to G already",
            "error",
        ),
        (
            "vrrp_sync_group G {\ngroup { V W }\n}\nvrrp_sync_group G {\n}",
            "vrrp_sync_group 'G' is defined already",
            "error",
        ),
        ("vrrp_sync_group G {\ngroup { V W }\nnotify_deleted\n}", "unknown keyword", "error"),
    ],
)
def test_group_messages(read: Reader, groups: str, message: str, severity: str) -> None:
    loaded = read(instance() + instance(name="W", vrid=2) + groups + "\n")
    assert any(message in t and f" {severity}: " in t for t in texts(loaded)), texts(loaded)
    assert (loaded.configuration is None) == (severity == "error")


def test_global_defs(read: Reader) -> None:
    loaded = read(
        "net_namespace blue\ninstance one\nchild_wait_time 9\n"
        "global_defs {\n enable_script_security\n script_user nobody daemon\n"
        " notification_email { a@x }\n notification_email_from b@x\n"
        " smtp_server mail.x 26\n smtp_helo_name h\n smtp_connect_timeout 0\n no_email_faults\n"
        " vrrp_garp_interval 0.001\n vrrp_gna_interval 0.000002\n vrrp_startup_delay 1.5\n"
        " vrrp_delay_after_boot 60\n log_unknown_vrids\n vrrp_rt_priority 150\n"
        " vrrp_socket_backend packet\n vrrp_engine_threads 3\n vrrp_cpu_dma_latency 50\n"
        " vrrp_rlimit_rtime 20000\n vrrp_priority -20\n vrrp_cpu_affinity 1 0 9\n vrrp_no_swap\n"
        ' nftables tab\n notify_fifo /run/f nobody\n notify_fifo_script "/bin/check x"\n'
        " vrrp_notify_fifo /run/g\n fifo_write_vrrp_states_on_reload\n"
        " startup_script /bin/true root\n startup_script_timeout 20\n dynamic_interfaces\n}\n"
        "global_defs {\n notification_email { c@x }\n router_id me\n}\n"
    )
    defs = valid(loaded).global_defs
    nobody = read.host.users["nobody"]
    assert (defs.net_namespace, defs.instance, defs.child_wait_time_s) == ("blue", "one", 9)
    assert defs.router_id == "me"
    assert defs.mail == Mail(
        smtp_server="mail.x",
        smtp_port=26,
        smtp_helo_name="h",
        smtp_connect_timeout_s=1,
        notification_email=("a@x", "c@x"),
        notification_email_from="b@x",
        no_email_faults=True,
    )
    assert defs.script_account is not None
    assert (defs.script_account.uid, defs.script_account.gid) == (65534, 1)
    assert (defs.garp_interval_ns, defs.gna_interval_ns) == (MS, 2000)
    assert (defs.startup_delay_ns, defs.delay_after_boot_ns) == (1500 * MS, 60_000 * MS)
    assert (defs.vrrp_rt_priority, defs.vrrp_rlimit_rttime_us) == (99, 20000)
    assert (defs.vrrp_priority, defs.vrrp_cpu_affinity) == (-20, (1, 0))
    assert defs.vrrp_no_swap
    assert defs.log_unknown_vrids
    assert (defs.vrrp_socket_backend, defs.vrrp_engine_threads) == ("packet", 3)
    assert defs.vrrp_cpu_dma_latency_us == 50
    assert defs.nftables == "tab"
    assert defs.notify_fifo is not None
    assert (defs.notify_fifo.path, defs.notify_fifo.account) == ("/run/f", nobody)
    assert defs.notify_fifo.script is not None
    assert defs.notify_fifo.script.argv == ("/bin/check", "x")
    assert defs.vrrp_notify_fifo == Fifo(path="/run/g")
    assert defs.startup_script is not None
    assert defs.startup_script_timeout_s == 20
    assert defs.dynamic_interfaces


def test_global_defaults(read: Reader) -> None:
    defs = valid(read("")).global_defs
    assert defs.router_id == "r1.example"
    assert (defs.nftables, defs.default_interface) == (None, "eth0")
    assert defs.vrrp_engine_threads == 1
    assert defs.vrrp_cpu_dma_latency_us is None
    assert valid(read("global_defs {\nnftables\n}\n")).global_defs.nftables == "keepalived"


@pytest.mark.parametrize(
    ("lines", "message", "severity"),
    [
        ("vrrp_rt_priority 0", "vrrp_rt_priority 0 is out of range, using 1", "warning"),
        ("vrrp_version 1", "vrrp_version is not a number from 2 to 3: '1', using 2", "warning"),
        ("vrrp_mcast_group4 1.2.3.4", "is not an IPv4 multicast address", "warning"),
        ("vrrp_mcast_group6 ff05::1", "vrrp_mcast_group6 ff05::1 is not link-local", "warning"),
        ("vrrp_garp_extra_if 0", "vrrp_garp_extra_if is not a number from 1", "warning"),
        ("vrrp_garp_extra_if all", "vrrp_garp_extra_if needs a value", "error"),
        ("smtp_server mail x", "smtp_server: 'x' is not a port", "error"),
        ("notification_email {\n}", "nobody gets mail", "warning"),
        ("vrrp_garp_interval 0", "vrrp_garp_interval is not a time of 0.000001", "warning"),
        ("notification_email { a@x }", "no mail is sent without smtp_server", "warning"),
        ("script_user nosuch", "there is no user 'nosuch'", "warning"),
        ("notify_fifo a", "notify_fifo is not an absolute path, /a is used", "warning"),
        ("notify_fifo ./b/a", "notify_fifo is not an absolute path, /b/a is used", "warning"),
        ("notify_fifo ./", "notify_fifo needs an absolute path", "error"),
        ('notify_fifo ""', "notify_fifo needs an absolute path", "error"),
        ("notify_fifo /a\nvrrp_notify_fifo /a", "/a is used for another FIFO already", "error"),
        ("notify_fifo /a\nnotify_fifo /b", "notify_fifo is set already, ignored", "warning"),
        ("notify_fifo_script /bin/true", "is not run without notify_fifo", "warning"),
        ("dynamic_interfaces foo", "dynamic_interfaces cannot be 'foo'", "warning"),
        ("dynamic_interfaces allow_if_changes", "allow_if_changes has no effect", "warning"),
        ("vrrp_rx_bufs_policy x", "vrrp_rx_bufs_policy cannot be 'x'", "warning"),
        ("vrrp_cpu_affinity 99", "there is no CPU '99', ignored", "warning"),
        ("include_check foo", "unknown check 'foo'", "error"),
        ("enable_snmp_vrrp", "enable_snmp_vrrp has no effect yet: SNMP", "warning"),
        ("child_wait_time 5", "unknown keyword 'child_wait_time'", "error"),
    ],
)
def test_global_messages(read: Reader, lines: str, message: str, severity: str) -> None:
    loaded = read(f"global_defs {{\n{lines}\n}}\n")
    assert any(message in t and f" {severity}: " in t for t in texts(loaded)), texts(loaded)
    assert (loaded.configuration is None) == (severity == "error")


def test_garp_groups(read: Reader) -> None:
    loaded = read(
        "garp_group {\n garp_interval 0.1\n interfaces { eth1 eth2 }\n}\n"
        "garp_group {\n gna_interval 1\n interface eth1\n}\n"
        "garp_group {\n gna_interval 1\n interface eth3\n}\n"
        "garp_group {\n interface eth0\n}\n"
    )
    assert valid(loaded).garp_groups == (
        GarpGroup(interfaces=("eth1", "eth2"), garp_interval_ns=100 * MS),
        GarpGroup(interfaces=("eth3",), gna_interval_ns=1000 * MS),
    )
    assert len(texts(loaded)) == 3


def test_members_outside_group(read: Reader) -> None:
    """They are none, as for keepalived; a word that names no instance is an unknown keyword."""
    loaded = read(instance() + "vrrp_sync_group G {\nV\n}\n")
    assert texts(loaded) == [
        "9:17: warning: sync group G has no members, ignored; add group { INSTANCE ... }",
        "10:1: warning: G: 'V' is not a member here, ignored; "
        "members stand in group { INSTANCE ... }",
    ]
    assert loaded.configuration is not None
    assert loaded.configuration.sync_groups == ()
    loaded = read(instance() + "vrrp_sync_group G {\nsmtp_alrt\ngroup {\nV\n}\n}\n")
    assert "10:1: error: unknown keyword 'smtp_alrt'; did you mean smtp_alert?" in texts(loaded)


@pytest.mark.parametrize(
    ("definition", "use", "what"),
    [
        ("vrrp_script S {\n}\n", "track_script { S }", "script"),
        ("track_file S {\n}\n", "track_file { S }", "file"),
        ("vrrp_track_process S {\n}\n", "track_process { S }", "process"),
    ],
)
def test_a_tracker_of_nothing_is_left_out(
    read: Reader, definition: str, use: str, what: str
) -> None:
    """As keepalived does; the instance runs without it."""
    loaded = read(definition + instance(use))
    kind = definition.split()[0]
    left_out = f"1:1: warning: {kind} S has no {what}, it is left out; add {what} ..."
    assert left_out in texts(loaded)
    assert any("'S' is not tracked, because it cannot work" in text for text in texts(loaded))
    assert loaded.configuration is not None
    (router,) = loaded.configuration.vrrp_instances
    assert (router.track_script, router.track_file, router.track_process) == ((), (), ())
