"""The methods that are wrapped, in the vLLM that is installed."""

import inspect
import logging
from types import SimpleNamespace

from arpo_entropy_recorder.live.serve import seam as seam_module
from arpo_entropy_recorder.live.serve.front import Seam
from arpo_entropy_recorder.live.wrapping import is_ours


def test_the_installed_vllms_methods_fit(monkeypatch, caplog):
    from vllm.entrypoints.openai.chat_completion import api_router, serving
    from vllm.v1.engine import async_llm, parallel_sampling

    # Their own values are put back at the end.
    for cls, name in (
        (async_llm.AsyncLLM, "generate"),
        (parallel_sampling.ParentRequest, "get_child_info"),
        (serving.OpenAIServingChat, "create_chat_completion"),
    ):
        monkeypatch.setattr(cls, name, cls.__dict__[name])
    monkeypatch.setattr(api_router, "router", type(api_router.router)())
    seam = Seam(SimpleNamespace(token=b"k" * 32))
    with caplog.at_level(logging.WARNING):
        seam_module._hook(lambda module: seam_module._wrap_engine(seam, module))(async_llm)
        seam_module._hook(lambda module: seam_module._wrap_chat(seam, module))(serving)
        seam_module._hook(lambda module: seam_module._add_routes(seam, module))(api_router)
    ours = [record for record in caplog.records if record.name.startswith("arpo_entropy_recorder")]
    assert ours == []
    for method in (
        async_llm.AsyncLLM.generate,
        parallel_sampling.ParentRequest.get_child_info,
        serving.OpenAIServingChat.create_chat_completion,
    ):
        assert is_ours(method)
        assert inspect.unwrap(method) is not method
    assert seam.is_server
    assert {route.path for route in api_router.router.routes} == {"/v1/entropy/flush", "/v1/entropy/status"}
