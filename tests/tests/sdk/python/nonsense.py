import base64, json

from websockets.sync.client import connect

endpoint = os.environ["DENO_SANDBOX_ENDPOINT"].replace("http", "ws")
headers = {"Authorization": "Bearer " + os.environ["DENO_DEPLOY_TOKEN"]}


def create(config=None, **options):
    extra = dict(headers)
    if config is not None:
        extra["x-deno-sandbox-config"] = base64.b64encode(json.dumps(config).encode()).decode()
    return connect(endpoint + "/api/v3/sandboxes/create", additional_headers=extra, **options)


for config in [{"timeout": "soon"}, {"memory_mb": "much"}, {"volumes": {"/x": "y"}}, {"root": {"volume": "none"}}, []]:
    fails(lambda: create(config), "HTTP 4") if config != {"volumes": {"/x": "y"}} else fails(lambda: create(config), "HTTP 501")

with create() as socket:
    socket.send("ping")
    check(socket.recv(timeout=10), "pong")
    for text in ["nonsense", "[]", "{}", '{"jsonrpc": "2.0"}', "[" * 100000]:
        socket.send(text)
    socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "noSuchMethod", "params": {}}))
    check(json.loads(socket.recv(timeout=10))["error"]["message"], "Method not found")
    socket.send(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "open", "params": {"path": 7}}))
    check(json.loads(socket.recv(timeout=10))["error"]["data"]["constructorName"], "ZodError")
    socket.send(b"\x00\x01")
    try:
        socket.recv(timeout=10)
        check("it is closed", "it is open")
    except Exception as error:
        check("1003" in str(error) or str(error), True)

# Longer than any message may be.
with create(max_size=None) as socket:
    try:
        socket.send("x" * (65 << 20))
        socket.recv(timeout=60)
        check("it is closed", "it is open")
    except Exception as error:
        check(type(error).__name__.startswith("ConnectionClosed") or repr(error), True)

import urllib.error, urllib.request

for method, path, code in [
    ("GET", "/api/v2/apps", 501),
    ("GET", "/api/v2/volumes", 501),
    ("GET", "/nowhere", 501),
    ("POST", "/api/v2/sandboxes", 405),
    ("DELETE", "/api/v3/sandbox/sbx_none", 404),
    ("GET", "/api/v3/sandboxes/create", 400),
]:
    request = urllib.request.Request(os.environ["DENO_SANDBOX_ENDPOINT"] + path, method=method, headers=headers)
    try:
        urllib.request.urlopen(request, timeout=10)
        check(path, code)
    except urllib.error.HTTPError as error:
        check((path, error.code), (path, code))
done()
