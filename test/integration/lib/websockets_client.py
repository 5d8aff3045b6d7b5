"""What clients.test.mjs does with Debian's python3-websockets: one step a word, a line of JSON for each."""
import asyncio
import json
import sys

import websockets

url = sys.argv[1]


def say(**what):
    print(json.dumps(what), flush=True)


async def connect(**more):
    ws = await websockets.connect(url + "&ack=explicit", subprotocols=["crier.v1.json"], **more)
    return ws, json.loads(await ws.recv())


async def until(ws, kind, ref=None):
    while True:
        m = json.loads(await ws.recv())
        if m["type"] == kind and (ref is None or m["ref"] == ref):
            return m


async def main():
    ws, welcome = await connect()
    say(step="welcome", user=welcome["user"], subprotocol=ws.subprotocol, extensions=[e.name for e in ws.extensions])
    await ws.send(json.dumps({"type": "subscribe", "ref": 1, "room": "news"}))
    say(step="joined", ok=await until(ws, "ok"))
    await asyncio.wait_for(await ws.ping(b"are you there"), 30)
    say(step="pong")
    # An iterable is sent as fragments, each of them compressed on its own context.
    text = json.dumps({"type": "send", "ref": 2, "user": "py", "data": {"text": "wörds " * 400}}, ensure_ascii=False)
    await ws.send([text[i : i + 333] for i in range(0, len(text), 333)])
    m = await until(ws, "message")
    say(step="echo", same=m["data"]["text"] == "wörds " * 400)
    await ws.send(json.dumps({"type": "ack", "seq": m["seq"], "ref": 3}))
    say(step="acked", ok=await until(ws, "ok", 3))
    say(step="pushed", data=(await until(ws, "message"))["data"])  # not acknowledged
    await ws.close(4000, "see you")
    say(step="closed", code=ws.close_code)

    ws, welcome = await connect(compression=None)
    say(step="again", pending=welcome["pending"], extensions=[e.name for e in ws.extensions])
    m = await until(ws, "message")
    say(step="resumed", data=m["data"])
    await ws.send(b"bytes, where text is spoken")
    try:
        await until(ws, "message")
    except websockets.ConnectionClosed as e:
        say(step="refused", code=e.rcvd.code)


asyncio.run(main())
