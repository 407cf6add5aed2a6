"""YAML files one after the other: a reload that remembers gets what a fresh reading gets."""

from __future__ import annotations

import pytest
from config_reading import Reader
from hypothesis import given, settings
from hypothesis import strategies as st
from native_entries import FOR, GLOBAL, LISTS, REST, instance, instances, own, server, servers
from remembering import after

# What stands above, below or around known entries, and may take them for something else.
ODDITIES = (
    'x: "',
    "x: '\n",
    '"\n',
    "'\n",
    "x: [\n",
    "]\n",
    "}\n",
    "  {\n",
    "  ]\n",
    "x: |\n",
    "  |\n",
    "  x: >\n",
    "  - a\n",
    "- a\n",
    "  a\n",
    "    a: 1\n",
    "    a\n",
    "   # \n",
    "\n\n",
    "---\n",
    "...\n",
    "--- |\n",
    "%YAML 1.1\n",
    "  ? a\n",
    "  : b\n",
    "  &A V1:\n",
    "  *A : 1\n",
    "  !x V1:\n",
    "\tx\n",
    "  x: 1\r  y: 2\n",
    "  \x85\n",
    "  <<: {priority: 3}\n",
    "instances:\n",
    "virtual_servers:\n",
    "instances: {\n",
    "instances: # more\n",
    "'instances':\n",
    "nodes:\n  r1:\n    instances:\n      V1: {priority: 3}\n",
    "nodes:\n  r2:\n    instances: {}\n",
    own("V1:", "  priority: 200", "V2: {priority: 7}"),
    own("V1:", "  priority: 201"),
    own("V2:", "  use_vmac: true", "V14:", "  interface: eth0", "  virtual_router_id: 14"),
    own("V3:", "  template: base", name="r2"),
    own("V1:", "  priority: 7", name="r2") + own("V1:", "  priority: 8").replace("nodes:\n", ""),
    own("- address: 10.1.0.9:80", "  real_servers: [10.0.0.2:80]", section="virtual_servers"),
    own("G:", "  instances: [V2, V1]", section="sync_groups"),
    own("W<n>:", "  for: {n: 22..24}", "  priority: <n>"),
    "nodes:\n  r1:\n    defaults:\n      instances: {priority: 11}\n    global: {router_id: a}\n",
    "nodes:\n  r1:\n    templates:\n      instances:\n        base:\n          priority: 12\n",
    "nodes:\n  r1: &N\n    instances:\n      V1: {priority: 4}\n  r2: *N\n",
    "nodes:\n  r1:\n",
    "  r1:\n    instances:\n      V2:\n",
    "        priority: 77\n",
    "global:\n  vrrp_garp_interval: &A 1s\n",
    "static_addresses:\n  - 10.0.9.9 dev eth0\n  - 10.0.9.8 dev eth1\n",
    "static_routes:\n- 10.7.0.0/24 via 10.0.0.1 dev eth0\n",
    "- 10.8.0.0/24 via 10.0.0.1 dev eth0\n",
    "tls:\n  password: secret\n",
    "sync_groups: {G: {instances: [V1, V2]}}\n",
    "track_scripts:\n  S:\n    script: /bin/true\n    template: often\n",
    "defaults:\n  sync_groups:\n    global_tracking: true\n  garp_groups: {gna_interval: 2s}\n",
    "templates:\n  track_scripts:\n    often:\n      interval: 2s\n      weight: 2\n",
    "templates:\n  track_scripts: {often: {interval: 2s,\n weight: 2}}\n",
    "defaults:\n  instances: {priority: 7}\n",
    "defaults:\n  instances: {priority: 8, interface: eth1}\n",
    "defaults:\n  real_servers: {weight: 8}\n",
    "defaults:\n  virtual_servers: {quorum: 2}\n",
    "templates:\n  instances:\n    base: {priority: 3}\n",
    "templates:\n  instances:\n    base: {priority: 4, notify: /bin/true}\n",
    "templates:\n  instances: {idle: {priority: 4}}\n",
    "sync_groups:\n  G: {instances: [V1, V2]}\n",
    "track_scripts:\n  S: {script: /bin/true, weight: 5}\n",
    "track_scripts:\n  S: {script: /bin/check}\n",
    "track_scripts:\n  S:\n    script: /bin/true\n  S2:\n    script: /bin/check\n    weight: 3\n",
    "track_scripts:\n  S:\n    script: /bin/true\n  S2:\n    script: /bin/check\n    weight: 4\n",
    "track_scripts:\n  S<n>:\n    for: {n: 1..3}\n    script: /bin/true\n    weight: <n>\n",
    "track_files:\n  F:\n    file: /run/x\n  S:\n    file: /run/y\n",
    "sync_groups:\n  G:\n    instances: [V1, V2]\n    notify: 'a\n     b'\n"
    "    global_tracking: true\n",
    "garp_groups:\n  - interface: eth0\n    garp_interval: 1s\n  - interface: eth1\n",
    "virtual_server_groups:\n  W:\n    - 10.4.0.1-7:80\n  X:\n    - fwmark: 3\n",
    "track_groups:\n  T:\n    instances: [V1]\nstatic_addresses:\n  - 10.0.9.9 dev eth0\n",
    "defaults:\n  track_scripts: {weight: 7}\n",
    "include: conf.d/a.yaml\n",
    "include: [conf.d/a.yaml, conf.d/b.conf]\n",
    GLOBAL,
    "global: {vrrp_version: 3}\n",
    "instances: &A\n",
    "instances:\n",
    "instances:\n",
    "instances:\n",
    "virtual_servers:\n",
    "virtual_servers:\n",
)
ENTRIES = (
    instance(13, "notify: '/bin/true\n      a'", "advert_int: 3s"),
    server(7, "virtualhost: |\n      a.example", "quorum: 1"),
    server(8).replace("address: 10.1.0.8:80", "group: W"),
    instance(1),
    instance(1, priority=60),
    instance(1, indent="   "),
    instance(2),
    instance(2, "state: MASTER", "preempt: false"),
    instance(3, "template: base"),
    instance(3, "priority: 7"),
    instance(4, "track_scripts: [S]"),
    instance(4, "track_scripts: [{script: S, weight: 3}]"),
    instance(5, "notify: /bin/true"),
    instance(5, "notify: '/bin/true\n      a'"),
    instance(6, "notify: |\n      /bin/true"),
    instance(6, "\n    # within", "use_vmac: true"),
    instance(7, "track_interfaces: [eth1,\n eth2]"),
    instance(7, "track_interfaces: [eth1, eth9]"),
    instance(8, "advert_int: &A 2s"),
    instance(8, "advert_int: *A"),
    instance(7, "advert_int: &B 3s", "garp_master_delay: *B"),
    instance(8, "notify: &A /bin/true", "notify_master: *A", "advert_int: 1.234s", "version: 3"),
    instance(9, "priority: 255"),
    instance(9, "frob: 3"),
    instance(10, "state: 'MASTER'   # more"),
    instance(1).replace("V1:", "V1: # more"),
    instance(1).replace("V1:", "'V1':"),
    instance(2).rstrip(),
    instance(2).replace(":\n", ": {\n", 1).replace("24]\n", "24]}\n"),
    "  V11: {interface: eth0, virtual_router_id: 11, addresses: [10.0.0.11]}\n",
    "  V12:\n    {interface: eth0, virtual_router_id: 12, addresses: [10.0.0.12]},\n",
    "  W<n>:\n    for: {n: 21..22}\n    interface: eth0\n    virtual_router_id: <n>\n"
    "    addresses: [10.0.0.<n>]\n",
    "  W<n>:\n    for: {n: [23]}\n    interface: eth0\n    virtual_router_id: <n>\n"
    "    addresses: [10.0.0.<n>]\n",
    server(1),
    server(1, weight=5),
    server(1, indent=""),
    server(2),
    server(2, "real_server_defaults: {weight: 3}", indent=""),
    server(3, "checks: [tcp]"),
    server(3, "virtualhost: 'a\n      b'"),
    server(4, "quorum_up: /bin/true"),
    server(5, "quorum: 7"),
    "  - protocol: TCP\n    address: 10.1.0.6:80\n    scheduler: rr\n    method: NAT\n"
    "    real_servers: [10.0.0.2:80]\n",
)
PIECES = (*ENTRIES, *ODDITIES)
PIECE = st.sampled_from(range(len(PIECES)))
ENTRY = st.sampled_from(range(len(ENTRIES)))
INCLUDED = (instances(instance(31)), servers(server(31)), "defaults:\n  instances: {priority: 9}\n")
OTHERS = (
    "vrrp_instance C {\ninterface eth0\nvirtual_router_id 41\nvirtual_ipaddress { 10.0.0.41 }\n}\n",
    "",
)
GOOD = st.lists(ENTRY.filter(lambda n: ENTRIES[n].startswith("  V")), max_size=4, unique=True)
LISTED = st.lists(ENTRY.filter(lambda n: ENTRIES[n].startswith("  -")), max_size=3, unique=True)
HEADS = {heading: PIECES.index(heading) for heading in ("instances:\n", "virtual_servers:\n")}


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[list[int], int]]:
    """Files one after the other, each mostly like the one before: pieces, and what is included."""
    pieces = [HEADS["instances:\n"], *draw(GOOD), HEADS["virtual_servers:\n"], *draw(LISTED)]
    pieces = [*draw(st.lists(PIECE, max_size=2)), *pieces]
    included = draw(st.integers(0, 5))
    history = [(pieces, included)]
    for _ in range(4):
        pieces = list(pieces)
        change = draw(st.integers(0, 5))
        where = draw(st.integers(0, len(pieces)))
        if change in (0, 1):
            pieces.insert(where, draw(PIECE))
        elif change == 2:
            del pieces[where : where + 1]
        elif change == 3:
            pieces[where : where + 1] = [draw(PIECE)]
        elif change == 4:
            included = draw(st.integers(0, 5))
        else:
            there = draw(st.integers(0, len(pieces)))
            pieces[where:there] = pieces[where:there][::-1]
        history.append((pieces, included))
    return history


