# A client that breaks off, whatever it was about: its session ends with it, and nothing is left behind.
import base64, json, socket as sockets, struct, urllib.request

from websockets.sync.client import connect

endpoint = os.environ["DENO_SANDBOX_ENDPOINT"].replace("http", "ws")
host, port = endpoint.removeprefix("ws://").split(":")
bearer = {"Authorization": "Bearer " + os.environ["DENO_DEPLOY_TOKEN"]}
HANDSHAKE = (
    f"GET /api/v3/sandboxes/create HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    f"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    f"authorization: {bearer['Authorization']}\r\n\r\n"
).encode()
sdk = DenoDeploy()


def living():
    return len(sdk.sandbox.list().items)


def ends(what):
    end = time.monotonic() + 30
    while living() and time.monotonic() < end:
        time.sleep(0.2)
    check((what, living()), (what, 0))


def broken_off(socket):
    # Not even an end is sent: the other side has a reset.
    socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    socket.close()


# Before there is a session: at each point of the handshake.
for sent in (0, 1, len(HANDSHAKE) // 2, len(HANDSHAKE)):
    raw = sockets.create_connection((host, int(port)))
    raw.sendall(HANDSHAKE[:sent])
    # The last waits for its sandbox, which is being made.
    time.sleep(0.1)
    broken_off(raw)
    ends(f"after {sent} bytes")


class Session:
    def __init__(self):
        self.socket = connect(endpoint + "/api/v3/sandboxes/create", additional_headers=bearer, open_timeout=60)
        self.last = 0

    def begin(self, method, /, **params):
        self.last += 1
        self.socket.send(json.dumps({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}))
        return self.last

    def hear(self, wanted):
        while True:
            said = json.loads(self.socket.recv(timeout=60))
            if wanted(said):
                return said

    def call(self, method, /, **params):
        number = self.begin(method, **params)
        return self.hear(lambda said: said.get("id") == number)["result"]["ok"]

    def notify(self, method, **params):
        self.socket.send(json.dumps({"jsonrpc": "2.0", "method": f"$sandbox.stream.{method}", "params": params}))


def program(line, **more):
    return {"command": "sh", "args": ["-c", line], "stdout": "piped", "stderr": "null", **more}


def idle(session):
    pass


def half_a_frame(session):
    # A text of a thousand bytes is begun.
    session.socket.socket.sendall(b"\x81\xfe\x03\xe8\x00\x00\x00\x00{\"jsonrpc\"")


def an_unanswered_call(session):
    session.begin("spawn", **program("sleep 600"))


def a_program_that_is_waited_for(session):
    pid = session.call("spawn", **program("sleep 600"))["pid"]
    session.begin("processWait", pid=pid)


def output_without_end(session):
    pid = session.call("spawn", **program("yes"))["pid"]
    session.begin("processWait", pid=pid)
    session.hear(lambda said: said.get("method") == "$sandbox.stream.enqueue")


def input_without_end(session):
    session.notify("start", streamId=1)
    session.call("spawn", **program("cat >/dev/null", stdinStreamId=1))
    session.notify("enqueue", streamId=1, data=base64.b64encode(b"x" * 100_000).decode())


def an_upload(session):
    session.notify("start", streamId=1)
    session.begin("writeFile", path="/tmp/never", contentStreamId=1)
    for _ in range(10):
        session.notify("enqueue", streamId=1, data=base64.b64encode(b"x" * 65_536).decode())


def a_locked_file(session):
    handle = session.call("open", path="/tmp/locked", options={"read": True, "write": True, "create": True})
    session.begin("fileLock", fileHandleId=handle["fileHandleId"], exclusive=True)


def a_request(session):
    # Nobody answers there.
    session.begin("fetch", url="http://127.0.0.1:1/", method="GET", headers=[], redirect="follow")


def a_repl(session):
    repl = session.call("spawnDenoRepl", stdout="piped", stderr="null")
    session.begin("denoReplEval", pid=repl["pid"], code="while (true);")
    time.sleep(1)


for about in (
    idle,
    half_a_frame,
    an_unanswered_call,
    a_program_that_is_waited_for,
    output_without_end,
    input_without_end,
    an_upload,
    a_locked_file,
    a_request,
):
    session = Session()
    check(living(), 1)
    about(session)
    broken_off(session.socket.socket)
    ends(about.__name__)

# One that does not end with its client goes on, and the next client finds it as it was left.
with sdk.sandbox.create(root="deno", timeout="5m") as sandbox:
    lasting = sandbox.id
for about in (half_a_frame, output_without_end, input_without_end, an_upload, a_repl):
    session = Session.__new__(Session)
    path = f"/api/v3/sandbox/{lasting}/connect"
    session.socket, session.last = connect(endpoint + path, additional_headers=bearer, open_timeout=60), 0
    about(session)
    broken_off(session.socket.socket)
    with sdk.sandbox.connect(lasting) as sandbox:
        process = sandbox.spawn("echo", args=[about.__name__], stdout="piped")
        check(process.stdout.read(), f"{about.__name__}\n".encode())
with sdk.sandbox.connect(lasting) as sandbox:
    check(sandbox.fs.read_text_file("/etc/hostname") != "", True)
    # What was being written is there as far as it came, as it would be in Deno: a reset may overtake all of it.
    try:
        check(sandbox.fs.stat("/tmp/never")["size"] <= 655_360, True)
    except Exception as error:
        check("NotFound" in str(error) or repr(error), True)
    sandbox.kill()
ends("the last")
done()
