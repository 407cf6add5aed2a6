"""`fastvrrp lab`: watch an address move between two routers, here, now, without configuration."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastvrrp.cli.common import fail

if TYPE_CHECKING:
    from rich.console import Console

    from fastvrrp.lab.scene import Line, Scene

DESCRIPTION = """\
Builds two routers, a switch and a client in network namespaces of its own, starts fastvrrp on
both routers, lets the master fail and shows how the other takes over, measured in milliseconds
by the client and by an observer at the switch. Then the failed router returns. Takes about 15
seconds, needs no configuration, touches nothing outside and cleans up after itself.

Runs as root, or without privileges where the kernel allows user namespaces.

exit status:
  0  the address moved to the other router, and back
  1  it did not, or the lab could not be built"""

EXAMPLES = (
    "fastvrrp lab                     # the master loses power; adverts every 100 ms",
    "fastvrrp lab --failure stop      # an orderly stop: the master says goodbye",
    "fastvrrp lab --peer keepalived   # the second router runs keepalived",
    "fastvrrp lab --interval 0.01     # adverts every 10 ms",
    "fastvrrp lab --hold              # keep the lab afterwards, to look around",
)


def _interval(text: str) -> float:
    """Seconds as VRRPv3 can send them: 0.01 to 40.95 in hundredths (RFC 9568 5.2.7)."""
    value = float(text)
    if not 0.01 <= value <= 40.95:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 40.95 seconds")
    return round(value, 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--failure",
        choices=("kill", "stop", "link"),
        default="kill",
        help="what happens to the master: power failure (default), orderly stop, pulled cable",
    )
    parser.add_argument(
        "--peer",
        choices=("fastvrrp", "keepalived"),
        default="fastvrrp",
        help="what runs on the second router (default: fastvrrp)",
    )
    parser.add_argument(
        "--interval",
        type=_interval,
        default=0.1,
        metavar="SECONDS",
        help="time between adverts, 0.01 to 40.95 (default: 0.1)",
    )
    parser.add_argument("--hold", action="store_true", help="keep everything running until Ctrl-C")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="save the last picture as SVG")


def run(args: argparse.Namespace) -> int:
    """The subcommand; returns the exit status."""
    # Here, because the other subcommands should not pay for rich and pyroute2.
    from fastvrrp.lab.namespace import LabError, enter_user_namespace, privileged
    from fastvrrp.lab.scene import Scene

    try:
        if not privileged():
            enter_user_namespace()
        scene = Scene(failure=args.failure, kinds=("fastvrrp", args.peer), interval_s=args.interval)
        with scene:
            complete = _show(scene, hold=args.hold)
            if args.svg is not None:
                from fastvrrp.lab.view import save_svg

                save_svg(scene, args.svg)
    except (LabError, TimeoutError, OSError) as error:
        return fail(f"lab: {error}")
    except KeyboardInterrupt:
        print("interrupted; everything is cleaned up", file=sys.stderr)
        return 130
    return 0 if complete else 1


def _show(scene: Scene, *, hold: bool) -> bool:
    """Play the scene: the live view where it fits the terminal, else plain lines."""
    from rich.console import Console

    from fastvrrp.lab.view import HEIGHT, WIDTH

    console = Console(highlight=False)
    room = console.width >= WIDTH and console.height > HEIGHT
    play = _play_live if console.is_terminal and room else _play_plain
    return play(scene, console, hold)


def _play_live(scene: Scene, console: Console, hold: bool) -> bool:
    from rich.live import Live

    from fastvrrp.lab.view import screen

    with Live(get_renderable=lambda: screen(scene), console=console, refresh_per_second=12) as live:
        complete = scene.play().complete
        live.refresh()
        if hold:
            with _interruption() as interrupted:
                _explain(scene, console)
                scene.hold(interrupted)
    return complete


def _play_plain(scene: Scene, console: Console, hold: bool) -> bool:
    from fastvrrp.lab.view import log_line, summary

    def say(line: Line) -> None:
        console.print(log_line(line), soft_wrap=True)

    scene.on_line = say
    result = scene.play()
    console.print(summary(scene), soft_wrap=True)
    if hold:
        with _interruption() as interrupted:
            _explain(scene, console)
            scene.hold(interrupted)
    return result.complete


@contextlib.contextmanager
def _interruption() -> Iterator[Callable[[float], bool]]:
    """Waits so many seconds at most; true once there was a Ctrl-C.

    As an exception it could be lost: raised in a finaliser or a callback it is only printed.
    """
    reader, writer = os.pipe()
    previous = signal.signal(signal.SIGINT, lambda *_: os.write(writer, b"!"))
    try:
        yield lambda timeout_s: bool(select.select([reader], [], [], timeout_s)[0])
    finally:
        signal.signal(signal.SIGINT, previous)
        os.close(reader)
        os.close(writer)


def _explain(scene: Scene, console: Console) -> None:
    console.print("The lab stays until Ctrl-C. From another terminal:")
    for command in scene.look_around():
        console.print(f"  {command}", markup=False, soft_wrap=True)
