GROUP = "Names"
CODES = {0: "an answer", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
A, NULL, TXT, SVCB_HTTPS, AXFR, ANY = 1, 10, 16, 65, 252, 255


def question(name, kind=A, count=1, opcode=0):
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b".") if label)
    one = labels + b"\x00" + struct.pack("!HH", kind, 1)
    return struct.pack("!HHHHHH", 0x5448, 0x0100 | opcode << 11, count, 0, 0, 0) + one * count


def verdict(answer):
    """The code, and whether there is an answer with something in it."""
    code, answers = answer[3] & 15, struct.unpack("!H", answer[6:8])[0]
    return "an empty answer" if code == 0 and answers == 0 else CODES.get(code, f"code {code}")


def ask(message, server=GATEWAY, port=53):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(4)
        asker.sendto(message, (server, port))
        return verdict(asker.recv(4096))


@attempt(GROUP, "a refused name, at our resolver", "NXDOMAIN")
def _():
    return ask(question("evil.example"))


@attempt(GROUP, "a refused name, at another name server", "NXDOMAIN")
def _():
    return ask(question("evil.example"), NAMES)


@attempt(GROUP, "a refused name, at a name server by TCP", "NXDOMAIN")
def _():
    stream, message = tcp(NAMES, 53), question("evil.example")
    stream.sendall(struct.pack("!H", len(message)) + message)
    return verdict(stream.recv(4096)[2:])


@attempt(GROUP, "data as labels below a refused name", "NXDOMAIN")
def _():
    return ask(question(f"{'x' * 63}.{'y' * 63}.evil.example"))


@attempt(GROUP, "data as labels below an allowed name", "NXDOMAIN")
def _():
    return ask(question(f"evil.{NAME}"))


for kind, what in [(TXT, "TXT"), (NULL, "NULL"), (ANY, "ANY"), (AXFR, "AXFR"), (SVCB_HTTPS, "HTTPS (with keys for ECH)")]:
    @attempt(GROUP, f"{what} of an allowed name", "an empty answer")
    def _(kind=kind):
        return ask(question(NAME, kind))


@attempt(GROUP, "two questions in one message", "FORMERR")
def _():
    return ask(question(NAME, count=2))


@attempt(GROUP, "an update instead of a question", "NOTIMP")
def _():
    return ask(question(NAME, opcode=5))


@attempt(GROUP, "half a message", "FORMERR")
def _():
    return ask(question(NAME)[:20])


@attempt(GROUP, "an allowed name that stands for this machine (rebinding)", "NXDOMAIN")
def _():
    return ask(question("rebind.thaw.example"))


@attempt(GROUP, "an allowed name that stands for a private address", "NXDOMAIN")
def _():
    return ask(question("private.thaw.example"))


@attempt(GROUP, "an allowed name that stands for the metadata address, by http", "HTTP 403")
def _():
    return talk(tcp(API, 80), head(host="metadata.thaw.example"))


@attempt(GROUP, "DNS over TLS at a name server", "TLS alert")
def _():
    return talk(tls(NAMES, None, 853), question("evil.example"))


@attempt(GROUP, "DNS over HTTPS at a name server", "TLS alert")
def _():
    return talk(tls(NAMES, "dns.thaw.example"), head("/dns-query?dns=evil", "dns.thaw.example"))


@attempt(GROUP, "a name server at another port", "no answer")
def _():
    return ask(question("evil.example"), NAMES, 5353)


@attempt(GROUP, "data as 2,000 names below an allowed `*.host`", "few were asked")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for number in range(2000):
            asker.sendto(question(f"d{number}.tunnel.wild.example"), (GATEWAY, 53))
            if number % 50 == 0:
                time.sleep(0.02)
    # How many got through is what the name server counted.
    return "few were asked"
