"""What happens to servers, in the words of keepalived's log, which alerting rules match.

Where we know more than keepalived says it follows the full stop of its line, in parentheses.
"""

from __future__ import annotations

from fastvrrp.config.servers import (
    Check,
    FileCheck,
    HttpCheck,
    MiscCheck,
    PingCheck,
    RealServer,
    SmtpCheck,
    SorryServer,
    TcpCheck,
    UdpCheck,
    VirtualServer,
)
from fastvrrp.ipvs.pool import (
    Action,
    QuorumChanged,
    ServerChanged,
    SorryChanged,
    WeightChanged,
    Why,
)
from fastvrrp.ipvs.runner import Kind, Report


def server_name(virtual_server: VirtualServer, server: RealServer | SorryServer) -> str:
    """`[10.0.0.1]:tcp:80`; the protocol of a firewall mark's server is `none`."""
    marked = virtual_server.group is None and virtual_server.services[0].address is None
    protocol = "none" if marked else virtual_server.protocol.lower()
    return f"[{server.address}]:{protocol}:{server.port}"


def check_name(check: Check) -> str:
    """TCP_CHECK, HTTP_GET, SSL_GET, ..."""
    if isinstance(check, HttpCheck) and check.tls:
        return "SSL_GET"
    return str(check.__struct_config__.tag)


def report_line(
    virtual_server: VirtualServer, server: RealServer, check: Check, report: Report
) -> str:
    """The line of news about a check."""
    name = server_name(virtual_server, server)
    detail = report.outcome.detail
    if report.kind is Kind.LOCAL:
        return f"{check_name(check)} on service {name} cannot be done, rescheduling. ({detail})"
    if isinstance(check, MiscCheck):
        return _misc_line(f"[{name} VS {virtual_server.name}] by [{_program(check)}]", report)
    if isinstance(check, FileCheck) and report.kind is Kind.STATE:
        change = "leaving" if report.up else "now"
        return f"({name}): tracked file {check.track_file} {change} FAULT state ({detail})"
    if report.kind is Kind.FAILURE:
        return f"{_attempt(check, name)} failed. ({detail})"
    if report.up:
        return f"{_success(check, name)} ({detail})"
    after = f" after {report.retries} retries" if report.retries else ""
    return f"{_failure(check, name)} failed{after}. ({detail})"


def suspension_line(virtual_server: VirtualServer, server: RealServer, suspended: bool) -> str:
    """The line of a server whose checks ha_suspend stops or lets run."""
    verb = "Suspending" if suspended else "Activating"
    name = server_name(virtual_server, server)
    return f"{verb} healthchecker for service {name} for VS {virtual_server.name}"


def action_lines(virtual_server: VirtualServer, action: Action) -> tuple[str, ...]:
    """The lines of an action of a pool."""
    line = _action_line(virtual_server, action)
    if line is None:
        return ()
    if isinstance(action, SorryChanged):
        what = "Removing alive servers from" if action.active else "Adding alive servers to"
        return line, f"{what} the pool for VS {virtual_server.name}"
    return (line,)


def _action_line(virtual_server: VirtualServer, action: Action) -> str | None:
    vs = virtual_server
    match action:
        case ServerChanged(server, up, Why.CHECK):
            name = server_name(vs, server)
            if server.inhibit_on_failure:
                return f"{'Enabl' if up else 'Disabl'}ing service {name} of VS {vs.name}"
            return f"{'Adding' if up else 'Removing'} service {name} {_way(up)} VS {vs.name}"
        case ServerChanged(server, False, why):
            what = "Shutting down" if why is Why.STOP else "Removing"
            return f"{what} service {server_name(vs, server)} from VS {vs.name}"
        case QuorumChanged(_, _, _, Why.STOP | Why.REMOVED):
            return None
        case QuorumChanged(up, _, _, why):
            started = why is Why.START and not up
            what = (
                "Starting with quorum down" if started else "Gained quorum" if up else "Lost quorum"
            )
            return f"{what} {quorum_terms(vs, action)} for VS {vs.name}"
        case SorryChanged(server, active):
            if server.inhibit:
                verb = "Enabling" if active else "Disabling"
            else:
                verb = "Adding" if active else "Removing"
            name = server_name(vs, server)
            return f"{verb} sorry server {name} {_way(active)} VS {vs.name}"
        case WeightChanged(server, up, old, new):
            state = "active" if up else "inactive"
            name = server_name(vs, server)
            return f"Changing weight from {old} to {new} for {state} service {name} of VS {vs.name}"
    return None


def quorum_terms(vs: VirtualServer, action: QuorumChanged) -> str:
    """What was compared: `2+1=3 <= 4`."""
    sign, relation = ("+", "<=") if action.up else ("-", ">")
    return f"{vs.quorum}{sign}{vs.hysteresis}={action.threshold} {relation} {action.weight}"


def _program(check: MiscCheck) -> str:
    return " ".join(check.command.argv)


def _misc_line(what: str, report: Report) -> str:
    detail = report.outcome.detail
    if report.kind is Kind.FAILURE:
        return f"Misc check for {what} failed, will be tried again ({detail})."
    if report.up:
        return f"Misc check for {what} succeeded."
    retries = f" after {report.retries} {'retry' if report.retries == 1 else 'retries'}"
    return f"Misc check for {what} failed{retries if report.retries else ''} ({detail})."


def _way(up: bool) -> str:
    return "to" if up else "from"


def _attempt(check: Check, name: str) -> str:
    match check:
        case TcpCheck():
            return f"TCP connection to {name}"
        case UdpCheck():
            return f"UDP connection to {name}"
        case PingCheck():
            return f"ICMP connection to {name}"
    return _failure(check, name)


def _success(check: Check, name: str) -> str:
    match check:
        case TcpCheck() | UdpCheck() | PingCheck():
            return f"{_attempt(check, name)} success."
        case HttpCheck():
            return f"Remote Web server {name} succeed on service."
        case SmtpCheck():
            return f"Remote SMTP server {name} succeed on service."
    return f"{check_name(check)} on service {name} success."


def _failure(check: Check, name: str) -> str:
    match check:
        case HttpCheck():
            return f"HTTP_CHECK on service {name}"
        case PingCheck():
            return f"ICMP CHECK on service {name}"
    return f"{check_name(check)} on service {name}"
