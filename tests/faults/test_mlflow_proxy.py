"""A proxy before MLflow that lets no large body through costs a study its large files alone."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient

from study.tracking.inputs import DataInput
from study.tracking.models import StudentModel
from study.tracking.tracker import open_tracker

if TYPE_CHECKING:
    from conftest import MlflowServer

pytestmark = pytest.mark.faults
LIMIT = 100_000


@contextmanager
def proxy(uri: str) -> Iterator[str]:
    """Hands requests on to a server; a body above the limit is answered with 413."""
    behind = urlsplit(uri).netloc

    class Handler(BaseHTTPRequestHandler):
        def hand_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if len(body) > LIMIT:
                self.answer(413, b"<html>413 Request Entity Too Large</html>", "text/html")
                return
            asked = http.client.HTTPConnection(behind, timeout=300)
            asked.request(self.command, self.path, body, dict(self.headers))
            given = asked.getresponse()
            self.answer(given.status, given.read(), given.headers["Content-Type"] or "text/plain")
            asked.close()

        def answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = hand_on

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_is_too_large_for_a_proxy_is_refused_once_and_all_else_arrives(
    mlflow_server: "Callable[[Path], MlflowServer]", tmp_path: Path
) -> None:
    server = mlflow_server(tmp_path)
    page, table, program = (tmp_path / name for name in ("index.html", "results.csv", "t0001.pt2"))
    page.write_bytes(bytes(LIMIT + 1))
    table.write_text("trial,score")
    program.write_bytes(bytes(LIMIT + 1))
    data = DataInput("digits", "c085d9adf5747afa", "scikit-learn digits", {"train": 1222})
    student = StudentModel(
        "first t0001 [4]", program, (8, 8, 1), "uint8", 10, {}, {}, "A student.", data
    )
    warnings: list[str] = []
    runs: dict[int | None, str] = {}
    with proxy(server.uri) as uri:
        tracker = open_tracker(
            uri, tmp_path, warnings.append, lambda kind, number, run: runs.update({number: run})
        )
        tracker.study_started("first", "space", "", {}, {}, study_key="proxy", data=data)
        tracker.trial_started(1, "t0001", {}, {})
        tracker.trial_finished(1, "complete", None, {"val_score": 60.0})
        tracker.study_finished("complete", {"hypervolume": 0.7}, [page, table])
        tracker.trial_on_front(1, True, student)
        tracker.trial_started(2, "t0002", {}, {})
        tracker.trial_finished(2, "complete", None, {"val_score": 50.0})
        delivery = tracker.close(300)

    assert delivery.undelivered == delivery.refused > 0
    (warning,) = warnings
    assert "refused an update" in warning
    assert "413" in warning
    client = MlflowClient(tracking_uri=server.uri)
    found = {number: client.get_run(run) for number, run in runs.items()}
    assert {number: run.info.status for number, run in found.items()} == {
        None: "FINISHED",
        1: "FINISHED",
        2: "FINISHED",
    }
    assert found[None].data.metrics == {"final/hypervolume": 0.7}
    assert found[1].data.tags["front"] == "yes"
    assert [f.path for f in client.list_artifacts(runs[None], "report")] == ["report/results.csv"]
