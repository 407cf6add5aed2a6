"""A VRRP process without its supervisor: spawned and configured from a JSON model, for tests.

    python vrp_child.py RUN_DIR CONFIGURATION.json

SIGHUP reads the file again and reconfigures; SIGTERM stops in order. Messages of the child are
printed as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from fastvrrp.config import model
from fastvrrp.supervisor import messages
from fastvrrp.supervisor.child import Child, Settings
from fastvrrp.supervisor.runner import Executor, RunnerService


def say(**record: Any) -> None:
    print(json.dumps(record), flush=True)


async def main(run_dir: Path, file: Path) -> int:
    loop = asyncio.get_running_loop()
    executor = Executor()
    done = asyncio.Event()

    def read() -> model.Configuration:
        return msgspec.json.decode(file.read_bytes(), type=model.Configuration)

    def received(message: messages.AnyMessage) -> None:
        say(message=type(message).__name__, **msgspec.to_builtins(message))

    child, scripts = Child.spawn(
        Settings(run_dir=run_dir),
        received,
        lambda sock: RunnerService(sock, executor, allowed=lambda command: True),
    )
    epoch = 0
    tasks = set()

    async def configure() -> None:
        nonlocal epoch
        epoch += 1
        try:
            changes = await child.configure(read(), epoch)
        except ValueError as exc:
            say(refused=str(exc))
        else:
            say(configured=epoch, changes=list(changes))

    def reload() -> None:
        task = loop.create_task(configure())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    loop.add_signal_handler(signal.SIGTERM, done.set)
    child.send(messages.Subscribe(True))
    await configure()
    ended = asyncio.ensure_future(asyncio.shield(child.exited))
    stop = asyncio.ensure_future(done.wait())
    await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
    child.send(messages.Stop())
    code = await child.exited
    say(exit=code)
    await scripts.close()
    await executor.close()
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]))))
