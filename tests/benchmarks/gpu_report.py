"""The figures of the benchmark on a GPU, as text."""

import itertools
import statistics
from collections.abc import Iterator
from typing import Any

_TRIALS = (8, 32, 128)


def report(found: dict[str, Any]) -> str:
    """What is there so far, stage by stage."""
    return "\n".join(_lines(found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    about = found["about"]
    yield f"{about['device']}, torch {about['torch']}, {about['precision']}"
    if "tflops" in found.get("peak", {}):
        yield f"peak of a product of matrices: {found['peak']['tflops']:.3g} TFLOP/s"
    yield from _teacher(found)
    yield from _rows(found)
    yield from _latency(found)
    yield from _steps(found)
    for name, ratio in found.get("fused", {}).get("times_as_fast", {}).items():
        yield f"fused, {name}: {ratio:.2f} times as fast as one after another"
    sharing = found.get("sharing", {})
    for processes, rate in sharing.get("trials_an_hour", {}).items():
        yield f"{processes} at once, of {sharing['epochs']} epochs: {rate:,.0f} trials an hour"
    yield from _arms(found)


def _teacher(found: dict[str, Any]) -> Iterator[str]:
    teacher, outputs = found.get("teacher", {}), found.get("outputs", {})
    if teacher.get("done"):
        yield (
            f"teacher {teacher['title']}: test {teacher['test']:.2f} %, {teacher['epochs']} epochs "
            f"of {teacher['seconds_an_epoch']:.2f} s (at the peak {teacher['limit_s']:.3f} s)"
        )
    if outputs.get("done"):
        yield (
            f"its answers: {outputs['views']} views of {outputs['images']:,} images, "
            f"{outputs['megabytes']:.1f} MB, {outputs['seconds']:.1f} s "
            f"(at the peak {outputs['limit_s']:.1f} s), {outputs['images_a_second']:,.0f} images/s"
        )


def _rows(found: dict[str, Any]) -> Iterator[str]:
    rows = found.get("rows", {}).get("rows", [])
    if not rows:
        return
    yield f"\n{'row':28}{'test %':>8}{'s':>9}{'s at peak':>11}{'trials/h':>10}{'limit':>10}  steps"
    for row in rows:
        yield (
            f"{row['label']:28}{row['test']:8.2f}{row['seconds']:9.1f}{row['limit_s']:11.2f}"
            f"{3600 / row['seconds']:10,.0f}{3600 / row['limit_s']:10,.0f}  {row['steps']}"
        )


def _latency(found: dict[str, Any]) -> Iterator[str]:
    students = found.get("latency", {}).get("students", {})
    if not students:
        return
    yield f"\n{'latency of':40}{'batch 1':>10}{'apart':>8}{'batch 64':>11}{'apart':>8}  (ms)"
    for name, pairs in students.items():
        cells = ""
        for batch, width in (("batch_1", 10), ("batch_64", 11)):
            middle = statistics.median(itertools.chain(*pairs[batch]))
            apart = max(max(pair) / min(pair) - 1 for pair in pairs[batch])
            cells += f"{middle:{width}.3f}{100 * apart:7.1f}%"
        yield f"{name:40}{cells}"


def _steps(found: dict[str, Any]) -> Iterator[str]:
    ways = found.get("steps", {}).get("students", [])
    if not ways:
        return
    names = ("eager_ms", "graph_ms", "compiled_ms", "compile_s")
    yield "\n" + f"{'a step of':40}" + "".join(f"{name:>14}" for name in names)
    for way in ways:
        cells = (f"{way[name]:14.2f}" if name in way else f"{'-':>14}" for name in names)
        yield f"{way['student']:40}" + "".join(cells)


def _arms(found: dict[str, Any]) -> Iterator[str]:
    arms = found.get("arms", {}).get("arms", {})
    if not arms:
        return
    title = "".join(f"{f'of {trials}':>10}" for trials in _TRIALS)
    yield f"\n{'arm':12}{'s a trial':>10}{'accuracy':>10}{title}   (times ours, table included)"
    table = found.get("outputs", {}).get("seconds", 0.0)
    for name, arm in arms.items():
        cells = ""
        if "ours" in arms:
            ours = (arms["ours"]["seconds"] + table / trials for trials in _TRIALS)
            own = (arm["seconds"] + (table / n if name == "ours" else 0.0) for n in _TRIALS)
            cells = "".join(f"{a / b:10.2f}" for a, b in zip(own, ours, strict=True))
        yield f"{name:12}{arm['seconds']:10.1f}{arm['accuracy']:10.1f}{cells}"
