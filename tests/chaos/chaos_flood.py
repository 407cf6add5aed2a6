"""Sends frames from standard input as fast as asked: python chaos_flood.py IFNAME PPS SECONDS.

Standard input: frames, each behind its length in two bytes. They are sent in turn; what could not
be sent in time is left out. Prints how many went out.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

SOL_PACKET = 263  # linux/socket.h
PACKET_QDISC_BYPASS = 20  # linux/if_packet.h
TICK_S = 0.001


def main(ifname: str, rate: float, seconds: float) -> None:
    data = sys.stdin.buffer.read()
    frames = []
    while data:
        (length,) = struct.unpack_from("!H", data)
        frames.append(data[2 : 2 + length])
        data = data[2 + length :]
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    sock.bind((ifname, 0))
    send, count, sent = sock.send, len(frames), 0
    begin = time.monotonic()
    while (elapsed := time.monotonic() - begin) < seconds:
        due = int(elapsed * rate)
        sent = max(sent, due - int(rate / 20))  # not more than 50 ms are made up for
        while sent < due:
            try:
                send(frames[sent % count])
            except OSError:
                break
            sent += 1
        time.sleep(TICK_S)
    print(sent)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
