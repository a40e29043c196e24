// Programs of Deno's, from a snapshot that has it.
await using(Sandbox.create({ root: "deno" }), async (sandbox) => {
  const piped = { stdout: "piped", stderr: "piped" };
  const text = (stream) => new Response(stream).text();
  const hello = await sandbox.deno.run({
    code: "const all: string[] = Deno.args; console.log(`hello ${all}`); Deno.exit(7)",
    scriptArgs: ["a", "b"],
    ...piped,
  });
  const [said, status] = await Promise.all([text(hello.stdout), hello.status]);
  check([said, status.code, status.success], ["hello a,b\n", 7, false]);

  await sandbox.fs.writeTextFile("main.mts", "for await (const chunk of Deno.stdin.readable) Deno.stdout.write(chunk)");
  const echo = await sandbox.deno.run({ entrypoint: "main.mts", stdin: "piped", ...piped });
  const writer = echo.stdin.getWriter();
  await writer.write(new TextEncoder().encode("back and forth"));
  await writer.close();
  const [echoed, ended] = await Promise.all([text(echo.stdout), echo.status]);
  check([echoed, ended.success], ["back and forth", true]);
  await fails(() => sandbox.deno.run({ code: "1", extension: "exe" }));

  const server = await sandbox.deno.run({
    code: "Deno.serve({ port: 0 }, async (r) => new Response(`${r.method} ${r.headers.get('host')} ${await r.text()}`, { status: 201 }))",
    stdout: "null",
    stderr: "null",
  });
  check(await server.httpReady, true);
  const response = await server.fetch("https://example.com/", { method: "POST", body: "in" });
  check([response.status, await response.text()], [201, "POST example.com in"]);
  await server.kill();

  check(await sandbox.deno.eval("1 + 1"), 2);
  const repl = await sandbox.deno.repl(piped);
  check(await repl.eval("let count: number = 40; class Point { x = 1; y = [2] }; new Point()"), { x: 1, y: [2] });
  check(await repl.eval("count += 2"), 42);
  check(await repl.call("(a, b) => ({ sum: a + b })", 1, 2), { sum: 3 });
  await fails(() => repl.eval("throw new RangeError('too far')"), "RangeError", "too far");
  await fails(() => repl.eval("this is no code"), "SyntaxError");
  check(await repl.eval("count"), 42);
  await repl.close();
});
done();
