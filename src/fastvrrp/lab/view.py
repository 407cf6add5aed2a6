"""How the laboratory looks on a terminal: the topology, a time line and the log (rich)."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .scene import MS, NS, PRIORITY, SLOT_NS, VIP, Line, Router, Scene

WIDTH, HEIGHT = 78, 22  # of the whole picture
SLOTS = 66  # of the time line
LOG_LINES = 7
COLOURS = {"r1": "cyan", "r2": "magenta", "client": "green", "failure": "bold red"}
BARS = "▁▂▃▄▅▆▇"


def state_of(scene: Scene, router: Router) -> tuple[str, str]:
    """(word, style) of a router, as an outsider sees it."""
    if not router.running:
        return ("✗ DEAD" if scene.failure == "kill" else "✗ STOPPED"), "bold red"
    if not router.linked:
        return "✗ NO CARRIER", "bold red"
    if scene.speaking(router):
        return "● MASTER", f"bold {COLOURS[router.name]}"
    return "○ BACKUP", "dim"


def _box(rows: list[Text], style: str, inner: int, stem: bool) -> list[Text]:
    """A frame around rows; `stem` draws the joint to the cable below it."""
    bottom = "─" * (inner // 2) + ("┬" if stem else "─") + "─" * (inner - inner // 2 - 1)
    out = [Text("╭" + "─" * inner + "╮", style)]
    for row in rows:
        row.truncate(inner - 2, pad=True)
        out.append(Text.assemble(("│ ", style), row, (" │", style)))
    return [*out, Text("╰" + bottom + "╯", style)]


def _router(scene: Scene, router: Router) -> list[Text]:
    word, style = state_of(scene, router)
    alive = router.running and router.linked
    colour = COLOURS[router.name] if scene.speaking(router) and alive else "bright_black"
    head = Text.assemble((f"{router.name} ", "bold"), (f"{router.kind:<14}", "dim"), (word, style))
    address = Text(f"{router.address}  priority {PRIORITY[router.name]}", "dim")
    if router.holds and router.running:
        vip = Text(f"★ {VIP}", f"bold {COLOURS[router.name]}")
    else:
        vip = Text("")
    adverts = Text(f"adverts sent {router.adverts}", "dim")
    return _box([head, address, vip, adverts], colour, 33, stem=True)


def topology(scene: Scene) -> Text:
    """Routers, the LAN they share, the client."""
    left, right = (_router(scene, router) for router in scene.routers.values())
    rows = [Text.assemble(a, "     ", b) for a, b in zip(left, right, strict=True)]
    r1, r2 = scene.routers.values()
    cables = []
    for router in (r1, r2):
        cables.append(("│", "white") if router.linked else ("✗", "bold red"))
    gap, margin = " " * 39, " " * 17
    rows.append(Text.assemble(margin, cables[0], gap, cables[1]))
    rows.append(Text("━" * 17 + "┷" + "━" * 19 + "┯" + "━" * 19 + "┷" + "━" * 17, "white"))
    now = scene.now_ns() + scene.begin_ns
    recent = scene.prober.recent(now - NS // 2)
    answered = [e for e in recent if e.answered_ns]
    if answered:
        delay = (answered[0].answered_ns - answered[0].sent_ns) / 1000
        who = scene.speaker(answered[0].answered_ns)
        words = Text(f"{who} answers in {delay:.0f} µs", COLOURS.get(who, "green"))
    else:
        words = Text("no answer", "bold red")
    if recent and all(not e.answered_ns for e in recent[2:12]):
        words = Text("no answer", "bold red")
    client = Text.assemble((" client ", "bold green"), f"pings {VIP} every 10 ms: ", words)
    rows.append(Text.assemble(" " * 14, client))
    return Text("\n").join(rows)


def timeline(scene: Scene) -> Text:
    """Who sent adverts and whether the client was answered, one column per slot."""
    last = scene.now_ns() // SLOT_NS
    first = max(0, last - SLOTS + 1)
    slots = range(first, first + SLOTS)
    expected = max(1.0, SLOT_NS / scene.interval_ns)
    rows = []
    for name, router in scene.routers.items():
        row = Text.assemble((f"{name:<7}", "bold"), "")
        for slot in slots:
            count = router.beats[slot]
            beat = "━" if count >= expected / 2 else "╸" if count else " "
            row.append(beat if scene.interval_ns <= SLOT_NS else "•" if count else " ",
                       COLOURS[name])  # fmt: skip
        rows.append(row)
    rows.append(_pings(scene, slots, last))
    return Text("\n").join(rows)


def _pings(scene: Scene, slots: range, last: int) -> Text:
    """Bars as high as the answer took long (logarithmic); a red cross where answers failed."""
    sent: dict[int, int] = {}
    delays: dict[int, list[int]] = {}
    for echo in scene.prober.recent(scene.begin_ns + slots[0] * SLOT_NS):
        slot = (echo.sent_ns - scene.begin_ns) // SLOT_NS
        sent[slot] = sent.get(slot, 0) + 1
        if echo.answered_ns:
            delays.setdefault(slot, []).append(echo.answered_ns - echo.sent_ns)
    row = Text.assemble(("ping   ", "bold"), "")
    for slot in slots:
        answered = delays.get(slot, [])
        if not sent.get(slot) or slot > last:
            row.append(" ")
        elif len(answered) < 0.7 * sent[slot] and slot < last:
            row.append("✗" if not answered else "╳", "bold red")
        elif answered:
            middle = sorted(answered)[len(answered) // 2] / 1000  # microseconds
            level = max(0, min(len(BARS) - 1, round(2 * math.log10(max(middle, 10) / 10))))
            who = scene.speaker(scene.begin_ns + (slot + 1) * SLOT_NS)
            row.append(BARS[level], COLOURS.get(who, "green"))
        else:
            row.append(" ")
    return row


def log_line(line: Line) -> Text:
    return Text.assemble(
        (f"{line.time_ns / NS:7.3f} s  ", "dim"),
        (f"{line.about:<8}", COLOURS.get(line.about, "")),
        line.text,
    )


def summary(scene: Scene) -> RenderableType:
    """The measured milliseconds, in a table."""
    assert scene.result is not None
    failover, comeback = scene.result.failover, scene.result.comeback
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)

    def row(head: str, value_ns: int, what: str, style: str = "") -> None:
        table.add_row(head, Text(f"{value_ns / MS:.1f} ms", style), what)

    promise = f"VRRP's wait is {scene.promise_ns() / MS:.1f}"
    since = "r1's goodbye" if scene.failure == "stop" else "r1's last advert"
    row("failover", failover.silence_ns, f"from {since} to r2's first; {promise}", "bold magenta")
    row("", failover.announced_ns, "later r2's gratuitous ARP tells the LAN")
    row("", failover.outage_ns, "the client was without an answer", "bold green")
    row("comeback", comeback.announced_ns, "from r1's first advert to its gratuitous ARP")
    row("", comeback.outage_ns, "the client was without an answer", "bold green")
    for handover in (failover, comeback):
        if not handover.moved:
            table.add_row("", "", Text(f"{VIP} did not move to {handover.to}", "bold red"))
    return table


def screen(scene: Scene) -> RenderableType:
    """The whole picture, fit for 80 columns and 24 lines."""
    interval = f"adverts every {scene.interval_ns / MS:g} ms"
    head = Text.assemble(
        (" fastvrrp lab ", "bold reverse"), f"  VRRPv3, {interval}:  ", (scene.title, "bold")
    )
    head.truncate(WIDTH, overflow="ellipsis")
    parts: list[RenderableType] = [head, topology(scene), Text(), timeline(scene), Text()]
    if scene.result is None:
        log = sorted(scene.lines, key=lambda line: line.time_ns)[-LOG_LINES:]
        parts += [log_line(line) for line in log]
        parts += [Text()] * (LOG_LINES - len(log))
    else:
        parts.append(summary(scene))
    return Group(*parts)


def save_svg(scene: Scene, path: Path) -> None:
    """The last picture as SVG, for a document. Raises OSError."""
    with path.open("w", encoding="utf-8") as out, Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=WIDTH + 2, file=nowhere, force_terminal=True)
        console.print(screen(scene))
        out.write(console.export_svg(title="fastvrrp lab"))
