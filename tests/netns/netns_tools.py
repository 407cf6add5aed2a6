"""Frames that tests put on the wire themselves."""

from __future__ import annotations

import ipaddress
import socket

from fastvrrp.lab.network import Node

BROADCAST = b"\xff" * 6


def gratuitous_arp(node: Node, address: str) -> None:
    """Broadcast one ARP request for an address by that address (RFC 5227 3) from eth0."""
    mac = bytes.fromhex(node.mac().replace(":", ""))
    packed = ipaddress.ip_address(address).packed
    head = bytes.fromhex("0001080006040001")  # Ethernet, IPv4, sizes, request
    frame = BROADCAST + mac + b"\x08\x06" + head + mac + packed + bytes(6) + packed
    with node.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        sock.send(frame)
