"""The load balancer's prober alone, on this machine's own kernel.

`python -m bench.rig.prober CHECKER SERVERS DELAY_LOOP_S WINDOW_S` checks servers of 11.0.0.0/8,
which have to answer already, and prints the figures as JSON. keepalived's checks run nowhere but
beside a kernel's IPVS, so this has no other daemon to compare with; in the guest they are compared.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from bench.servers import address
from fastvrrp._core import Prober
from fastvrrp.ipvs.objects import pack_address

from .process import usage

PORT = 80
SETTLE_S = 2.0
S = 1_000_000_000  # ns
REQUEST = b"GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 11.0.0.0:80\r\n\r\n"
URLS = {"tcp": (), "http": ((REQUEST, None, ((200, 200),)),)}
SPREAD = 2654435761  # Knuth's multiplier: the first checks are spread over their interval


def measure(checker: str, servers: int, delay_loop_s: float, window_s: float) -> dict[str, Any]:
    prober = Prober()
    prober.start()
    for number in range(servers):
        prober.add(
            pack_address(address(11, number)),
            PORT,
            timeout_ns=3 * S,
            delay_loop_ns=int(delay_loop_s * S),
            delay_before_retry_ns=S,
            warmup_ns=int(delay_loop_s * S),
            retry=2,
            random=number * SPREAD % 2**32,
            urls=URLS[checker],
        )
    time.sleep(SETTLE_S + delay_loop_s)
    before, used, begin = prober.counters(), usage([os.getpid()]), time.monotonic()
    time.sleep(window_s)
    after, spent, end = prober.counters(), usage([os.getpid()]) - used, time.monotonic()
    prober.stop()
    prober.join()
    attempts, answers = (after[name] - before[name] for name in ("attempts", "answers"))
    seconds = end - begin
    return {
        "cpu_us_each": spent.cpu_ns / 1e3 / max(attempts, 1),
        "cpu_us_per_s": spent.cpu_ns / 1e3 / seconds,
        "rate": attempts / seconds,
        "rate_share": attempts / seconds * delay_loop_s / servers,
        "answered_share": answers / max(attempts, 1),
        "wakeups_per_s": spent.voluntary / seconds,
    }


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:]
    print(json.dumps(measure(kind, int(numbers[0]), *map(float, numbers[1:]))))
