"""Says something new only when it has heard the last: whoever waits for more before it passes anything on hangs."""
import asyncio
import os
import websockets


async def main():
    key = os.environ["API_KEY"]
    headers = {"authorization": "Bearer " + key}
    async with websockets.connect("wss://api.thaw.example/socket", extra_headers=headers) as socket:
        for number in range(3):
            await socket.send(f"{number}: {key}")
            print(await asyncio.wait_for(socket.recv(), 60))


asyncio.run(main())
