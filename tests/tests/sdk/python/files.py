sdk = DenoDeploy()

with sdk.sandbox.create() as sandbox:
    fs = sandbox.fs
    binary = bytes(range(256)) * 2000
    fs.write_file("binary", binary)
    check(fs.read_file("binary"), binary)
    fs.write_text_file("text", "grün ✓\n")
    fs.write_text_file("text", "more", append=True)
    check(fs.read_text_file("text"), "grün ✓\nmore")
    info = fs.stat("text")
    check((info["is_file"], info["is_directory"], info["size"]), (True, False, len("grün ✓\nmore".encode())))
    check(info["mtime"].endswith("Z"), True)
    fs.mkdir("a/b/c", recursive=True)
    fs.symlink("../text", "a/link")
    check(fs.read_link("a/link"), "../text")
    check(fs.real_path("a/link"), "/home/app/text")
    check(fs.lstat("a/link")["is_symlink"], True)
    check(sorted(entry["name"] for entry in fs.read_dir("a")), ["b", "link"])
    fs.rename("text", "moved")
    fs.copy_file("moved", "copy")
    fs.chmod("copy", 0o600)
    check(fs.stat("copy")["mode"] & 0o777, 0o600)
    fs.truncate("copy", 3)
    check(fs.stat("copy")["size"], 3)
    fs.link("copy", "hard")
    check(fs.stat("hard")["nlink"], 2)
    fs.utime("copy", "2020-01-02T03:04:05.000Z", "2020-01-02T03:04:05.000Z")
    check(fs.stat("copy")["mtime"], "2020-01-02T03:04:05.000Z")
    check(fs.make_temp_dir(prefix="x-").startswith("/tmp/x-"), True)
    check(fs.make_temp_file(suffix=".y").endswith(".y"), True)
    mask = fs.umask()
    check(fs.umask(0o077), mask)
    check(fs.umask(mask), 0o077)
    fs.mkdir("w/x", recursive=True)
    fs.write_text_file("w/x/one.txt", "1")
    fs.write_text_file("w/x/two.md", "2")
    # What they find comes as a stream, of which this SDK tells the number and no more.
    check("stream" in str(fs.walk("w", exts=["txt"], include_dirs=False)), True)
    check("stream" in str(fs.expand_glob("w/**/*.md")), True)
    fs.chown("copy", 7, 8)
    check((fs.stat("copy")["uid"], fs.stat("copy")["gid"]), (7, 8))
    with fs.create("created") as file:
        check(file.write(b"new"), 3)
        file.utime(1577934245, 1577934245)
    check(fs.read_file("created"), b"new")
    check(fs.stat("created")["mtime"], "2020-01-02T03:04:05.000Z")
    fs.remove("a", recursive=True)
    fails(lambda: fs.stat("a"), "NotFound", "ENOENT")
    fails(lambda: fs.read_text_file("none"), "No such file or directory")
    fails(lambda: fs.write_text_file("copy", "x", create_new=True), "AlreadyExists")

    with fs.open("handle", read=True, write=True, create=True) as file:
        check(file.write(b"0123456789"), 10)
        check(file.seek(-4, 2), 6)
        check(file.read(100), b"6789")
        check(file.stat()["size"], 10)
        file.lock(True)
        file.unlock()
        file.sync()
        file.sync_data()
        file.truncate(5)
        check(file.seek(0, 0), 0)
        check(file.read(100), b"01234")

    # 100 MB there and back, exactly.
    import hashlib

    piece = os.urandom(1 << 20)
    up = hashlib.sha256()

    def pieces():
        for number in range(100):
            data = bytes([number]) + piece[1:]
            for at in range(0, len(data), 1 << 16):
                yield data[at : at + (1 << 16)]
            up.update(data)

    fs.write_file("large", pieces())
    check(fs.stat("large")["size"], 100 << 20)
    down = hashlib.sha256()
    with fs.open("large", read=True) as file:
        for _ in range(200):
            down.update(file.read(1 << 19))
    check(down.hexdigest(), up.hexdigest())

    with open("/tmp/sdk-upload", "wb") as local:
        local.write(binary)
    fs.upload("/tmp/sdk-upload", "uploaded")
    check(fs.read_file("uploaded"), binary)
    os.remove("/tmp/sdk-upload")
done()
