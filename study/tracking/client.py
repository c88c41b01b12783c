"""MLflow's client as a study has it: quiet, and heard; a refusal is told from silence."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from study.tracking.delivery import Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Set where the user has not: a server that does not answer is to be noticed within seconds (the
# delivery thread has a back-off of its own), a study does not call home on its user's behalf, and
# the terminal belongs to the study (the client prints two lines and asks twice more a run).
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
QUIET_LOGGERS = ("mlflow", "alembic", "urllib3.connectionpool")

# Error codes that another try will not change. All else is taken for a store that is away.
REFUSALS = frozenset(
    {
        "BAD_REQUEST",
        "ENDPOINT_NOT_FOUND",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "NOT_IMPLEMENTED",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
    }
)
# A file is answered for by HTTP alone, also by a proxy before MLflow: of the answers that blame the
# request, another try may change these (too slow, too many).
MAY_CHANGE = frozenset({408, 429})


def load_mlflow() -> None:
    """Imports MLflow, which takes seconds, and keeps it quiet."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401

    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="alembic")


def attentive_client(tracking_uri: str, heard: Callable[[], None]) -> "MlflowClient":
    """A client that says when it has been answered; a database is laid out on the way."""
    from mlflow import MlflowClient

    return cast("MlflowClient", _Attentive(MlflowClient(tracking_uri=tracking_uri), heard))


class _Attentive:
    """Does what a client does, and says so once that is done."""

    def __init__(self, client: "MlflowClient", heard: Callable[[], None]) -> None:
        self._client = client
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._client, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            answer = asked(*args, **kwargs)
            self._heard()
            return answer

        return ask


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Tells an answer that another try will not change from a store that is away.

    Raises:
        Refused: for such an answer; all other errors go on as they are.
    """
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    try:
        yield
    except MlflowException as error:
        if error.error_code in REFUSALS:
            raise Refused(str(error)) from error
        raise
    except HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        if 400 <= status < 500 and status not in MAY_CHANGE:
            raise Refused(str(error)) from error
        raise
