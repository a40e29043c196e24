GROUP = "Packets that are no TCP connection"
QUIC = bytes([0xC3, 0, 0, 0, 1, 8]) + bytes(1194)
CARD = "eth0"


def frame(payload, kind=0x0800):
    """An Ethernet frame past the guest's own stack."""
    with open(f"/sys/class/net/{CARD}/address") as file:
        own = bytes.fromhex(file.read().strip().replace(":", ""))
    return b"\xff" * 6 + own + struct.pack("!H", kind) + payload


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def ip(payload, protocol, source="192.0.2.2", target=OTHER, flags=0, options=b""):
    length = 20 + len(options)
    fields = [0x40 | length // 4, 0, length + len(payload), 7, flags, 64, protocol, 0]
    fields += [socket.inet_aton(source), socket.inet_aton(target)]
    header = struct.pack("!BBHHHBBH4s4s", *fields) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def udp(payload, port=443):
    return struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload


def raw(packet, kind=0x0800, wanted=None):
    """Sends a frame and listens for any frame that is an answer to it."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as card:
        card.bind((CARD, 0))
        card.send(frame(packet, kind))
        end = time.monotonic() + 1.5
        while (left := end - time.monotonic()) > 0:
            if not select.select([card], [], [], left)[0]:
                break
            got, where = card.recvfrom(65536)
            if where[2] != socket.PACKET_OUTGOING and (wanted is None or wanted(got)):
                return "an answer"
    return "no answer"


def from_other(got):
    return socket.inet_aton(OTHER) in got[14:34]


@attempt(GROUP, "a UDP datagram to an allowed host's address", "no answer")
def _():
    return quietly(b"evil", (API, 9999))


@attempt(GROUP, "QUIC's first packet to port 443", "no answer")
def _():
    return quietly(QUIC, (API, 443))


@attempt(GROUP, "NTP", "no answer")
def _():
    return quietly(b"\x1b" + bytes(47), (OTHER, 123))


@attempt(GROUP, "ICMP echo by a raw socket", "no answer")
def _():
    return quietly(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (OTHER, 0), kind=socket.SOCK_RAW, protocol=1)


for number, what in [(2, "IGMP"), (4, "IP in IP"), (41, "IPv6 in IP"), (47, "GRE"), (50, "ESP"), (132, "SCTP")]:
    @attempt(GROUP, f"{what} (IP protocol {number})", "no answer")
    def _(number=number):
        return raw(ip(b"evil" * 8, number), wanted=from_other)


@attempt(GROUP, "a datagram with a forged source", "no answer")
def _():
    return raw(ip(udp(b"evil"), 17, source=HOST), wanted=from_other)


@attempt(GROUP, "a SYN with a forged source", "no answer")
def _():
    syn = struct.pack("!HHIIBBHHH", 40001, 80, 1, 0, 0x50, 2, 1024, 0, 0)
    return raw(ip(syn, 6, source="192.0.2.77"), wanted=from_other)


@attempt(GROUP, "fragments of a datagram", "no answer")
def _():
    return raw(ip(udp(b"evil" * 6)[:24], 17, flags=0x2000), wanted=from_other)


@attempt(GROUP, "IP options: a source route", "no answer")
def _():
    route = bytes([131, 7, 4]) + socket.inet_aton(OTHER) + b"\x00"
    return raw(ip(udp(b"evil"), 17, options=route), wanted=from_other)


@attempt(GROUP, "a datagram to everybody", "no answer")
def _():
    return raw(ip(udp(b"evil", 68), 17, target="255.255.255.255"), wanted=lambda got: got[23:24] == b"\x11")


@attempt(GROUP, "mDNS", "no answer")
def _():
    return quietly(b"\x00" * 12, ("224.0.0.251", 5353))


@attempt(GROUP, "a frame with a VLAN tag", "no answer")
def _():
    return raw(struct.pack("!HH", 5, 0x0800) + ip(udp(b"evil"), 17), kind=0x8100, wanted=from_other)


@attempt(GROUP, "TCP over IPv6", "unreachable")
def _():
    return said(read(tcp("2001:db8::1", 443)))


@attempt(GROUP, "IPv6 by a frame: a neighbour is looked for", "no answer")
def _():
    target = socket.inet_pton(socket.AF_INET6, "fe80::1")
    message = b"\x87\x00\x00\x00" + bytes(4) + target
    packet = b"\x60\x00\x00\x00" + struct.pack("!HBB", len(message), 58, 255) + target + target + message
    return raw(packet, kind=0x86DD, wanted=lambda got: got[12:14] == b"\x86\xdd" and got[54:55] == b"\x88")
