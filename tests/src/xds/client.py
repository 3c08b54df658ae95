"""A gRPC client: TARGET. Reads orders, a line of JSON each; answers each with one."""

import collections
import json
import sys
import time

import grpc

target = sys.argv[1]
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


def open_channel():
    return grpc.insecure_channel(target, OPTIONS)


def done(call, began):
    """Counts one answer."""
    global message
    try:
        texts[call.result().decode()] += 1
    except grpc.RpcError as error:
        failed[error.code().name] += 1
        message = error.details()
    took.append(time.monotonic() - began)


channel = open_channel()
for line in sys.stdin:
    order = json.loads(line)
    texts, failed, took, message = collections.Counter(), collections.Counter(), [], ""
    under_way = []
    for _ in range(order["number"]):
        if order["fresh"]:
            channel.close()
            channel = open_channel()
        method = channel.unary_unary(f"/mesh.test.Echo/{order['method']}")
        began = time.monotonic()
        call = method.future(b"", timeout=order["deadline"], metadata=order["headers"])
        if order["together"]:
            under_way.append((call, began))
        else:
            done(call, began)
    for call, began in under_way:
        done(call, began)
    print(
        json.dumps({"texts": texts, "failed": failed, "took": took, "message": message}), flush=True
    )
