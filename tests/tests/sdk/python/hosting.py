# What belongs to Deno Deploy's hosting of apps, and what this host does not have yet: every call says so.
import inspect

sdk = AsyncDenoDeploy()


async def exhaust(calling):
    result = await calling if inspect.isawaitable(calling) else calling
    if hasattr(result, "__aiter__"):
        async for _ in result:
            pass


async def refused(name, call, *words):
    try:
        await exhaust(call())
    except Exception as error:
        text = f"{type(error).__name__} {error}"
        for word in words:
            check((name, word in text or text), (name, True))
    else:
        check(f"{name} went well", "it should not")


async def main():
    for area in ("apps", "layers", "revisions", "timelines", "volumes"):
        methods = inspect.getmembers(getattr(sdk, area), inspect.ismethod)
        methods += [(name, method) for name, method in inspect.getmembers(getattr(sdk, area), inspect.isasyncgenfunction)]
        for name, method in dict(methods).items():
            if name.startswith("_"):
                continue
            given = inspect.signature(method).parameters.values()
            needed = [p for p in given if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
            named = {p.name: "x" for p in given if p.default is p.empty and p.kind is p.KEYWORD_ONLY}
            await refused(f"{area}.{name}", lambda: method(*["some-id" for _ in needed], **named), "NOT_SUPPORTED")
    async with sdk.sandbox.create() as sandbox:
        # The default image is without Deno.
        await refused("deno.run", lambda: sandbox.deno.run(code="1"), "no program `deno`")
        await refused("deno.eval", lambda: sandbox.deno.eval("1"), "no program `deno`")
        await refused("deno.deploy", lambda: sandbox.deno.deploy("some-app", entrypoint="main.ts"), "501")
        # It asks the sandbox to write to the client's disk.
        await refused("fs.download", lambda: sandbox.fs.download("/tmp/x", "/tmp/y"), "read files instead")
        process = await sandbox.spawn("echo", args=["and goes on"], stdout="piped")
        check(await process.stdout.read(), b"and goes on\n")


asyncio.run(main())
done()
