GROUP = "Floods"


@attempt(GROUP, "10,000 connections", "many are reset")
def _():
    held, failed = [], 0
    for _ in range(10000):
        stream = socket.socket()
        stream.setblocking(False)
        try:
            stream.connect((API, 443))
        except BlockingIOError:
            pass
        except OSError:
            failed += 1
        held.append(stream)
        if len(held) == 900:
            # The host's answers come after a while where it is slow.
            failed += most(held, 0 if failed > 100 else 5)
            for one in held:
                one.close()
            held = []
    return "many are reset" if failed > 100 else f"{failed} are reset"


def most(streams, seconds):
    end = time.monotonic() + seconds
    while True:
        over = sum(is_over(one) for one in streams)
        if over > 100 or time.monotonic() >= end:
            return over
        time.sleep(0.1)


def is_over(stream):
    try:
        return not stream.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


@attempt(GROUP, "200 heads that never end", "closed or reset or no answer or HTTP 408")
def _():
    streams = [tcp(API, 80) for _ in range(200)]
    for stream in streams:
        stream.sendall(b"GET / HTTP/1.1\r\nX: ")
    streams[0].settimeout(12)
    result = said(read(streams[0]))
    for stream in streams:
        stream.close()
    return result


@attempt(GROUP, "a head of a megabyte", "HTTP 431 or HTTP 400 or reset or closed")
def _():
    stream = tls()
    try:
        stream.sendall(head(more=f"X: {'x' * (1 << 20)}\r\n"))
    except OSError:
        pass
    return said(read(stream))


@attempt(GROUP, "10,000 headers", "HTTP 431 or HTTP 400 or reset or closed")
def _():
    stream = tls()
    try:
        stream.sendall(head(more="".join(f"X-{n}: y\r\n" for n in range(10000))))
    except OSError:
        pass
    return said(read(stream))


def h2flood(data, times):
    """Sends and sends; what the end is."""
    stream = connection()
    stream.settimeout(1)
    for _ in range(times):
        try:
            stream.sendall(data)
        except OSError:
            break
    kinds = {kind for kind, *_ in frames(stream)}
    return "GOAWAY" if GOAWAY in kinds else "still there"


@attempt(GROUP, "HTTP/2: 10,000 streams that are reset at once", "GOAWAY")
def _():
    stream = connection()
    stream.settimeout(2)
    block = fields("/rapid")
    try:
        for start in range(0, 10000, 100):
            stream.sendall(b"".join(
                h2frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, block) + h2frame(RST, 0, 2 * n + 1, bytes(4))
                for n in range(start, start + 100)))
    except OSError:
        return "GOAWAY"
    return "GOAWAY" if any(kind == GOAWAY for kind, *_ in frames(stream)) else "still there"


@attempt(GROUP, "HTTP/2: settings without end", "GOAWAY or still there")
def _():
    return h2flood(h2frame(SETTINGS) * 100, 300)


@attempt(GROUP, "HTTP/2: pings without end", "GOAWAY or still there")
def _():
    return h2flood(h2frame(PING, payload=bytes(8)) * 100, 300)


@attempt(GROUP, "HTTP/2: a head that goes on and on (CONTINUATION)", "GOAWAY or closed")
def _():
    stream = connection()
    try:
        stream.sendall(h2frame(HEADERS, 0, 1, fields()))
        for _ in range(200):
            stream.sendall(h2frame(CONTINUATION, 0, 1, literal("x-more", "y" * 4000)))
    except OSError:
        return "closed"
    return answers(stream, 1)
