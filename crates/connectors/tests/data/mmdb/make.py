"""Writes country.mmdb and asn.mmdb, small databases in the MaxMind DB format 2.0 (24-bit records, IPv6 tree)."""

import ipaddress
import pathlib
import struct

MARKER = b"\xab\xcd\xefMaxMind.com"


def control(kind, size):
    assert size < 29 + 256
    extra = b"" if size < 29 else bytes([size - 29])
    size = min(size, 29)
    if kind > 7:
        return bytes([size, kind - 7]) + extra
    return bytes([kind << 5 | size]) + extra


def encode(value, kind=None):
    if isinstance(value, dict):
        return control(7, len(value)) + b"".join(encode(k) + encode(v) for k, v in value.items())
    if isinstance(value, list):
        return control(11, len(value)) + b"".join(encode(it) for it in value)
    if isinstance(value, str):
        return control(2, len(value.encode())) + value.encode()
    kind, number = value
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return control(kind, len(raw)) + raw


def u16(n):
    return (5, n)


def u32(n):
    return (6, n)


def u64(n):
    return (9, n)


def database(name, entries):
    nodes, data = [[None, None]], b""
    for network, value in entries:
        network = ipaddress.ip_network(network)
        bits, length = int(network.network_address), network.prefixlen
        # IPv4 lives under ::/96.
        if network.version == 4:
            length += 96
        offset, data, node = len(data), data + encode(value), 0
        for depth in range(length):
            bit = bits >> (127 - depth) & 1
            if depth == length - 1:
                nodes[node][bit] = ("data", offset)
            else:
                if nodes[node][bit] is None:
                    nodes.append([None, None])
                    nodes[node][bit] = ("node", len(nodes) - 1)
                node = nodes[node][bit][1]
    count = len(nodes)

    def record(it):
        number = count if it is None else it[1] if it[0] == "node" else count + 16 + it[1]
        return struct.pack(">I", number)[1:]

    tree = b"".join(record(left) + record(right) for left, right in nodes)
    meta = {
        "node_count": u32(count),
        "record_size": u16(24),
        "ip_version": u16(6),
        "database_type": name,
        "languages": ["en"],
        "binary_format_major_version": u16(2),
        "binary_format_minor_version": u16(0),
        "build_epoch": u64(1764000000),
        "description": {"en": "For tests of Staunch"},
    }
    return tree + bytes(16) + data + MARKER + encode(meta)


here = pathlib.Path(__file__).parent
country = [
    ("203.0.113.0/25", {"country": {"iso_code": "DE", "names": {"en": "Germany"}}}),
    ("198.51.100.0/24", {"registered_country": {"iso_code": "US"}}),
    ("2001:db8::/32", {"country": {"iso_code": "SE"}}),
]
asn = [
    (
        "203.0.113.0/24",
        {"autonomous_system_number": u32(64496), "autonomous_system_organization": "Example Networks"},
    ),
    ("2001:db8::/32", {"autonomous_system_number": u32(4200000001)}),
]
(here / "country.mmdb").write_bytes(database("Staunch-Test-Country", country))
(here / "asn.mmdb").write_bytes(database("Staunch-Test-ASN", asn))
