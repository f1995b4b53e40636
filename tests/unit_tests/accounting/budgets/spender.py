"""A process of its own that spends from a store; `python spender.py PLACE TRIES [hold]`.

It says "ready", waits for a line, tries, and says how often it was admitted. With "hold" it settles
nothing and stays until it is killed.
"""

import os
import sys
import time

from shared_core.accounting.budgets.stores import Amounts, Line, open_store


def main():
    place, tries, *hold = sys.argv[1:]
    store, one, admitted = open_store(place), Amounts(calls=1), 0
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(int(tries)):
        name = f"{os.getpid()}-{turn}"
        lines = [Line("wide", (None,) * 4, None), Line("all", (None, None, None, 100), None)]
        if store.reserve(name, one, lines, 3.0 if hold else 60.0) is None:
            admitted += 1
            if not hold:
                store.settle(name, [("all", None)], one)
    print(admitted, flush=True)
    if hold:
        time.sleep(60)


if __name__ == "__main__":
    main()
