# Programs of Deno's, from a snapshot that has it.
sdk = DenoDeploy()

with sdk.sandbox.create(root="deno") as sandbox:
    process = sandbox.deno.run(
        code="const said: string[] = Deno.args; console.log(`hello ${said}`); Deno.exit(7)",
        script_args=["a", "b"],
        stdout="piped",
        stderr="piped",
    )
    check(process.stdout.read(), b"hello a,b\n")
    check(process.wait()["code"], 7)
    # Imports are found from where the code is run.
    sandbox.fs.write_text_file("/tmp/seven.ts", "export const seven: number = 7;")
    process = sandbox.deno.run(
        code="import { seven } from './seven.ts'; console.log(seven * Number(Deno.env.get('BY')))",
        cwd="/tmp",
        env={"BY": "6"},
        stdout="piped",
    )
    check(process.stdout.read(), b"42\n")
    check(process.wait()["success"], True)
    sandbox.fs.write_text_file("main.js", "console.error('on stderr'); throw new TypeError('thrown')")
    process = sandbox.deno.run(entrypoint="main.js", stdout="null", stderr="piped")
    told = process.stderr.read()
    check((b"on stderr" in told, b"TypeError: thrown" in told), (True, True))
    check(process.wait()["code"], 1)

    # A server of Deno's: waited for, and asked.
    with sandbox.deno.run(
        code="Deno.serve({ port: 0 }, async (r) => new Response(`${r.method} ${new URL(r.url).pathname} ${await r.text()}`))",
        stdout="null",
        stderr="null",
    ) as process:
        check(process.wait_http_ready(), True)
        response = process.fetch("https://example.com/some/where?x")
        check((response.status_code, response.is_success), (200, True))

    # Values go in and come out.
    check(sandbox.deno.eval("1 + 1"), 2)
    check(sandbox.deno.eval("({ list: [1, null, 'x'], map: new Map([['k', new Set([1])]]) })"), {"list": [1, None, "x"], "map": {"k": [1]}})
    with sandbox.deno.repl() as repl:
        check(repl.eval("let count: number = 40; const { join } = await import('node:path'); join('a', 'b')"), "a/b")
        check(repl.eval("count += 2"), 42)
        check(repl.eval("Promise.resolve(count)"), 42)
        check(repl.eval("undefined"), None)
        repl.eval("function add(a: number, b: number) { return a + b }")
        check(repl.call("add", [1, 2]), 3)
        check(repl.call("async (...all) => all.reverse()", [1, "two", {"three": [3]}]), [{"three": [3]}, "two", 1])
        fails(lambda: repl.eval("throw new RangeError('too far')"), "too far")
        fails(lambda: repl.eval("this is no code"), "Expected")
        fails(lambda: repl.call("no_such_function", []), "not defined")
        check(repl.eval("count"), 42)
done()
