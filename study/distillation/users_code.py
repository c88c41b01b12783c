"""Where in a user's own code an error arose."""

import traceback


def users_line(error: BaseException, ours: tuple[str, ...]) -> traceback.FrameSummary | None:
    """The innermost line of the first file of a traceback that is a user's; None if there is none.

    Args:
        error: As it was caught.
        ours: How the names of files begin that are not the user's, but call it or are called first.
    """
    lines = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in lines if not frame.filename.startswith(ours)]
    within = [frame for frame in frames if frame.filename == frames[0].filename]
    return within[-1] if within else None
