"""What works on this machine, what does not, and the mend: the checks of `study doctor`."""

from study.doctor.check import Examine
from study.doctor.machine import (
    check_browser,
    check_cpus,
    check_gpu,
    check_memory,
    check_shared_memory,
    check_studies,
    check_temporary,
)
from study.doctor.packages import check_packages, check_python, check_torch
from study.doctor.ray import check_ray
from study.doctor.services import check_data, check_leftovers, check_mlflow

# The quick ones first. None of them needs another to have passed.
CHECKS: tuple[tuple[str, Examine], ...] = (
    ("python", check_python),
    ("packages", check_packages),
    ("cpus", check_cpus),
    ("memory", check_memory),
    ("shared memory", check_shared_memory),
    ("studies", check_studies),
    ("temporary", check_temporary),
    ("leftovers", check_leftovers),
    ("data", check_data),
    ("browser", check_browser),
    ("torch", check_torch),
    ("gpu", check_gpu),
    ("mlflow", check_mlflow),
    ("ray", check_ray),
)
