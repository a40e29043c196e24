# What a sandbox exposes is reached from outside, by everyone who knows its name.
import hashlib, pathlib, socket, ssl, subprocess
from urllib.parse import urlsplit

import websockets.sync.client

CERTIFICATE, INGRESS = os.environ["THAW_CERTIFICATE"], os.environ["THAW_INGRESS"]
ECHO = """
import asyncio
from websockets.asyncio.server import serve

async def echo(socket):
    async for message in socket:
        await socket.send(message)

async def main():
    async with serve(echo, "127.0.0.1", 8001):
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""
sdk = DenoDeploy()


def curl(url, *options):
    command = ["curl", "-sS", "--max-time", "60", "--cacert", CERTIFICATE, "--connect-to", f"::{INGRESS}"]
    return subprocess.run([*command, *options, url], capture_output=True, check=True).stdout


def status(url):
    return curl(url, "-o", "/dev/null", "-w", "%{http_code} %{http_version}").decode()


def becomes(expected, url):
    until = time.monotonic() + 60
    while (seen := status(url)) != expected and time.monotonic() < until:
        time.sleep(0.2)
    check(seen, expected)


with sdk.sandbox.create() as sandbox:
    url = sandbox.expose_http(port=8000)
    check(url.startswith("https://") and "boxes.thaw.example" in url, True)
    # Nobody listens yet.
    check(status(url), "502 2")
    sandbox.fs.mkdir("site")
    large = os.urandom(1 << 20) * 20
    sandbox.fs.write_text_file("site/index.html", "hello from inside")
    sandbox.fs.write_file("site/large", large)
    arguments = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", "site", "8000"]
    server = sandbox.spawn("python3", args=arguments, stdout="null", stderr="null")
    becomes("200 2", url)
    check(curl(url), b"hello from inside")
    check(hashlib.sha256(curl(url + "/large")).digest(), hashlib.sha256(large).digest())
    check(status(url + "/none"), "404 2")
    by_pid = sandbox.expose_http(pid=server.pid)
    check(by_pid != url, True)
    check(curl(by_pid, "--http1.1"), b"hello from inside")
    fails(lambda: sandbox.expose_http(port=0), "TypeError")

    # A WebSocket, spoken by a library at both ends.
    package = pathlib.Path(websockets.__file__).parent
    for folder in ("websockets", "websockets/asyncio", "websockets/sync", "websockets/extensions", "websockets/legacy"):
        sandbox.fs.mkdir(folder)
        for file in sorted((package.parent / folder).glob("*.py")):
            sandbox.fs.write_file(f"{folder}/{file.name}", file.read_bytes())
    sandbox.fs.write_text_file("echo.py", ECHO)
    sandbox.spawn("python3", args=["echo.py"], stdout="null", stderr="null")
    url = sandbox.expose_http(port=8001)
    # It is no WebSocket that is asked for.
    becomes("426 2", url)
    host, port = INGRESS.rsplit(":", 1)
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    connection = socket.create_connection((host, int(port)))
    options = {"sock": connection, "ssl": trusting, "server_hostname": urlsplit(url).hostname}
    with websockets.sync.client.connect(url.replace("https", "wss"), open_timeout=60, **options) as client:
        for message in ("text", b"bytes", "x" * 300_000):
            client.send(message)
            check(client.recv(timeout=60), message)
    gone = by_pid
# It ended with its session.
becomes("404 2", gone)
done()
