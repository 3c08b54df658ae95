"""Writes values of every size into Redis on some connections at once, reads each back, compares.

Event-driven, as acceleration asks. One line of JSON: exchanges, mismatches, bytes, longest wait.
"""
import asyncio
import json
import random
import sys
import time

host, port, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SIZES = [1, 2, 63, 64, 65, 1000, 4096, 16384, 65537, 262144]
CONNECTIONS, ROUNDS = 8, 6
sums = {"exchanges": 0, "mismatches": 0, "sent": 0, "received": 0, "longest_ms": 0.0}


def command(*parts):
    words = [b"$%d\r\n%s\r\n" % (len(part), part) for part in parts]
    return b"*%d\r\n%s" % (len(parts), b"".join(words))


async def expect(reader, answer):
    found = await asyncio.wait_for(reader.readexactly(len(answer)), 30)
    sums["received"] += len(found)
    sums["mismatches"] += found != answer


async def client(number):
    rng = random.Random(seed + number)
    reader, writer = await asyncio.open_connection(host, port)
    for round_number in range(ROUNDS):
        values = {b"%d-%d" % (number, size): rng.randbytes(size) for size in SIZES}
        writes = [(command(b"SET", key, value), b"+OK\r\n") for key, value in values.items()]
        reads = [
            (command(b"GET", key), b"$%d\r\n%s\r\n" % (len(value), value))
            for key, value in values.items()
        ]
        # One after the other, and all in one piece.
        for exchanges in (writes, reads) if round_number % 2 else ([one] for one in writes + reads):
            start = time.monotonic()
            question = b"".join(question for question, _ in exchanges)
            writer.write(question)
            sums["sent"] += len(question)
            for _, answer in exchanges:
                await expect(reader, answer)
            sums["exchanges"] += len(exchanges)
            sums["longest_ms"] = max(sums["longest_ms"], (time.monotonic() - start) * 1e3)
    writer.close()
    await writer.wait_closed()


async def main():
    await asyncio.gather(*(client(number) for number in range(CONNECTIONS)))
    print(json.dumps(sums))


asyncio.run(main())
