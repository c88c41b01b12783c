"""A driver whose clock of the day is wrong: `python shifted_driver.py DAYS LAUNCH-ARGUMENTS`."""

import sys
from datetime import timedelta

import time_machine

if __name__ == "__main__":
    time_machine.travel(timedelta(days=float(sys.argv[1])), tick=True).start()
    from study.launch import main

    sys.exit(main(sys.argv[2:]))
