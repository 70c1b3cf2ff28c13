"""Inspects with the library and prints seconds as JSON; a process of its own.

Arguments: a repository of few tags, how many, a repository of many tags. `call` is the median of
calls that list the tags too, for images that the client has not seen; `loop` is all of the many
tags, the list included, in one thread; `threads` is the same in two.
"""

import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import wherry


def main() -> None:
    few, count, many = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    calls = []
    with wherry.Client() as client:
        client.inspect(f"{few}:v000", tags=True)
        for number in range(1, count):
            start = time.perf_counter()
            client.inspect(f"{few}:v{number:03}", tags=True)
            calls.append(time.perf_counter() - start)
    start = time.perf_counter()
    with wherry.Client() as client:
        for tag in client.tags(many):
            client.inspect(f"{many}:{tag}")
    loop = time.perf_counter() - start
    start = time.perf_counter()
    with wherry.Client() as client, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda tag: client.inspect(f"{many}:{tag}"), client.tags(many)))
    threads = time.perf_counter() - start
    print(json.dumps({"call": statistics.median(calls), "loop": loop, "threads": threads}))


main()
