sdk = DenoDeploy()


def ids(**options):
    return [sandbox["id"] for sandbox in sdk.sandbox.list(**options).items]


# A session ends with its client.
with sdk.sandbox.create() as sandbox:
    session = sandbox.id
    check(ids(), [session])
end = time.monotonic() + 20
while ids() and time.monotonic() < end:
    time.sleep(0.1)
check(ids(), [])

# A sandbox with a time of its own outlives it, and another client finds what it left.
with sdk.sandbox.create(timeout="5m") as sandbox:
    lasting = sandbox.id
    sandbox.fs.write_text_file("left", "behind")
    sandbox.env.set("LEFT", "too")
check(ids(), [lasting])
with sdk.sandbox.connect(lasting) as sandbox:
    check(sandbox.fs.read_text_file("left"), "behind")
    check(sandbox.env.get("LEFT"), "too")
    at = sandbox.extend_timeout(600)
    check(abs(at.timestamp() - time.time() - 600) < 5, True)
    sandbox.kill()
check(ids(), [])
fails(lambda: sdk.sandbox.connect(lasting).__enter__(), "HTTP 409")
fails(lambda: sdk.sandbox.connect("sbx_none").__enter__(), "HTTP 404")

# It ends at its time.
with sdk.sandbox.create(timeout="3s") as sandbox:
    time.sleep(1)
    check(ids(), [sandbox.id])
end = time.monotonic() + 20
while ids() and time.monotonic() < end:
    time.sleep(0.1)
check(ids(), [])

# Twenty at once. They are made a few at a time: the SDK waits for no handshake longer than ten seconds.
async def many():
    sdk, gate, there = AsyncDenoDeploy(), asyncio.Semaphore(2), []
    all_there = asyncio.Event()

    async def one(number):
        context = sdk.sandbox.create()
        async with gate:
            sandbox = await context.__aenter__()
        there.append(sandbox.id)
        if len(there) == 20:
            all_there.set()
        await all_there.wait()
        await sandbox.fs.write_text_file("number", str(number))
        read = await sandbox.fs.read_text_file("number")
        await context.__aexit__(None, None, None)
        return read

    check(await asyncio.gather(*[one(number) for number in range(20)]), [str(number) for number in range(20)])
    check(len(set(there)), 20)


asyncio.run(many())
done()
