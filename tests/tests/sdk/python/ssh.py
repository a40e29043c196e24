# OpenSSH's own clients, for a sandbox that is exposed.
import hashlib, pathlib, subprocess, tempfile

sdk = DenoDeploy()
OPTIONS = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
OPTIONS = [word for option in OPTIONS for word in ("-o", option)]


def run(*command, given=b"", timeout=120):
    done = subprocess.run(command, input=given, capture_output=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


with sdk.sandbox.create() as sandbox, tempfile.TemporaryDirectory() as directory:
    access = sandbox.expose_ssh()
    check(sorted(access), ["hostname", "port", "username"])
    port, at = str(access["port"]), f"{access['username']}@{access['hostname']}"

    def ssh(*words, options=(), given=b""):
        return run("ssh", *OPTIONS, "-p", port, *options, at, *words, given=given)

    # Commands, their streams and their ends.
    check(ssh("echo out; echo err >&2; exit 7"), (7, b"out\n", b"err\n"))
    check(ssh("printf %s \"it's $((6 * 7))\""), (0, b"it's 42", b""))
    data = os.urandom(3 << 20)
    status, echoed, _ = ssh("cat", given=data)
    check((status, hashlib.sha256(echoed).digest()), (0, hashlib.sha256(data).digest()))
    check(ssh("kill -9 $$")[0], 255)
    # A login shell, told what to do.
    check(ssh(given=b"echo $((40 + 2))\nexit 3\n", options=["-T"])[:2], (3, b"42\n"))
    # A terminal.
    status, said, _ = ssh("tty; echo $TERM; stty size", options=["-tt"])
    check((status, said.startswith(b"/dev/pts/")), (0, True))
    # Files: with scp, which speaks SFTP, and with sftp.
    local = pathlib.Path(directory)
    (local / "up").write_bytes(data)
    check(run("scp", *OPTIONS, "-P", port, "-p", str(local / "up"), f"{at}:/tmp/there")[0], 0)
    # A file of this length is more than this SDK takes in one message.
    check(ssh("sha256sum </tmp/there")[1].split()[0].decode(), hashlib.sha256(data).hexdigest())
    check(run("scp", *OPTIONS, "-P", port, f"{at}:/tmp/there", str(local / "down"))[0], 0)
    check((local / "down").read_bytes() == data, True)
    (local / "tree/inner").mkdir(parents=True)
    (local / "tree/inner/file").write_text("in a tree")
    check(run("scp", *OPTIONS, "-P", port, "-r", str(local / "tree"), f"{at}:/tmp/tree")[0], 0)
    check(sandbox.fs.read_text_file("/tmp/tree/inner/file"), "in a tree")
    batch = """cd /tmp
mkdir made
rename there made/renamed
symlink renamed made/link
chmod 600 made/renamed
ls -l made
-rm none
rmdir made/none
"""
    status, said, told = run("sftp", *OPTIONS, "-P", port, "-b", "-", at, given=batch.encode())
    # The last of it fails.
    check((status, b"renamed" in said), (1, True))
    check(sandbox.fs.read_link("/tmp/made/link"), "renamed")
    check(sandbox.fs.stat("/tmp/made/renamed")["mode"] & 0o777, 0o600)
    # Nobody else is let in.
    stranger = at.replace("-", "-0", 1)
    status, _, told = run("ssh", *OPTIONS, "-p", port, stranger, "true")
    check((status, b"denied" in told), (255, True))
    # Who is there is sent away when it ends.
    watching = subprocess.Popen(["ssh", *OPTIONS, "-p", port, at, "echo ready; sleep 600"], stdout=subprocess.PIPE)
    check(watching.stdout.readline(), b"ready\n")
check(watching.wait(timeout=30), 255)
check(run("ssh", *OPTIONS, "-p", port, at, "true")[0], 255)
done()