@settings(max_examples=200, deadline=None)
@given(history=histories())
def test_after_any_other_file(
    history: list[tuple[list[int], int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    read = Reader(tmp_path_factory.mktemp("remembered", numbered=True))
    read.path = read.path.with_suffix(".yaml")
    read.config_id = "r1"
    held = None
    for pieces, included in history:
        read.file("conf.d/a.yaml", INCLUDED[included % 3])
        read.file("conf.d/b.conf", OTHERS[included // 3])
        found = after(read, "".join(PIECES[number] for number in pieces), held)
        held = found.held or held  # what has errors does not come into effect


# What a section may say, all of it right as long as V1 to V3 are there: one of each is chosen.
CHOICES: dict[str, tuple[str, ...]] = {
    "V1": (
        instance(1),
        instance(1, "template: base").replace("    priority: 100\n", ""),
        instance(1, "advert_int: &A 2s", "garp_master_delay: *A"),
        instance(1, "state: MASTER", "preempt: false"),
        instance(1, "version: 3", "advert_int: 1.234s"),
        "  V1: {interface: eth0, virtual_router_id: 1, addresses: [10.0.0.1]}\n",
    ),
    "V2": (
        instance(2),
        instance(2, "template: [base, low]"),
        instance(2, "track_scripts: [{script: S, weight: 4}]"),
        instance(2, "track_interfaces: [eth1, eth9]"),
        instance(2).replace("    priority: 100\n", ""),
        instance(2, "notify: /bin/true", "garp_master_delay: 9s"),
    ),
    "V3": (
        instance(3),
        instance(3, "notify: |", "  /bin/true"),
        "  # more\n" + instance(3, "", "# within", "use_vmac: true"),
        instance(3).replace("    priority: 100\n    ", "    template: low\n    "),
        instance(3, "advert_int: &B 2s"),
    ),
    "W": (
        "",
        FOR,
        FOR.replace("    addr", "    template: base\n    addr"),
        FOR.replace("1..23", "1..24"),
        instance(4, "advert_int: *B"),
        instance(4, "advert_int: 2s"),
        instance(5) + instance(6) + instance(7),
    ),
    "defaults": (
        "",
        "defaults:\n  instances:\n    priority: 90\n",
        "defaults:\n  instances: {priority: 90}\n  real_servers:\n    weight: 3\n",
        "defaults:\n  instances:\n    version: 3\n    advert_int: 1.234s\n",
        "defaults:\n  track_scripts:\n    weight: 7\n"
        "  sync_groups: {sync_group_tracking_weight: true}\n",
        "defaults:\n  track_scripts: {weight: 7}\n  virtual_servers:\n    quorum: 2\n",
    ),
    "templates": (
        "templates:\n  instances:\n    base:\n      priority: 50\n    low: {preempt: false}\n",
        "templates:\n  instances:\n    base: {priority: 50}\n    low:\n      preempt: false\n",
        "templates:\n  instances:\n    base:\n      template: low\n    low:\n      priority: 5\n",
        "templates:\n  instances:\n    low:\n      advert_int: 1.5s\n    base:\n"
        "      priority: 51\n  real_servers:\n    web: {weight: 3}\n",
    ),
    "nodes": (
        "",
        own("V1:", "  priority: 200"),
        own("V1:", "  priority: 200", "V2: {priority: 7}", "V3:", "  version: 3"),
        own(
            "V2:",
            "  priority: 7",
            "  notify: /bin/true",
            "V9:",
            "  template: base",
            "  interface: eth0",
            "  virtual_router_id: 9",
            "  addresses: [10.0.9.1]",
        ),
        own("V1:", "  template: low", "  track_scripts: [S]", name="r2"),
        own("V1:", "  priority: 200") + own("V1:", "  priority: 9", name="r2")[7:],
        own("V1: &N", "  priority: 200") + "  r2:\n    instances:\n      V1: *N\n",
        own("G:", "  instances: [V2, V1]", section="sync_groups"),
        own(
            "- address: 10.1.0.9:80",
            "  protocol: TCP",
            "  real_servers: [10.0.0.2:80]",
            section="virtual_servers",
        ),
        own("instances:", "  priority: 12", section="defaults"),
        own("instances:", "  low:", "    priority: 13", section="templates"),
        own("router_id: one", section="global"),
        "nodes: {r1: {instances: {V1: {priority: 3}, V2: {priority: 3}}}}\n",
    ),
    "global": (
        GLOBAL,
        GLOBAL + "  vrrp_version: 3\n",
        "global: {enable_script_security: true, script_user: root}\n",
        GLOBAL.replace("root", "nobody"),
    ),
    "lists": ("", LISTS[0], LISTS[1], LISTS[0] + LISTS[1], LISTS[3] + "# more\n" + LISTS[2]),
    "groups": (
        "",
        "sync_groups: {G: {instances: [V1, V2]}}\n",
        "sync_groups:\n  G:\n    instances: [V1, V2]\n    notify: /bin/true\n",
        "track_groups:\n  G:\n    instances: [V1]\n",
    ),
    "scripts": (
        "track_scripts:\n  S:\n    script: /bin/true\n",
        "track_scripts:\n  S:\n    script: /bin/check\n    weight: 3\n",
        "track_scripts:\n  S<n>:\n    for: {n: ['', 1, 2]}\n    script: /bin/true\n",
        "track_scripts: {S: {script: /bin/true}}\n",
    ),
    "rest": ("", REST[0], REST[3], REST[4], REST[5], REST[4] + REST[5]),
    "servers": (
        "",
        servers(server(1), server(2)),
        servers(server(2), server(1, weight=4)),
        servers(server(1).replace("10.0.0.2:80", "{address: '10.0.2.<n>:80', for: {n: 2..4}}")),
        servers(server(1).replace("10.1.0.1:80", "&C 10.1.0.1:80"), server(2, "quorum: 7")),
        servers(server(1, indent=""), server(2, indent=""), server(3, "checks: [tcp]", indent="")),
        "virtual_server_groups:\n  W:\n  - 10.4.0.1-7:80\n"
        + servers(server(1).replace("address: 10.1.0.1:80", "group: W", 1)),
    ),
}
ROUTERS = ("V1", "V2", "V3", "W")
CHOSEN = st.fixed_dictionaries({name: st.integers(0, len(c) - 1) for name, c in CHOICES.items()})


def written(chosen: dict[str, int], order: list[str], routers: list[str]) -> str:
    """The sections in this order."""
    texts = {name: CHOICES[name][number] for name, number in chosen.items()}
    texts["instances"] = instances(*[texts[name] for name in routers])
    return "".join(texts[name] for name in order)


@st.composite
def documents(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Files with the routers whose they are, one after the other, each with little that is new."""
    chosen = draw(CHOSEN)
    order = draw(st.permutations([*(name for name in CHOICES if name not in ROUTERS), "instances"]))
    routers = draw(st.permutations(ROUTERS))
    names = st.sampled_from(["r1"] * 9 + ["r2"])
    history = [(written(chosen, order, routers), "r1")]
    for _ in range(4):
        for name in draw(st.lists(st.sampled_from(sorted(CHOICES)), max_size=2)):
            chosen = {**chosen, name: draw(st.integers(0, len(CHOICES[name]) - 1))}
        if not draw(st.integers(0, 5)):
            order = draw(st.permutations(order))
            routers = draw(st.permutations(routers))
        history.append((written(chosen, order, routers), draw(names)))
    return history


@settings(max_examples=100, deadline=None)
@given(history=documents())
def test_after_any_other_document(
    history: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    read = Reader(tmp_path_factory.mktemp("remembered", numbered=True))
    read.path = read.path.with_suffix(".yaml")
    held = None
    for text, name in history:
        read.config_id = name
        found = after(read, text, held)
        held = found.held or held
