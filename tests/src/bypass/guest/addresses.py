GROUP = "Addresses and ports"


def bare(address, port=80):
    return talk(tcp(address, port), head(host=address))


@attempt(GROUP, "http to an allowed host's address, by the address", "HTTP 403")
def _():
    return bare(API)


@attempt(GROUP, "http to a refused host's address, by the address", "HTTP 403")
def _():
    return bare(OTHER)


@attempt(GROUP, "TLS to an address without a server name", "TLS alert")
def _():
    return talk(tls(sni=None), head())


@attempt(GROUP, "bytes of no known protocol to an address", "reset")
def _():
    return talk(tcp(OTHER, 80), b"\x00\x01evil")


@attempt(GROUP, "a client that says nothing, to a refused server that greets", "no answer")
def _():
    return said(read(tcp(OTHER, 25)))


@attempt(GROUP, "SSH's greeting to the host", "reset")
def _():
    return talk(tcp(HOST, 22), b"SSH-2.0-evil\r\n")


@attempt(GROUP, "a name that is allowed at another port", "HTTP 403")
def _():
    return talk(tcp(OTHER, 8080), head(host="mail.thaw.example:8080"))


@attempt(GROUP, "TLS to a name that is allowed at another port", "TLS alert")
def _():
    return talk(tls(OTHER, "mail.thaw.example"), head())


for address, what in [
    (GATEWAY, "the proxy's own address"),
    (METADATA, "the metadata address"),
    (HOST, "the host's own address"),
    ("10.0.2.2", "a private address"),
    ("0.0.0.0", "0.0.0.0 as a Host"),
]:
    @attempt(GROUP, f"http to {what}", "HTTP 403")
    def _(address=address):
        return talk(tcp(API, 80), head(host=address)) if address == "0.0.0.0" else bare(address)

@attempt(GROUP, "http to the address next to the sandbox's own", "unreachable")
def _():
    return bare("192.0.2.3")


for port, expected in [(1, "HTTP 403"), (22, "HTTP 403"), (53, "reset"), (853, "HTTP 403"), (7070, "HTTP 403"), (50051, "HTTP 403")]:
    @attempt(GROUP, f"http to the proxy's own address, port {port}", expected)
    def _(port=port):
        return bare(GATEWAY, port)

for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:11.22.33.11]", "metadata.thaw.example", "host.thaw.example"]:
    @attempt(GROUP, f"`Host: {host}` on an allowed connection", "HTTP 403")
    def _(host=host):
        return talk(tcp(API, 80), head(host=host))

for host in ["0x0b16210b", "185999627", "0013.026.041.013", "11.22.8459", "127.1"]:
    @attempt(GROUP, f"`Host: {host}`, an address as only some read it", "HTTP 400")
    def _(host=host):
        return talk(tcp(API, 80), head(host=host))


@attempt(GROUP, "another sandbox: what listens there, at every sandbox's address", "refused")
def _():
    return bare("192.0.2.2", 8080)
