# The two snippets that introduced Deno Sandbox.
import hashlib

sdk = DenoDeploy()
SECRET = "sk-live-from-the-announcement"
AUTHORIZED = hashlib.sha256(f"Bearer {SECRET}".encode()).hexdigest()

with sdk.sandbox.create() as sandbox:
    process = sandbox.spawn("echo", args=["Hello from the sandbox"], stdout="piped")
    check(process.stdout.read(), b"Hello from the sandbox\n")
    check(process.wait()["success"], True)
    sandbox.fs.write_text_file("hello.txt", "Hello, file")
    check(sandbox.fs.read_text_file("hello.txt"), "Hello, file")

with sdk.sandbox.create(
    allow_net=["api.thaw.example"],
    secrets={
        "OPENAI_API_KEY": {
            "hosts": ["api.thaw.example"],
            "value": SECRET,
        }
    },
) as sandbox:
    placeholder = sandbox.env.get("OPENAI_API_KEY")
    check(placeholder.startswith("DENO_SECRET_PLACEHOLDER_"), True)
    ask = 'curl -sS -m 60 -H "authorization: Bearer $OPENAI_API_KEY" https://api.thaw.example/echo'
    process = sandbox.spawn("sh", args=["-c", ask], stdout="piped", stderr="piped")
    answer, told = process.stdout.read(), process.stderr.read()
    check((process.wait()["code"], told), (0, b""))
    check(f"Bearer {placeholder}".encode() in answer or answer, True)
    # It was received as it is, by who answers with its digest.
    process = sandbox.spawn("sh", args=["-c", ask.replace("/echo", "/authorized")], stdout="piped")
    check(process.stdout.read().decode(), AUTHORIZED)
    # The same from the sandbox's network, without a program.
    headers = {"authorization": f"Bearer {placeholder}"}
    response = sandbox.fetch("https://api.thaw.example/echo", headers=headers)
    check((response.status_code, response.is_success), (200, True))
    fails(lambda: sandbox.fetch("https://other.thaw.example/"), "TypeError")

    refused = "curl -sS -m 20 https://other.thaw.example/"
    process = sandbox.spawn("sh", args=["-c", refused], stdout="piped", stderr="piped")
    check(process.wait()["success"], False)
done()
