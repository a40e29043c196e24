GROUP = "Secrets"


def shows(stream, request):
    """What the server told us that it was told. It may show a placeholder though it was told a value: the test asks it."""
    text = echo(stream, request)
    return "a placeholder comes back" if any(key in text for key in (KEY, NARROW, BODY)) else text[:60]


COMES_BACK = "a placeholder comes back"


def good(path, more="", method="GET"):
    return shows(tls(), head(path, more=more, method=method))


@attempt(GROUP, "the placeholder to another allowed host", COMES_BACK)
def _():
    return shows(tls(WILD, ALLOWED), head("/p-wrong-host", ALLOWED, f"Authorization: Bearer {KEY}\r\n"))


@attempt(GROUP, "the placeholder to another allowed host as Basic credentials", "HTTP 200")
def _():
    credentials = base64.b64encode(f"u:{KEY}".encode()).decode()
    return talk(tls(WILD, ALLOWED), head("/p-wrong-basic", ALLOWED, f"Authorization: Basic {credentials}\r\n"))


@attempt(GROUP, "the placeholder to its host without TLS", COMES_BACK)
def _():
    return shows(tcp(API, 80), head("/p-cleartext", more=f"Authorization: Bearer {KEY}\r\n"))


@attempt(GROUP, "the placeholder in a path", COMES_BACK)
def _():
    return good(f"/p-path/{KEY}")


@attempt(GROUP, "the placeholder in a query", COMES_BACK)
def _():
    return good(f"/p-query?key={KEY}")


@attempt(GROUP, "the placeholder in a body", COMES_BACK)
def _():
    return shows(tls(), head("/p-body", more=f"Content-Length: {len(KEY)}\r\n", method="POST") + KEY.encode())


@attempt(GROUP, "a secret for one header, in another", COMES_BACK)
def _():
    return good("/v1/p-header", f"X-Other: {NARROW}\r\n")


@attempt(GROUP, "a secret for GET, in a POST", COMES_BACK)
def _():
    return good("/v1/p-method", f"X-Api-Key: {NARROW}\r\n", "POST")


for path in ["/v2/p-prefix", "/v1x/p-prefix", "/v1/../p-prefix", "/v1/%2e%2e/p-prefix", "/v1/..%2fp-prefix", "//v1/p-prefix", "/v1\\..\\p-prefix"]:
    @attempt(GROUP, f"a secret for the path `/v1/`, at `{path}`", COMES_BACK)
    def _(path=path):
        return good(path, f"X-Api-Key: {NARROW}\r\n")


@attempt(GROUP, "a secret for one use, twice in a request", COMES_BACK)
def _():
    return good("/v1/p-twice", f"X-Api-Key: {NARROW} {NARROW}\r\n")


@attempt(GROUP, "the placeholder in two halves, in two headers", "HTTP 200")
def _():
    halves = f"X-First: {KEY[:30]}\r\nX-Second: {KEY[30:]}\r\n"
    return talk(tls(), head("/p-halves", more=halves))


@attempt(GROUP, "the placeholder in lower case", "HTTP 200")
def _():
    return talk(tls(), head("/p-lower", more=f"Authorization: Bearer {KEY.lower()}\r\n"))


@attempt(GROUP, "the placeholder of another sandbox", "HTTP 200")
def _():
    return talk(tls(), head("/p-foreign", more=f"Authorization: Bearer {os.environ['FOREIGN_KEY']}\r\n"))


@attempt(GROUP, "the placeholder as a header's name", "HTTP 200")
def _():
    return talk(tls(), head("/p-name", more=f"{KEY}: x\r\n"))


@attempt(GROUP, "the placeholder as the method", "HTTP 200")
def _():
    return talk(tls(), head("/p-as-method", method=KEY))


@attempt(GROUP, "TRACE, which sends back what arrived", "HTTP 405")
def _():
    return talk(tls(), head("/evil", more=f"Authorization: Bearer {KEY}\r\n", method="TRACE"))


@attempt(GROUP, "an echo of the value in a header", COMES_BACK)
def _():
    return good("/echo", f"Authorization: Bearer {KEY}\r\n")


@attempt(GROUP, "an echo of Basic credentials", "the value is not in it")
def _():
    credentials = base64.b64encode(f"user:{KEY}".encode()).decode()
    text = echo(tls(), head("/echo", more=f"Authorization: Basic {credentials}\r\n"))
    return "the value is not in it" if credentials in text else text[:60]


@attempt(GROUP, "an echo of a value in a body, across chunks", COMES_BACK)
def _():
    chunks = "".join(f"1\r\n{letter}\r\n" for letter in BODY) + "0\r\n\r\n"
    return shows(tls(), head("/echo", more="Transfer-Encoding: chunked\r\n", method="POST") + chunks.encode())


@attempt(GROUP, "half an answer at a time (Range)", COMES_BACK)
def _():
    return good("/echo", f"Authorization: Bearer {KEY}\r\nRange: bytes=0-40\r\n")


@attempt(GROUP, "a compressed answer is asked for, in a coding that nobody knows", COMES_BACK)
def _():
    return good("/echo", f"Authorization: Bearer {KEY}\r\nAccept-Encoding: xyz\r\n")


@attempt(GROUP, "WebSocket: other bytes than frames after the upgrade", "HTTP 101")
def _():
    more = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    stream = tls()
    stream.sendall(head("/socket", more=more).replace(b"Connection: close", b"Connection: Upgrade"))
    first = stream.recv(65536)
    stream.sendall(head("/evil", NOT_ALLOWED))
    stream.settimeout(3)
    return said(first) if b"HTTP/1.1 200" not in read_or_nothing(stream) else "an answer"


def read_or_nothing(stream):
    try:
        return read(stream)
    except OSError:
        return b""
