GROUP = "HTTP/2"


def one(block):
    stream = connection()
    stream.sendall(h2frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
    return answers(stream, 1)


@attempt(GROUP, "another `:authority` than the server name", "HTTP 421")
def _():
    return one(fields(authority=NOT_ALLOWED))


@attempt(GROUP, "a coalesced connection: a good stream, and one for another host", "HTTP 200, HTTP 421")
def _():
    stream = connection()
    for number, authority, path in [(1, NAME, "/good"), (3, NOT_ALLOWED, "/evil")]:
        stream.sendall(h2frame(HEADERS, END_STREAM | END_HEADERS, number, fields(path, authority)))
    return answers(stream, 1, 3)


@attempt(GROUP, "`:authority` and a Host header that disagree", "HTTP 400")
def _():
    return one(fields(more=[("host", NOT_ALLOWED)]))


@attempt(GROUP, "no `:authority`, a Host header with another host", "HTTP 421")
def _():
    return one(fields(authority=None, more=[("host", NOT_ALLOWED)]))


@attempt(GROUP, "two `:authority` fields", "reset")
def _():
    return one(fields() + literal(":authority", NOT_ALLOWED))


@attempt(GROUP, "`:authority` with a user's name in it", "HTTP 400")
def _():
    return one(fields(authority=f"{NAME}@{NOT_ALLOWED}"))


@attempt(GROUP, "the path `//other.thaw.example/`", "HTTP 200")
def _():
    return one(fields(path=f"//{NOT_ALLOWED}/"))


@attempt(GROUP, "CONNECT, plain and extended", "HTTP 405")
def _():
    return one(literal(":method", "CONNECT") + literal(":authority", f"{NOT_ALLOWED}:443"))


@attempt(GROUP, "a line break in a header's value", "GOAWAY")
def _():
    return one(fields(more=[("x-break", f"a\r\nHost: {NOT_ALLOWED}")]))


@attempt(GROUP, "`transfer-encoding` in HTTP/2", "reset")
def _():
    return one(fields(method="POST", more=[("transfer-encoding", "chunked")]))


@attempt(GROUP, "HTTP/2 in the clear for a refused host", "HTTP 403")
def _():
    stream = tcp(API, 80)
    block = fields(authority=NOT_ALLOWED).replace(literal(":scheme", "https"), literal(":scheme", "http"))
    stream.sendall(PREFACE + h2frame(SETTINGS) + h2frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
    return answers(stream, 1)
