"""HTTP/2 by hand: what no library would send."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def h2frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def literal(name, value):
    """A header field, never indexed (RFC 7541, section 6.2.3)."""
    def text(data):
        return (bytes([len(data)]) if len(data) < 127 else b"\x7f" + varint(len(data) - 127)) + data
    return b"\x10" + text(name.encode()) + text(value.encode("latin-1"))


def varint(number):
    out = b""
    while number >= 128:
        out += bytes([number % 128 | 128])
        number //= 128
    return out + bytes([number])


def fields(path="/evil", authority=NAME, method="GET", more=()):
    pairs = [(":method", method), (":scheme", "https"), (":path", path)]
    pairs += [(":authority", authority)] if authority is not None else []
    return b"".join(literal(name, value) for name, value in [*pairs, *more])


def connection(sni=NAME):
    stream = tls(API, sni, alpn=["h2"])
    stream.sendall(PREFACE + h2frame(SETTINGS))
    return stream


def frames(stream):
    """The peer's frames until it says no more."""
    data = b""
    while True:
        while len(data) >= 9 and len(data) >= 9 + (length := int.from_bytes(data[:3], "big")):
            yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:9 + length]
            data = data[9 + length:]
        try:
            some = stream.recv(65536)
        except (TimeoutError, OSError):
            return
        if not some:
            return
        data += some


# What HPACK's static table has of ours; other codes come as text.
INDEXED = {0x88: "200", 0x8B: "304", 0x8C: "400", 0x8D: "404"}


def status(block):
    """The status code, which is the first field of an answer."""
    if block[0] in INDEXED:
        return f"HTTP {INDEXED[block[0]]}"
    value = block[2:2 + (block[1] & 127)]
    return "HTTP " + (unhuffman(value) if block[1] & 128 else value.decode())


def unhuffman(data):
    """Digits in Huffman's code (RFC 7541, appendix B): 0, 1, 2 have five bits, the others six."""
    bits = "".join(f"{byte:08b}" for byte in data)
    codes = {f"{code:05b}": str(code) for code in range(3)}
    codes |= {f"{0x19 + digit - 3:06b}": str(digit) for digit in range(3, 10)}
    out, code = "", ""
    for bit in bits:
        code += bit
        if code in codes:
            out, code = out + codes[code], ""
    return out


def answers(stream, *streams):
    """How these streams are answered, in their order."""
    found = {}
    for kind, _, number, payload in frames(stream):
        if kind == HEADERS and number in streams:
            found.setdefault(number, status(payload))
        if kind == RST and number in streams:
            found.setdefault(number, "reset")
        if kind == GOAWAY:
            for one in streams:
                found.setdefault(one, "GOAWAY")
        if len(found) == len(streams):
            break
    return ", ".join(found.get(one, "closed") for one in streams)
