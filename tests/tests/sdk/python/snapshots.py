# Snapshots: the host's own, found and listed; who may delete them.
sdk = DenoDeploy()
check(sorted(one["slug"] for one in sdk.snapshots.list().items), ["default", "deno"])
one = sdk.snapshots.get("deno")
check((one["slug"], one["region"], one["is_bootable"]), ("deno", "loc", True))
check(0 < one["allocated_size"] < one["flattened_size"], True)
check(sdk.snapshots.get(one["id"])["slug"], "deno")
check(sdk.snapshots.get("no-such-snapshot"), None)
check([found["id"] for found in sdk.snapshots.list(search="den").items], [one["id"]])
page = sdk.snapshots.list(limit=1)
check((len(page.items), page.has_more), (1, True))
with sdk.sandbox.create(root=one["id"]) as sandbox:
    check(sandbox.fs.stat("/usr/local/bin/deno")["is_file"], True)
# More memory than was saved: the image is booted with it.
with sdk.sandbox.create(memory_mb=768) as sandbox:
    said = sandbox.fs.read_text_file("/proc/meminfo").split()[1]
    check(700 < int(said) >> 10 <= 768 or said, True)
fails(lambda: sdk.sandbox.create(root="deno", memory_mb=768).__enter__(), "HTTP 400")
fails(lambda: sdk.snapshots.delete("no-such-snapshot"), "SNAPSHOT_NOT_FOUND")
# This one is in a store that hostd only reads.
fails(lambda: sdk.snapshots.delete("default"), "SNAPSHOT_READ_ONLY")
done()
