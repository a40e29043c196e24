async def main():
    sdk = AsyncDenoDeploy()
    async with sdk.sandbox.create(env={"GREETING": "hello"}) as sandbox:
        process = await sandbox.spawn("sh", args=["-c", "echo out; echo err >&2; exit 3"], stdout="piped", stderr="piped")
        out, err = await process.stdout.read(), await process.stderr.read()
        check((out, err), (b"out\n", b"err\n"))
        status = await process.wait()
        check((status["success"], status["code"], status["signal"]), (False, 3, None))

        process = await sandbox.spawn("sh", args=["-c", "echo $GREETING $X; pwd"], env={"X": "y"}, cwd="/tmp", stdout="piped")
        check(await process.stdout.read(), b"hello y\n/tmp\n")

        process = await sandbox.spawn("sleep", args=["60"])
        await process.kill()
        await process.kill()

        data = os.urandom(3 << 20)
        process = await sandbox.spawn("cat", stdout="piped", stdin_data=[data[at : at + 65536] for at in range(0, len(data), 65536)])
        check(await process.stdout.read(), data)

        # Much output, in order.
        process = await sandbox.spawn("seq", args=["1", "300000"], stdout="piped")
        lines = (await process.stdout.read()).split(b"\n")
        check((len(lines), lines[0], lines[299999]), (300001, b"1", b"300000"))
        check((await process.wait())["code"], 0)

        # Many at once.
        async def one(number):
            process = await sandbox.spawn("sh", args=["-c", f"sleep 0.2; echo {number}"], stdout="piped")
            return int(await process.stdout.read())

        check(await asyncio.gather(*[one(number) for number in range(30)]), list(range(30)))

        await sandbox.env.set("COLOUR", "green")
        check(await sandbox.env.get("COLOUR"), "green")
        # Its own spelling of names.
        check((await sandbox.env.as_dict())["g_r_e_e_t_i_n_g"], "hello")
        process = await sandbox.spawn("printenv", args=["COLOUR"], stdout="piped")
        check(await process.stdout.read(), b"green\n")
        await sandbox.env.delete("COLOUR")
        check(await sandbox.env.get("COLOUR"), None)

        try:
            await sandbox.spawn("no-such-program")
            check("it runs", "it does not")
        except Exception as error:
            check("ENOENT" in str(error) or str(error), True)


asyncio.run(main())
done()
