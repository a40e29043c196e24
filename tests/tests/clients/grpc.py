"""One stream of the server's, and one in both directions, in which each message waits for the answer to the last."""
import os
import queue
import grpc

metadata = [("authorization", "Bearer " + os.environ["API_KEY"])]
channel = grpc.secure_channel("grpc.thaw.example:443", grpc.ssl_channel_credentials())

repeat = channel.unary_stream("/thaw.world.Echo/Repeat")(b"again", metadata=metadata, timeout=60)
print(*repeat, *repeat.initial_metadata(), *repeat.trailing_metadata())

said = queue.SimpleQueue()
converse = channel.stream_stream("/thaw.world.Echo/Converse")(iter(said.get, None), metadata=metadata, timeout=60)
for number in range(3):
    said.put(b"%d" % number)
    print(next(converse))
said.put(None)
assert list(converse) == []
print(*converse.initial_metadata(), *converse.trailing_metadata(), converse.code())
