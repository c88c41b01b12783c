"""Workers that are there before anything is asked of them: how many, and what is touched."""

import ray

from cluster.ahead import beginning_with


def test_a_ray_begins_with_as_many_workers_as_are_asked_for_and_is_left_as_it_was() -> None:
    services = ray._private.services
    start, told = services.start_ray_process, []
    command = [
        "raylet",
        "--num_prestart_python_workers=2",
        "--maximum_startup_concurrency=2",
        "--head",
    ]

    services.start_ray_process = lambda command, *rest, **named: told.append((command, rest, named))
    try:
        with beginning_with(3):
            services.start_ray_process(command, "raylet", fate_share=True)
        services.start_ray_process(command, "raylet", fate_share=True)
    finally:
        services.start_ray_process = start

    more = [
        "raylet",
        "--num_prestart_python_workers=3",
        "--maximum_startup_concurrency=3",
        "--head",
    ]
    assert told == [
        (more, ("raylet",), {"fate_share": True}),
        (command, ("raylet",), {"fate_share": True}),
    ]


def test_ray_still_tells_its_raylet_by_these_arguments() -> None:
    """Were they called otherwise, trials would wait for workers again, and nobody would notice."""
    import inspect

    source = inspect.getsource(ray._private.services.start_raylet)
    assert "--num_prestart_python_workers=" in source
    assert "--maximum_startup_concurrency=" in source
    assert "start_ray_process(" in source
