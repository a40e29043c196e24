sdk = DenoDeploy()
contexts = [sdk.sandbox.create(), sdk.sandbox.create(timeout="10m")]
session, lasting = [context.__enter__() for context in contexts]
lasting.spawn("sleep", args=["600"])
print("ready", flush=True)
time.sleep(600)
