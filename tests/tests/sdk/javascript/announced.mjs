// The two snippets that introduced Deno Sandbox.
import { createHash } from "node:crypto";

await using(Sandbox.create(), async (sandbox) => {
  const child = await sandbox.spawn("echo", { args: ["Hello from the sandbox"], stdout: "piped" });
  const { status, stdoutText } = await child.output();
  check([stdoutText, status.success, status.code, status.signal], ["Hello from the sandbox\n", true, 0, null]);
  await sandbox.fs.writeTextFile("hello.txt", "Hello, file");
  check(await sandbox.fs.readTextFile("hello.txt"), "Hello, file");
});

const value = "sk-live-from-the-announcement";
const authorized = createHash("sha256").update(`Bearer ${value}`).digest("hex");
const secrets = { OPENAI_API_KEY: { hosts: ["api.thaw.example"], value } };
await using(Sandbox.create({ allowNet: ["api.thaw.example"], secrets }), async (sandbox) => {
  const placeholder = await sandbox.env.get("OPENAI_API_KEY");
  check(placeholder.startsWith("DENO_SECRET_PLACEHOLDER_"), true);
  const ask = `curl -sS -m 60 -H "authorization: Bearer $OPENAI_API_KEY" https://api.thaw.example/echo`;
  const child = await sandbox.spawn("sh", { args: ["-c", ask], stdout: "piped", stderr: "piped" });
  const { status, stdoutText, stderrText } = await child.output();
  check([status.code, stderrText], [0, ""]);
  check(stdoutText.includes(`Bearer ${placeholder}`) || stdoutText, true);

  // The same from the sandbox's network, without a program.
  const headers = { authorization: `Bearer ${placeholder}` };
  const response = await sandbox.fetch("https://api.thaw.example/echo", { method: "POST", headers, body: "ask" });
  check([response.status, response.ok], [200, true]);
  const echoed = await response.text();
  // It was received as it is, by who answers with its digest.
  const received = await sandbox.fetch("https://api.thaw.example/authorized", { headers });
  check(await received.text(), authorized);
  check(echoed.includes(`Bearer ${placeholder}`) || echoed, true);
  await fails(() => sandbox.fetch("https://other.thaw.example/"), "TypeError");
  await fails(() => sandbox.fetch("https://api.thaw.example/", { signal: AbortSignal.timeout(0) }), "AbortError");

  const refused = ["-c", "curl -sS -m 20 https://other.thaw.example/"];
  const other = await sandbox.spawn("sh", { args: refused, stdout: "null", stderr: "null" });
  check((await other.status).success, false);
});
done();
