"""The server's routes POST /v1/entropy/flush and GET /v1/entropy/status.

They stand below /v1, which a server's API keys guard. Without a key they answer to this machine only.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from arpo_entropy_recorder.live.serve.front import Seam
from arpo_entropy_recorder.live.serve.turns import Ask, read_step

KEY_CHECK = "AuthenticationMiddleware"


def add_routes(router: Any, seam: Seam) -> None:
    """Add them to one of the server's routers, before it is included in the application."""

    async def flush(request: Request) -> JSONResponse:
        text = request.query_params.get("step")
        step = None if text is None else read_step(text)
        if text is not None and step is None:
            return _error(400, "step is no whole number from 0 on")
        return await _answer(request, seam, Ask("flush", step))

    async def status(request: Request) -> JSONResponse:
        return await _answer(request, seam, Ask("status"))

    router.add_route("/v1/entropy/flush", flush, methods=["POST"], include_in_schema=False)
    router.add_route("/v1/entropy/status", status, methods=["GET"], include_in_schema=False)


async def _answer(request: Request, seam: Seam, question: Ask) -> JSONResponse:
    if not (_has_key_check(request.app) or _is_local(request)):
        return _error(403, "the server has no API key, so this is answered on its own machine only")
    try:
        answer = await asyncio.to_thread(seam.front().channel.ask, question)
    except TimeoutError as error:
        return _error(503, str(error))
    except Exception as error:
        return _error(503, f"no answer of the recorder: {type(error).__name__}")
    return JSONResponse(answer, status_code=answer.pop("code", 200))


def _has_key_check(app: Any) -> bool:
    return any(getattr(entry.cls, "__name__", "") == KEY_CHECK for entry in app.user_middleware)


def _is_local(request: Request) -> bool:
    if request.client is None:  # a socket in the file system
        return True
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status)
