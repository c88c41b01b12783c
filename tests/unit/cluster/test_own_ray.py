"""A Ray of one's own that ends by another's hand, told from one that is left."""

import subprocess
import sys

from launching import Launcher

# Watches a store from before its Ray is there until it is left, then that of a Ray whose node dies.
WATCHING = """
import threading, time
import psutil
from cluster.connect import connect, disconnect
from cluster.own_ray import StoreWatch

def watch():
    while not over.is_set():
        seen.append(store.ends_within(0.001))

store, over, seen = StoreWatch(), threading.Event(), []
watching = threading.Thread(target=watch)
watching.start()
connect(None, env={}, gpus=False)
disconnect()
over.set()
watching.join()
print(len(seen) > 100, any(seen))

connect(None, env={}, gpus=False)
store = StoreWatch()
print(store.ends_within(0.1))
(node,) = (each for each in psutil.Process().children() if each.name() == "raylet")
begun = time.monotonic()
threading.Timer(1.0, node.kill).start()
print(store.ends_within(60), time.monotonic() - begun < 30)
print(StoreWatch().ends_within(60))
disconnect()
"""


def test_whoever_watches_the_store_hears_of_its_end_unless_it_is_left() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHING],
        env=Launcher().environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = done.stdout.split()
    assert said == ["True", "False", "False", "True", "True", "True"], done.stderr
