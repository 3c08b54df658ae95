"""A gRPC server: NAME ADDRESS. Says its name, fails on purpose, or takes its time."""

import collections
import sys
import threading
import time
from concurrent import futures

import grpc

name, address = sys.argv[1:]
tries = collections.Counter()
lock = threading.Lock()


def header(context, key):
    return dict(context.invocation_metadata()).get(key, "")


def who(request, context):
    return name.encode()


def flaky(request, context):
    """Fails as often as `x-fail` says for one `x-id`; then says how often it was tried."""
    with lock:
        tries[header(context, "x-id")] += 1
        tried = tries[header(context, "x-id")]
    if tried <= int(header(context, "x-fail") or 0):
        context.abort(grpc.StatusCode.UNAVAILABLE, f"try {tried}")
    return str(tried).encode()


def slow(request, context):
    """Waits for the seconds of `x-sleep`."""
    with lock:
        tries[header(context, "x-id")] += 1
    time.sleep(float(header(context, "x-sleep") or 0))
    return name.encode()


def tried(request, context):
    """How often the `x-id` has been seen."""
    with lock:
        return str(tries[header(context, "x-id")]).encode()


methods = {"Who": who, "Flaky": flaky, "Slow": slow, "Tried": tried}
handlers = {key: grpc.unary_unary_rpc_method_handler(value) for key, value in methods.items()}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("mesh.test.Echo", handlers)])
if server.add_insecure_port(address) == 0:
    sys.exit(f"cannot listen on {address}")
server.start()
print("listening", flush=True)
server.wait_for_termination()
