# What a sandbox exposes is reached from outside, by everyone who knows its name.
import hashlib, subprocess

CERTIFICATE, INGRESS = os.environ["THAW_CERTIFICATE"], os.environ["THAW_INGRESS"]
sdk = DenoDeploy()


def curl(url, *options):
    command = ["curl", "-sS", "--max-time", "60", "--cacert", CERTIFICATE, "--connect-to", f"::{INGRESS}"]
    return subprocess.run([*command, *options, url], capture_output=True, check=True).stdout


def status(url):
    return curl(url, "-o", "/dev/null", "-w", "%{http_code} %{http_version}").decode()


def becomes(expected, url):
    until = time.monotonic() + 60
    while (seen := status(url)) != expected and time.monotonic() < until:
        time.sleep(0.2)
    check(seen, expected)


with sdk.sandbox.create() as sandbox:
    url = sandbox.expose_http(port=8000)
    check(url.startswith("https://") and ".boxes.localhost:" in url, True)
    # Nobody listens yet.
    check(status(url), "502 2")
    sandbox.fs.mkdir("site")
    large = os.urandom(1 << 20) * 20
    sandbox.fs.write_text_file("site/index.html", "hello from inside")
    sandbox.fs.write_file("site/large", large)
    arguments = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", "site", "8000"]
    server = sandbox.spawn("python3", args=arguments, stdout="null", stderr="null")
    becomes("200 2", url)
    check(curl(url), b"hello from inside")
    check(hashlib.sha256(curl(url + "/large")).digest(), hashlib.sha256(large).digest())
    check(status(url + "/none"), "404 2")
    by_pid = sandbox.expose_http(pid=server.pid)
    check(by_pid != url, True)
    check(curl(by_pid, "--http1.1"), b"hello from inside")
    fails(lambda: sandbox.expose_http(port=0), "TypeError")
    gone = by_pid
# It ended with its session.
becomes("404 2", gone)
done()
