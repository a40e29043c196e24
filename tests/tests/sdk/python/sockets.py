# WebSockets and streams through the ingress: a server of Deno's inside, a client of Python's outside.
import http.client, socket, ssl
from urllib.parse import urlsplit

from websockets.sync.client import connect

CERTIFICATE, INGRESS = os.environ["THAW_CERTIFICATE"], os.environ["THAW_INGRESS"]
SERVER = """
Deno.serve({ hostname: "127.0.0.1", port: 8001 }, (request) => {
  if (new URL(request.url).pathname === "/stream") {
    let sent = 0;
    const body = new ReadableStream({
      async pull(to) {
        if (sent === 5) return to.close();
        if (sent > 0) await new Promise((then) => setTimeout(then, 500));
        to.enqueue(new TextEncoder().encode(`data: ${sent++}\\n\\n`));
      },
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  }
  if (request.headers.get("upgrade") !== "websocket") return new Response("plain");
  const { socket, response } = Deno.upgradeWebSocket(request);
  socket.onmessage = ({ data }) => socket.send(data);
  return response;
});
"""
sdk = DenoDeploy()
host, port = INGRESS.rsplit(":", 1)
trusting = ssl.create_default_context(cafile=CERTIFICATE)


def connection():
    return socket.create_connection((host, int(port)))


with sdk.sandbox.create(root="deno") as sandbox:
    with sandbox.deno.run(code=SERVER, stdout="null", stderr="null") as server:
        check(server.wait_http_ready(), True)
        url = sandbox.expose_http(port=8001)
        name = urlsplit(url).hostname

        # What is streamed comes as it is sent, and not at its end.
        client = http.client.HTTPSConnection(name, context=trusting)
        client.sock = trusting.wrap_socket(connection(), server_hostname=name)
        client.request("GET", "/stream", headers={"host": urlsplit(url).netloc})
        response = client.getresponse()
        check(response.getheader("content-type"), "text/event-stream")
        times = []
        for number in range(5):
            check(response.readline(), f"data: {number}\n".encode())
            times.append(time.monotonic())
            check(response.readline(), b"\n")
        check(times[-1] - times[0] > 1, True)
        client.close()

        # One after the other, each on a connection of its own, and some at once.
        def open_one():
            options = {"sock": connection(), "ssl": trusting, "server_hostname": name}
            return connect(url.replace("https", "wss"), open_timeout=60, max_size=None, **options)

        for _ in range(5):
            with open_one() as client:
                for message in ("text", b"bytes", "x" * 300_000):
                    client.send(message)
                    check(client.recv(timeout=60), message)
        several = [open_one() for _ in range(5)]
        for number, client in enumerate(several):
            client.send(f"number {number}")
        for number, client in enumerate(several):
            check(client.recv(timeout=60), f"number {number}")
        several[0].close()
    # With its server, what it speaks ends.
    try:
        several[1].recv(timeout=60)
        check("it goes on", "it ends")
    except Exception as error:
        check("ConnectionClosed" in type(error).__name__ or repr(error), True)
done()
