import os
import httpx

headers = {"authorization": "Bearer " + os.environ["API_KEY"]}
with httpx.Client(http2=True, timeout=60) as client:
    answer = client.get("https://api.thaw.example/httpx", headers=headers)
print(answer.http_version, answer.text)
