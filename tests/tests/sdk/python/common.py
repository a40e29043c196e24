import asyncio, os, sys, time

from deno_sandbox import AsyncDenoDeploy, DenoDeploy

checked = 0


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
    print(f"checked {checked}")
