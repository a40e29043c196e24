import os
import requests

headers = {"authorization": "Bearer " + os.environ["API_KEY"]}
print(requests.get("https://api.thaw.example/requests", headers=headers, timeout=60).text)
