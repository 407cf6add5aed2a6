"""What programs take out of keepalived's dump files, written anew after how they do it.

Two exporters for Prometheus (mehdy/keepalived-exporter, gen2brain/keepalived_exporter) and VyOS
(vyos-1x, vyos/ifconfig/vrrp.py). Each function is as strict and as blind as the program: what it
does not understand is an error there, or silently not seen.
"""

from __future__ import annotations

import json
from typing import Any

STATES = ("INIT", "BACKUP", "MASTER", "FAULT")

DATA_FIELDS = {
    "iname": str,
    "state": int,
    "wantstate": int,
    "ifp_ifname": str,
    "garp_delay": int,
    "vrid": int,
}
STATS_FIELDS = (
    *("advert_rcvd", "advert_sent", "become_master", "release_master", "packet_len_err"),
    *("advert_interval_err", "ip_ttl_err", "invalid_type_rcvd", "addr_list_err"),
    *("invalid_authtype", "authtype_mismatch", "auth_failure", "pri_zero_rcvd", "pri_zero_sent"),
)


def exporter_json(text: str) -> dict[str, dict[str, Any]]:
    """Its structs by instance. A field of another type than the struct's is an error."""
    found = {}
    for element in json.loads(text):
        data = element["data"]
        values: dict[str, Any] = {}
        for name, kind in DATA_FIELDS.items():
            assert type(data[name]) is kind, name
            values[name] = data[name]
        for name in STATS_FIELDS:
            assert type(element["stats"][name]) is int, name
        values["vips"] = [address_and_interface(vip) for vip in data.get("vips", [])]
        found[data["iname"]] = values
    return found


def address_and_interface(vip: str) -> tuple[str, str]:
    words = vip.split(" ")
    assert len(words) >= 3, vip
    return words[0], words[2]


def exporter_data(text: str) -> dict[str, dict[str, Any]]:
    """The same out of keepalived.data."""
    found: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] | None = None
    key = ""
    for line in text.splitlines():
        if line.startswith(" VRRP Instance") and "=" in line:
            name = line.split("=")[1].strip()
            current = found[name] = {"iname": name, "vips": []}
        elif line.startswith("   ") and current is not None:
            if line.startswith("     "):
                value = line.strip()
            elif "=" in line or ":" in line:
                key, value = (part.strip() for part in line.split("=" if "=" in line else ":")[:2])
            else:
                continue
            if key.startswith("Virtual IP (") and value:
                current["vips"].append(address_and_interface(value))
            if key in ("State", "Wantstate"):
                current[key.lower()] = STATES.index(value)
            elif key in ("Interface", "Listening device"):
                current["ifp_ifname"] = value
            elif key == "Gratuitous ARP delay":
                current["garp_delay"] = int(value)
            elif key == "Virtual Router ID":
                current["vrid"] = int(value)
        elif not line.startswith((" VRRP Version", " VRRP Script")):
            current = None
    return found


def exporter_scripts(text: str) -> dict[str, tuple[int, int]]:
    """Status (0 bad, 1 good) and state (0 idle, 1 running) of each script."""
    words: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    for line in text.splitlines():
        if line.startswith(" VRRP Script") and "=" in line:
            current = words[line.split("=")[1].strip()] = {}
        elif line.startswith("   ") and current is not None:
            if "=" in line:
                key, value = (part.strip() for part in line.split("=")[:2])
                if key in ("Status", "State"):
                    current[key] = value
        elif not line.startswith("    "):
            current = None
    states = ("idle", "running", "requested termination", "forcing termination")
    return {
        name: (("BAD", "GOOD").index(found["Status"]), states.index(found["State"]))
        for name, found in words.items()
    }


def exporter_stats(text: str) -> dict[str, dict[str, dict[str, int]]]:
    """Numbers by instance, section ("" outside of any) and label."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    current: dict[str, dict[str, int]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("VRRP Instance") and ":" in line:
            current = found[line.split(":")[1].strip()] = {}
        elif line.startswith("  ") and line.endswith(":"):
            section = line.strip()[:-1]
        elif line.startswith("  "):
            label, value = (part.strip() for part in line.split(":"))
            if not line.startswith("    "):
                section = ""
            current.setdefault(section, {})[label] = int(value)
    return found


def other_exporter_data(text: str) -> dict[str, dict[str, Any]]:
    """gen2brain's: an instance ends with the first line that has no `=`."""
    found: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] | None = None
    for line in text.splitlines():
        has_value = "=" in line
        if line.startswith(" VRRP Instance") and has_value:
            current = found[line.split("=")[1].strip()] = {}
        elif line.startswith("   ") and has_value and current is not None:
            key, value = (part.strip() for part in line.split("=")[:2])
            if key == "Last transition":
                current[key] = float(value.split(" ")[0])
            elif key in ("Interface", "State", "Wantstate"):
                current[key] = value
            elif key == "Virtual Router ID":
                current[key] = int(value)
        elif not line.startswith(" VRRP Version"):
            current = None
    return found


def vyos(text: str) -> list[tuple[str, str, int, str, int, float]]:
    """`show vrrp`: name, interface, VRID, state, priority, time of the last transition."""
    return [
        (
            data["iname"],
            data["ifp_ifname"],
            data["vrid"],
            {0: "INIT", 1: "BACKUP", 2: "MASTER", 3: "FAULT"}[data["state"]],
            data["effective_priority"],
            float(data["last_transition"]),
        )
        for data in (group["data"] for group in json.loads(text))
    ]
