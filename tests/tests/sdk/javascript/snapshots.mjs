// Snapshots: the host's own, found and listed; who may delete them.
const client = new Client();
const all = [];
for await (const one of await client.snapshots.list({ limit: 1 })) all.push(one.slug);
check(all.sort(), ["default", "deno"]);
const one = await client.snapshots.get("deno");
check([one.slug, one.region, one.isBootable], ["deno", "loc", true]);
check(0 < one.allocatedSize && one.allocatedSize < one.flattenedSize, true);
check((await client.snapshots.get(one.id)).slug, "deno");
check(await client.snapshots.get("no-such-snapshot"), null);
await fails(() => client.snapshots.delete("no-such-snapshot"), "SNAPSHOT_NOT_FOUND");
await fails(() => client.snapshots.delete("default"), "SNAPSHOT_READ_ONLY");
// The last that is about it.
await client.snapshots.delete("deno");
check(await client.snapshots.get("deno"), null);
done();
