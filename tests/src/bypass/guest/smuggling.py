GROUP = "Request smuggling"
# What must not arrive as a request of its own.
HIDDEN = f"GET /evil-hidden HTTP/1.1\r\nHost: {NAME}\r\nX: "


def smuggle(headers, body):
    """One POST with a second request in its body: how many answers there are, and the first."""
    stream = tls()
    # What our side of the proxy reads last ends its connection.
    request = f"POST /outer HTTP/1.1\r\nHost: {NAME}\r\n{headers}\r\n{body}"
    stream.sendall(request.encode("latin-1"))
    stream.settimeout(3)
    data = read(stream)
    return said(data) if data.count(b"HTTP/1.1 ") <= 1 else f"{data.count(b'HTTP/1.1 ')} answers"


CHUNKED = f"0\r\n\r\n{HIDDEN}"

for what, headers, body, expected in [
    ("both lengths, the shorter one first (CL.TE)", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", CHUNKED, "HTTP 200"),
    ("both lengths, the longer one counted (TE.CL)", f"Transfer-Encoding: chunked\r\nContent-Length: {len(CHUNKED)}\r\n", CHUNKED, "HTTP 200"),
    ("two Content-Lengths that differ", f"Content-Length: 0\r\nContent-Length: {len(HIDDEN)}\r\n", HIDDEN, "HTTP 400"),
    ("a list of lengths", f"Content-Length: 0, {len(HIDDEN)}\r\n", HIDDEN, "HTTP 400"),
    ("a length with a sign", "Content-Length: +0\r\n", HIDDEN, "HTTP 400"),
    ("a coding that is nearly chunked", f"Transfer-Encoding: xchunked\r\nContent-Length: {len(CHUNKED)}\r\n", CHUNKED, "HTTP 400"),
    ("two codings", "Transfer-Encoding: chunked, identity\r\n", CHUNKED, "HTTP 400"),
    ("a coding with a control character", f"Transfer-Encoding: \x0bchunked\r\nContent-Length: {len(CHUNKED)}\r\n", CHUNKED, "HTTP 400"),
    ("a space before the colon", f"Transfer-Encoding : chunked\r\nContent-Length: {len(CHUNKED)}\r\n", CHUNKED, "HTTP 400"),
    ("a folded header (obs-fold)", f"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: {len(CHUNKED)}\r\n", CHUNKED, "HTTP 400"),
    ("NUL in a header's name", f"Trans\x00fer: x\r\nContent-Length: {len(CHUNKED)}\r\n", CHUNKED, "HTTP 400"),
    ("a lone CR in a header's value", f"X: y\rTransfer-Encoding: chunked\r\nContent-Length: {len(CHUNKED)}\r\n", CHUNKED, "HTTP 400"),
    ("a chunk's size with a sign", "Transfer-Encoding: chunked\r\n", f"+0\r\n\r\n{HIDDEN}", "HTTP 400"),
    ("a chunk's size past all numbers", "Transfer-Encoding: chunked\r\n", f"10000000000000000\r\n\r\n{HIDDEN}", "HTTP 400"),
    ("a chunk that ends without a line break", "Transfer-Encoding: chunked\r\n", f"1\r\nx0\r\n\r\n{HIDDEN}", "HTTP 400"),
    ("a body on GET", f"Content-Length: {len(HIDDEN)}\r\nX-Method: GET\r\n", HIDDEN, "HTTP 200"),
]:
    @attempt(GROUP, what, expected)
    def _(headers=headers, body=body):
        return smuggle(headers, body)
