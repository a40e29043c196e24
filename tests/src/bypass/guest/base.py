"""What all attempts use. Runs in a sandbox, as its root; knows only what a program there can know."""

import base64
import json
import os
import select
import socket
import ssl
import struct
import subprocess
import time

# The small internet of the tests, as an attacker would have found it out.
API, OTHER, WILD, NAMES = "11.22.33.10", "11.22.33.11", "11.22.33.12", "11.22.33.53"
HOST, GATEWAY, METADATA = "11.22.33.1", "192.0.2.1", "169.254.169.254"
NAME, NOT_ALLOWED, ALLOWED = "api.thaw.example", "other.thaw.example", "www.wild.example"
KEY = os.environ["API_KEY"]
NARROW = os.environ["NARROW_KEY"]
BODY = os.environ["BODY_KEY"]
PATIENCE = 8

ATTEMPTS = []


def attempt(group, what, expected):
    """Registers an attempt. It answers in a few words what happened; `expected` says which ones are well."""
    return lambda run: ATTEMPTS.append((group, what, expected, run))


def words(error):
    """What happened, in words that do not depend on timing."""
    if isinstance(error, ssl.SSLError):
        return "TLS alert" if "ALERT" in str(error).upper() else "closed"
    if isinstance(error, socket.gaierror):
        return "no such name"
    for kind, text in [
        (ConnectionResetError, "reset"),
        (BrokenPipeError, "reset"),
        (ConnectionRefusedError, "refused"),
        (TimeoutError, "no answer"),
    ]:
        if isinstance(error, kind):
            return text
    return "unreachable" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def tcp(address, port):
    """A connection, whatever name it is for."""
    return socket.create_connection((address, port), PATIENCE)


def tls(address=API, sni=NAME, port=443, alpn=("http/1.1",)):
    """TLS with no check of who answers: an attacker does not care."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    return context.wrap_socket(tcp(address, port), server_hostname=sni)


def read(stream):
    """Everything until the end."""
    data = b""
    while True:
        try:
            some = stream.recv(65536)
        except (TimeoutError, ConnectionResetError, ssl.SSLError):
            if data:
                return data
            raise
        if not some:
            return data
        data += some


def said(data):
    """The first line of an answer."""
    if not data:
        return "closed"
    line = data.split(b"\r\n")[0].split(b" ")
    return f"HTTP {line[1].decode()}" if line[0].startswith(b"HTTP/") else "an answer"


def talk(stream, data):
    """Sends bytes as they are; what the first answer says."""
    stream.sendall(data)
    return said(read(stream))


def head(path="/evil", host=NAME, more="", method="GET"):
    """A request that ends its connection."""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode("utf-8", "surrogateescape")


def echo(stream, request):
    """What a server that says back what it received was told, or what happened instead."""
    stream.sendall(request)
    data = read(stream)
    if b"\r\n\r\n" not in data or said(data) != "HTTP 200":
        return said(data)
    body = data.split(b"\r\n\r\n", 1)[1]
    return body[body.index(b"{"):body.rindex(b"}") + 1].decode()


def placeholder_or(text, *placeholders):
    """An echo shows placeholders whatever the server was told: the test asks the server."""
    return "told" if any(one in text for one in placeholders) else text


def quietly(datagram, address, family=socket.AF_INET, kind=socket.SOCK_DGRAM, protocol=0):
    """Sends a datagram and waits a little for whatever comes back."""
    with socket.socket(family, kind, protocol) as sender:
        sender.settimeout(1.5)
        sender.sendto(datagram, address)
        sender.recv(65536)
        return "an answer"


def run_all():
    """Runs every attempt; one line of JSON for each."""
    for group, what, expected, run in ATTEMPTS:
        begun = time.monotonic()
        try:
            result = run()
        except Exception as error:  # whatever happens is the result
            result = words(error)
        took = round(time.monotonic() - begun, 2)
        line = {"group": group, "attempt": what, "expected": expected, "result": result, "seconds": took}
        print(json.dumps(line), flush=True)
