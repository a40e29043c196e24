import asyncio, faulthandler, os, re, sys, time

import httpx, websockets
from deno_sandbox import AsyncDenoDeploy, DenoDeploy

# What hangs says where, before the test gives it up.
faulthandler.dump_traceback_later(220, exit=True)
checked = 0
called = set()


def watched(send, calls):
    async def sending(self, *arguments, **options):
        called.update(calls(self, *arguments, **options))
        return await send(self, *arguments, **options)

    return sending


def on_http(_, request, **_options):
    return [f"{request.method} {request.url.path}"]


def on_socket(socket, message, **_):
    method = re.search(r'"method": ?"(\w+)"', message[:200])
    return [f"GET {socket.request.path}", *(method.groups() if method else ())]


# What leaves the SDK is seen below it: in the libraries that it speaks through.
websockets.ClientConnection.send = watched(websockets.ClientConnection.send, on_socket)
httpx.AsyncClient.send = watched(httpx.AsyncClient.send, on_http)


def check(actual, expected):
    global checked
    checked += 1
    if actual != expected:
        print(f"check {checked}: {actual!r} is not {expected!r}", file=sys.stderr)
        os._exit(1)


def fails(call, *words):
    try:
        call()
    except Exception as error:
        text = f"{type(error).__name__} {error}"
        for word in words:
            check(word in text or text, True)
        return error
    check("it failed", f"it went well, and should not: {words}")


def done():
    for call in sorted(called):
        print(f"called {call}")
    print(f"checked {checked}")
