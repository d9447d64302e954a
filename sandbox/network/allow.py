"""Which hosts a box may reach: a list of names and addresses, and what no name may lead to.

    example.org            that host, ports 80 and 443
    *.example.com       every host below it, but not itself
    registry.corp:8080  that port only
    10.0.0.7, [::1]:80  an address, which may be private; a network as 10.1.0.0/16
    *                   every public host

A name counts for nothing if it resolves to an address that is not public, that belongs to this machine, or
that serves secrets in clouds, unless that very address is listed too. So a hostile name server opens nothing.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

PORTS = (80, 443)
"""The ports of an entry that names none."""
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_ENTRY = re.compile(
    r"(?P<host>\[[^][]+\](?:/\d+)?|[^][:]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:./]*)(?::(?P<port>\d{1,5}))?"
)
_SECRETS = {"168.63.129.16", "100.100.100.200", "192.0.0.192"}
"""Public by their numbers, or nearly so, and yet a cloud's own services for its machines."""
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    name: str = ""
    network: IPv4Network | IPv6Network | None = None
    ports: tuple[int, ...] = PORTS

    def is_name(self, host: str) -> bool:
        if self.name.startswith("*"):
            return host.endswith(self.name[1:]) and host != self.name[1:]
        return host == self.name


class AllowList:
    """An immutable list. Raises ValueError that names a malformed entry.

    >>> hosts = AllowList(["*.example.com", "127.0.0.1:8000"])
    >>> hosts.refuses_name("www.example.com", 443), hosts.refuses_name("example.com", 443)
    ('', 'example.com:443 is not among the hosts that this box may reach: *.example.com, 127.0.0.1:8000')
    >>> hosts.refuses_address("127.0.0.1", 8000), hosts.refuses_address("10.0.0.1", 443)
    ('', '10.0.0.1 is not a public address')
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = tuple(map(_parse, entries))
        self.text = ", ".join(entries)

    def refuses_name(self, host: str, port: int) -> str:
        """Why a request for this lower-case name or address is refused; "" when it is not."""
        address = _address(host)
        for entry in self._entries:
            if port in entry.ports and (entry.is_name(host) or (address and _within(entry, address))):
                return ""
        shown = self.text if len(self.text) < 200 else self.text[:200] + " ..."
        return f"{host}:{port} is not among the hosts that this box may reach: {shown}"

    def refuses_address(self, address: str, port: int) -> str:
        """Why nobody may connect to this address, whatever its name is; "" when they may."""
        found = _address(address)
        if found is None:
            return f"{address} is no address"
        if any(port in entry.ports and _within(entry, found) for entry in self._entries):
            return ""
        if not _public(found):
            return f"{address} is not a public address"
        if _own(address):
            return f"{address} is the harness's own machine"
        return ""


def valid_name(host: str) -> bool:
    """True for what may stand before the port: a lower-case name, or an address without brackets."""
    return len(host) <= 253 and (_address(host) is not None or _NAME.fullmatch(host) is not None)


def _parse(text: str) -> _Entry:
    problem = ValueError(
        f"network: {text!r} is no host; write 'example.org', '*.example.com', '10.0.0.7:8080' or '*'"
    )
    found = _ENTRY.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise problem
    ports: tuple[int, ...] = PORTS
    if found["port"]:
        ports = (int(found["port"]),)
        if not 0 < ports[0] < 65536:
            raise problem
    host = found["host"].lower().replace("[", "").replace("]", "")
    if host == "*":
        return _Entry(name="*", ports=ports)
    try:
        return _Entry(network=ip_network(host), ports=ports)
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        raise problem from None
    if not _NAME.fullmatch(name.removeprefix("*.")) or re.fullmatch(r"[\d.]+", name):
        raise problem
    return _Entry(name=name, ports=ports)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that is meant: one that wraps another counts as that other."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped:
            return found.ipv4_mapped
        if found in _NAT64:
            return IPv4Address(int(found) & 0xFFFFFFFF)
    return found


def _within(entry: _Entry, address: IPv4Address | IPv6Address) -> bool:
    return entry.network is not None and address in entry.network


def _public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (address not in _UNICAST or address.sixtofour or address.teredo):
        return False
    return address.is_global and not address.is_multicast and str(address) not in _SECRETS


def _own(address: str) -> bool:
    """True for an address of this machine: to reach it, one would speak from that same address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            return str(probe.getsockname()[0]) == address
    except OSError:
        return False
