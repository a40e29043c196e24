const client = new Client();

async function ids(options) {
  const all = [];
  for await (const sandbox of await client.sandboxes.list(options)) all.push(sandbox.id);
  return all.sort();
}

async function becomes(expected) {
  for (let tries = 0; tries < 200 && (await ids()).length !== expected.length; tries++) await sleep(100);
  check(await ids(), expected);
}

// A session ends with its client.
await using(Sandbox.create(), async ({ id }) => check(await ids(), [id]));
await becomes([]);

// A sandbox with a time of its own outlives it.
const labels = { job: "7", "team.name": "blue" };
const lasting = await Sandbox.create({ timeout: "5m", labels });
await lasting.close();
await fails(() => lasting.fs.stat("left"), "ConnectionClosedError");
check(await ids({ labels: { job: "7" } }), [lasting.id]);
check(await ids({ labels: { job: "8" } }), []);
const at = await lasting.extendTimeout("10m");
check(Math.abs(at.getTime() - Date.now() - 600_000) < 5000, true);
// Whoever knows its id speaks for it, and does not end it by going.
await using(Sandbox.connect({ id: lasting.id }), async (again) => {
  check(again.id, lasting.id);
  await again.fs.writeTextFile("left", "by the second");
});
await using(Sandbox.connect(lasting.id), async ({ fs }) => {
  check(await fs.readTextFile("left"), "by the second");
});
await lasting.kill();
check(await ids(), []);

// It ends at its time, and its client hears of it.
const brief = await Sandbox.create({ timeout: "4s" });
const running = brief.sh`sleep 60`.text();
await fails(() => running, "ConnectionClosedError");
await brief.closed;
await becomes([]);

// Three at once: this SDK's list has no pages.
const three = await Promise.all([1, 2, 3].map(() => Sandbox.create()));
check(await ids(), three.map(({ id }) => id).sort());
await Promise.all(three.map((sandbox) => sandbox.close()));
await becomes([]);

// A sandbox that cannot be had as it is asked for.
console.error = () => {};
await fails(() => Sandbox.create({ root: "no-such-snapshot" }), "ConnectionEstablishmentError", "no-such-snapshot");
await fails(() => Sandbox.create({ timeout: "soon" }), "InvalidTimeoutError");
await fails(() => Sandbox.create({ memory: "1TiB" }), "Error");
await fails(() => Sandbox.create({ volumes: { "/data": "v" } }), "NOT_SUPPORTED");
await fails(() => client.apps.list(), "ApiError", "NOT_SUPPORTED");
await fails(() => client.volumes.list(), "ApiError", "NOT_SUPPORTED");
await fails(() => Sandbox.create({ token: "ddo_another-token-entirely" }), "InvalidTokenError");
await becomes([]);
done();
