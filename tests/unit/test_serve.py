"""The server of a page: who gets it, and that nobody else gets anything."""

import http.client
import re
from contextlib import contextmanager

import pytest

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.report.serve import PageServer


@contextmanager
def serving():
    """A server without a page; to end one takes half a second."""
    made = PageServer()
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def server():
    with serving() as made:
        made.publish("page {}".format)
        yield made


def ask(server, path=None, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.putrequest(method, server.path if path is None else path, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{server.port}" if host is None else host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def test_the_page_is_under_its_secret_path_alone(server):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", server.address)
    status, body, headers = ask(server)
    assert (status, body) == (200, "page 1")
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    for path in (
        "/",
        "/index.html",
        "/etc/passwd",
        f"{server.path}../../etc/passwd",
        f"{server.path}entropy_step_1.json",
        server.path[:-1],
    ):
        assert ask(server, path)[:2] == (404, "not here\n")


def test_another_host_name_gets_nothing(server):
    for host in ("example.org", f"example.org:{server.port}", "127.0.0.1", ""):
        assert ask(server, host=host)[0] == 403
    assert ask(server, host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT"])
def test_only_get_is_answered(server, method):
    status, body, _ = ask(server, method=method)
    assert status == 501
    assert "page" not in body


def test_before_the_first_step_it_says_so_and_each_page_has_another_version():
    with serving() as made:
        assert ask(made)[:2] == (503, "no step is there yet; load this again\n")
        for version in ("1", "2"):
            made.publish("page {}".format)
            assert ask(made, f"{made.path}version")[1] == version
            assert ask(made)[1] == f"page {version}"


def test_a_port_in_use_is_one_line(server):
    with pytest.raises(UserError, match="choose another port"):
        PageServer(server.port)


def test_a_port_that_is_none_is_one_line(tmp_path, capsys):
    assert main(["watch", str(tmp_path), "--serve", "65536"]) == 2
    error = capsys.readouterr().err
    assert "65536 is not a port, from 1 to 65,535" in error
    assert error.count("\n") == 1
