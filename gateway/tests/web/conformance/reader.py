"""Reads a session's stream with sseclient-py, as a Python program would; one line of JSON an event.

Takes the address, the session's token, and the id to go on after.
"""

import json
import sys

import requests
import sseclient

url, token, after = (sys.argv[1:] + [""])[:3]
headers = {"Accept": "text/event-stream", "Authorization": "Bearer " + token}
if after:
    headers["Last-Event-ID"] = after
# The library wants whole frames, and `stream=True` gives what has come.
response = requests.get(url, headers=headers, stream=True, timeout=60)
response.raise_for_status()
try:
    for event in sseclient.SSEClient(response.iter_content(chunk_size=None)).events():
        print(json.dumps({"id": event.id, "event": event.event, "data": event.data}), flush=True)
except requests.exceptions.RequestException as cut:
    sys.exit(f"the stream was cut off: {type(cut).__name__}")
