# Tokens of organisations, as `thaw token create` makes them.
def of(name):
    return DenoDeploy({"token": os.environ[f"THAW_{name}"]})


acme, reader, other = of("ACME"), of("READER"), of("OTHER")
with acme.sandbox.create(timeout="5m", labels={"whose": "acme"}) as sandbox:
    sandbox.fs.write_text_file("mine", "of acme")
    check([one["id"] for one in acme.sandbox.list().items], [sandbox.id])
    check([one["id"] for one in reader.sandbox.list().items], [sandbox.id])
    check(other.sandbox.list().items, [])
    fails(lambda: other.sandbox.connect(sandbox.id).__enter__(), "HTTP 404")
    fails(lambda: reader.sandbox.connect(sandbox.id).__enter__(), "HTTP 403")
    fails(lambda: reader.sandbox.create().__enter__(), "HTTP 403")
    # Of its quota of one it has used one.
    fails(lambda: acme.sandbox.create().__enter__(), "HTTP 429")
    with other.sandbox.create() as theirs:
        check(len(DenoDeploy().sandbox.list().items), 2)
        check(theirs.fs.read_text_file("/etc/hostname") != "", True)
    # What the operator has saved is everybody's to use, and nobody's to delete.
    check([one["slug"] for one in other.snapshots.list(search="default").items], ["default"])
    fails(lambda: other.snapshots.delete("default"), "FORBIDDEN")
    sandbox.kill()
with acme.sandbox.create() as sandbox:
    check([one["id"] for one in reader.sandbox.list().items], [sandbox.id])
done()
