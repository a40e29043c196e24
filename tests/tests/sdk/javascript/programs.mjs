await using(Sandbox.create({ env: { GREETING: "hello" } }), async (sandbox) => {
  const both = { stdout: "piped", stderr: "piped" };
  let child = await sandbox.spawn("sh", { args: ["-c", "echo out; echo err >&2; exit 3"], ...both });
  let output = await child.output();
  check([output.stdoutText, output.stderrText], ["out\n", "err\n"]);
  check([output.status.success, output.status.code, output.status.signal], [false, 3, null]);

  const options = { args: ["-c", "echo $GREETING $X; pwd"], env: { X: "y" }, cwd: "/tmp", ...both };
  child = await sandbox.spawn("sh", options);
  check((await child.output()).stdoutText, "hello y\n/tmp\n");
  child = await sandbox.spawn("env", { clearEnv: true, env: { ONLY: "this" }, ...both });
  check((await child.output()).stdoutText, "ONLY=this\n");

  child = await sandbox.spawn("sleep", { args: ["60"] });
  await child.kill("SIGKILL");
  check((await child.status).signal, "SIGKILL");
  await child.kill();
  // One that is aborted before it has started is not heard of.
  const aborting = new AbortController();
  child = await sandbox.spawn("sleep", { args: ["60"], signal: aborting.signal });
  aborting.abort();
  check((await child.status).signal, "SIGTERM");

  // A conversation.
  child = await sandbox.spawn("cat", { stdin: "piped", ...both });
  const writer = child.stdin.getWriter();
  const reader = child.stdout.getReader();
  for (const word of ["one", "two"]) {
    await writer.write(Buffer.from(word));
    check(Buffer.from((await reader.read()).value).toString(), word);
  }
  await writer.close();
  check((await reader.read()).done, true);
  check((await child.status).success, true);

  const data = Buffer.alloc(3 << 20).map((_, at) => (at * 7) & 255);
  child = await sandbox.spawn("cat", { stdin: "piped", stdout: "piped" });
  const sink = child.stdin.getWriter();
  const sending = (async () => {
    for (let at = 0; at < data.length; at += 65536) await sink.write(data.subarray(at, at + 65536));
    await sink.close();
  })();
  const pieces = [];
  for await (const piece of child.stdout) pieces.push(piece);
  await sending;
  check(Buffer.compare(Buffer.concat(pieces), data), 0);

  // Much output, in order.
  const lines = (await sandbox.sh`seq 1 300000`.text()).split("\n");
  check([lines.length, lines[0], lines[299999]], [300001, "1", "300000"]);

  // The shell's quoting is the SDK's.
  const name = "it's $HOME; a \"name\"";
  check(await sandbox.sh`printf %s ${name}`.text(), name);
  check(await sandbox.sh`echo ${["a b", "c"]} | wc -w`.text(), "3\n");
  check(await sandbox.sh`printf '{"a":[1,2]}'`.json(), { a: [1, 2] });
  check((await sandbox.sh`exit 7`.noThrow()).status.code, 7);
  const failed = await fails(() => sandbox.sh`exit 7`, "SandboxCommandError");
  check(failed.code, 7);
  // The SDK forgets the one when it is told the other.
  await sandbox.sh`printenv A >/tmp/a`.env("A", "b");
  await sandbox.sh`pwd >>/tmp/a`.cwd("/usr");
  check(await sandbox.fs.readTextFile("/tmp/a"), "b\n/usr\n");

  // Many at once.
  const numbers = Array.from({ length: 30 }, (_, number) => number);
  const answers = numbers.map((number) => sandbox.sh`sleep 0.2; echo ${number}`.text());
  check((await Promise.all(answers)).map(Number), numbers);

  await sandbox.env.set("COLOUR", "green");
  check(await sandbox.env.get("COLOUR"), "green");
  check((await sandbox.env.toObject()).GREETING, "hello");
  check(await sandbox.sh`printenv COLOUR`.text(), "green\n");
  await sandbox.env.delete("COLOUR");
  check((await sandbox.env.get("COLOUR")) ?? undefined, undefined);
  await fails(() => sandbox.env.set("A=B", "x"), "TypeError");
  await fails(() => sandbox.spawn("no-such-program"), "NotFound", "ENOENT");
  await fails(() => sandbox.spawn("true", { cwd: "/no/such/place" }), "ENOENT");
});
done();
