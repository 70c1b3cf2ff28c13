"""Inspect images with the library in this process and print the seconds as JSON.

Arguments: a repository with few tags, their number, a repository with many tags. `call` is the
median of calls that also list the tags, for images that the client has not seen. `loop` is the time
for all of the many tags in one thread, including the list; `threads` is the same in two threads.
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
