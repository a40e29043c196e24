import { execFile } from "node:child_process";
import { promisify } from "node:util";

const { THAW_CERTIFICATE: certificate, THAW_INGRESS: ingress } = process.env;
const run = promisify(execFile);

async function curl(url, ...options) {
  const all = ["-sS", "--max-time", "60", "--cacert", certificate, "--connect-to", `::${ingress}`, ...options, url];
  return (await run("curl", all)).stdout;
}

async function becomes(expected, url) {
  let seen;
  for (let tries = 0; tries < 300; tries++) {
    seen = await curl(url).catch((error) => error.message);
    if (seen === expected) break;
    await sleep(200);
  }
  check(seen, expected);
}

await using(Sandbox.create({ port: 8000, ssh: true }), async (sandbox) => {
  check(Object.keys(sandbox.ssh).sort(), ["hostname", "username"]);
  check(new URL(sandbox.url).protocol, "https:");
  await sandbox.fs.mkdir("site");
  await sandbox.fs.writeTextFile("site/index.html", "hello from inside");
  const args = ["-m", "http.server", "--directory", "site", "8000"];
  const server = await sandbox.spawn("python3", { args, stdout: "null", stderr: "null" });
  await becomes("hello from inside", sandbox.url);
  const byPid = await sandbox.exposeHttp({ pid: server.pid });
  check(await curl(byPid), "hello from inside");
  // A name stays when another sandbox comes, and leads to no other.
  await using(Sandbox.create({ port: 8000 }), async (other) => {
    check(other.url === sandbox.url, false);
    check((await curl(other.url)).includes("nobody listens"), true);
  });
  // An editor, with a small one in its place that shows what it is to open.
  await sandbox.fs.writeTextFile(
    "/usr/local/bin/code-server",
    '#!/bin/sh\nfor last; do :; done\nfor word; do case $word in 127.*) port=${word#*:};; esac; done\nexec python3 -m http.server --directory "$last" $port\n',
    { mode: 0o755 },
  );
  const editor = await sandbox.exposeVscode("site", { editorSettings: { "editor.fontSize": 17 } });
  await becomes("hello from inside", editor.url);
  await editor.kill();
  check((await editor.status).success, false);
  await server.kill();
  await server.status;
  check((await curl(byPid)).includes("nobody listens"), true);
});
done();
