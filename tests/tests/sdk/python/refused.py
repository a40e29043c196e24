sdk = DenoDeploy()
fails(lambda: sdk.sandbox.create().__enter__(), "AuthenticationError", "invalid API token")
fails(lambda: sdk.sandbox.list(), "HTTPStatusError", "INVALID_TOKEN")
done()
