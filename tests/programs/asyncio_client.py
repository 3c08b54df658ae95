"""A client of the protocol matrix: Python's asyncio, as anybody would use it.

asyncio_client.py tcp|udp-connected|udp-unconnected HOST PORT COUNT [QUERY in hex]

Prints what each of COUNT exchanges brought, in hex, one a line. Fails when the address that
asyncio shows as the peer, or as the source of a reply, is not the one that was asked.
"""

import asyncio
import sys

PATIENCE = 5


def check(found, host, port):
    if found[:2] != (host, port):
        sys.exit(f"asked {host} port {port}, but was shown {found}")


async def tcp(host, port, _query):
    reader, writer = await asyncio.open_connection(host, port)
    check(writer.get_extra_info("peername"), host, port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.answer = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, addr):
        if not self.answer.done():
            self.answer.set_result((data, addr))

    def error_received(self, exc):
        if not self.answer.done():
            self.answer.set_exception(exc)


async def udp(host, port, query, connected):
    loop = asyncio.get_running_loop()
    if connected:
        where = {"remote_addr": (host, port)}
    else:
        where = {"local_addr": ("::" if ":" in host else "0.0.0.0", 0)}
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, **where)
    try:
        if connected:
            check(transport.get_extra_info("peername"), host, port)
        transport.sendto(query, None if connected else (host, port))
        answer, source = await protocol.answer
        check(source, host, port)
        return answer
    finally:
        transport.close()


async def main():
    protocol, host, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    query = bytes.fromhex(sys.argv[5]) if len(sys.argv) > 5 else b""
    for _ in range(count):
        if protocol == "tcp":
            exchange = tcp(host, port, query)
        else:
            exchange = udp(host, port, query, protocol == "udp-connected")
        print((await asyncio.wait_for(exchange, PATIENCE)).hex())


asyncio.run(main())
