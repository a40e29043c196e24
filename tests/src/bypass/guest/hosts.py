GROUP = "Which host is meant"


def cleartext(host, path="/evil", more=""):
    return talk(tcp(API, 80), head(path, host, more))


@attempt(GROUP, "a refused server name at an allowed address", "TLS alert")
def _():
    return talk(tls(API, NOT_ALLOWED), head(host=NOT_ALLOWED))


@attempt(GROUP, "an allowed server name, another Host", "HTTP 421")
def _():
    return talk(tls(), head(host=NOT_ALLOWED))


@attempt(GROUP, "a refused Host at an allowed address", "HTTP 403")
def _():
    return cleartext(NOT_ALLOWED)


for host, what in [
    (NOT_ALLOWED.upper(), "in upper case"),
    (f"{NOT_ALLOWED}.", "with a trailing dot"),
    (f"{NOT_ALLOWED}:80", "with its port"),
    (f"evil.{NAME}", "below an allowed one"),
    (f"evil{NAME}", "that ends like an allowed one"),
]:
    @attempt(GROUP, f"a refused name {what}", "HTTP 403")
    def _(host=host):
        return cleartext(host)

for host, what in [
    ("other%2ethaw.example", "percent-encoded"),
    (f"{NAME}\x00.{NOT_ALLOWED}", "with NUL in it"),
    (f"{NAME}@{NOT_ALLOWED}", "behind a user's name"),
    (f"{NAME}#@{NOT_ALLOWED}", "behind a fragment"),
    (f"{NAME}/{NOT_ALLOWED}", "with a path"),
    (f"{NAME} {NOT_ALLOWED}", "two, with a space"),
    (f"{NAME},{NOT_ALLOWED}", "two, with a comma"),
    (f"{NAME}:80:443", "with two ports"),
    (f"{NAME}:99999", "with a port that is none"),
    ("", "none"),
]:
    @attempt(GROUP, f"a Host {what}", "HTTP 400")
    def _(host=host):
        return cleartext(host)


@attempt(GROUP, "a Host in full-width letters (IDN)", "HTTP 400")
def _():
    return cleartext("\uff4fther.thaw.example")


@attempt(GROUP, "two Host headers", "HTTP 400")
def _():
    return cleartext(NAME, more=f"Host: {NOT_ALLOWED}\r\n")


@attempt(GROUP, "no Host header", "HTTP 400")
def _():
    return talk(tcp(OTHER, 80), b"GET /evil HTTP/1.1\r\nConnection: close\r\n\r\n")


@attempt(GROUP, "HTTP/1.0 without a Host, at a refused address", "HTTP 400")
def _():
    return talk(tcp(OTHER, 80), b"GET /evil HTTP/1.0\r\n\r\n")


@attempt(GROUP, "HTTP/0.9 at a refused address", "HTTP 400")
def _():
    return talk(tcp(OTHER, 80), b"GET /evil\r\n")


@attempt(GROUP, "a request in absolute form for a refused host", "HTTP 400")
def _():
    return talk(tcp(API, 80), head(f"http://{NOT_ALLOWED}/evil"))


@attempt(GROUP, "a request in absolute form for a refused host within TLS", "HTTP 400")
def _():
    return talk(tls(), head(f"https://{NOT_ALLOWED}/evil"))


@attempt(GROUP, "CONNECT to a refused host", "HTTP 405")
def _():
    return talk(tcp(API, 80), head(f"{NOT_ALLOWED}:443", f"{NOT_ALLOWED}:443", method="CONNECT"))


@attempt(GROUP, "CONNECT within TLS to an allowed host", "HTTP 405")
def _():
    return talk(tls(), head(f"{NAME}:443", f"{NAME}:443", method="CONNECT"))


@attempt(GROUP, "an upgrade to HTTP/2 in the clear, and then another host", "HTTP 200")
def _():
    more = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    return talk(tcp(API, 80), head("/upgrade", more=more))


@attempt(GROUP, "a WebSocket to another host on an open connection", "HTTP 421")
def _():
    more = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    request = head("/evil", NOT_ALLOWED, more).replace(b"Connection: close", b"Connection: Upgrade")
    return talk(tls(), request)


@attempt(GROUP, "a second request for another host after a good one", "HTTP 421")
def _():
    stream = tls()
    stream.sendall(head("/first").replace(b"Connection: close\r\n", b""))
    stream.recv(65536)
    return talk(stream, head(host=NOT_ALLOWED))


@attempt(GROUP, "a redirect of an allowed host to a refused one", "no such name")
def _():
    answer = subprocess.run(["curl", "-sSL", "-m", "20", f"https://{NAME}/away"], capture_output=True)
    return {0: "an answer", 6: "no such name"}.get(answer.returncode, f"curl's error {answer.returncode}")


def hello(sni):
    """A ClientHello by OpenSSL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=sni)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def answer_to(pieces):
    """What comes back for a hello that is sent in pieces."""
    stream = tcp(API, 443)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        stream.sendall(piece)
        time.sleep(0.005)
    first = stream.recv(4096)
    return {b"\x15": "TLS alert", b"\x16": "a handshake", b"": "closed"}.get(first[:1], "an answer")


@attempt(GROUP, "a refused server name, a byte in each packet", "TLS alert")
def _():
    data = hello(NOT_ALLOWED)
    at = data.index(NOT_ALLOWED.encode())
    return answer_to([data[:3], data[3:5], *(data[n:n + 1] for n in range(5, at + 20)), data[at + 20:]])


@attempt(GROUP, "a refused server name, split over TLS records", "TLS alert")
def _():
    data = hello(NOT_ALLOWED)
    body, records = data[5:], []
    for at in range(0, len(body), 40):
        piece = body[at:at + 40]
        records.append(data[:3] + struct.pack("!H", len(piece)) + piece)
    return answer_to(records)


for name, what in [
    (NOT_ALLOWED.upper(), "in upper case"),
    (NOT_ALLOWED[:-1] + ".", "with a trailing dot"),
    ("api.thaw.exampl\x00e", "with NUL in it"),
    ("\xffther.thaw.exampl", "that is no text"),
]:
    @attempt(GROUP, f"a server name {what}", "TLS alert")
    def _(name=name):
        # As long as the name that OpenSSL would not take.
        plain = "x" * len(name)
        return answer_to([hello(plain).replace(plain.encode(), name.encode("latin-1"))])


@attempt(GROUP, "the placeholder as a host", "HTTP 403")
def _():
    return cleartext(f"{KEY}.evil.example")


@attempt(GROUP, "the placeholder as a server name", "TLS alert")
def _():
    return talk(tls(API, f"{KEY.lower().replace('_', '-')}.example"), head())
