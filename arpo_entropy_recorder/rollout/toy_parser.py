"""A parser plug-in of vLLM for the toy agent's calls, <search>QUERY or <python>CODE at a reply's end."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

try:
    from vllm.entrypoints.generate.base import protocol
except ImportError:  # vLLM 0.24
    from vllm.entrypoints.openai.engine import protocol
from vllm.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager

_CALL = re.compile(r"<(search|python)>([^<]*)\Z")


@ToolParserManager.register_module(["toy"])
class ToyParser(ToolParser):
    """The stop token behind a call is not in the text that vLLM hands over."""

    supports_required_and_named = False
    prev_tool_call_arr: list[dict]
    streamed_args_for_tool: list[str]

    def extract_tool_calls(self, model_output: str, request: Any) -> protocol.ExtractedToolCallInformation:
        """The call at the end of a whole reply."""
        found = _CALL.search(model_output)
        if found is None:
            return protocol.ExtractedToolCallInformation(
                tools_called=False, tool_calls=[], content=model_output
            )
        call = protocol.ToolCall(
            function=protocol.FunctionCall(name=found[1], arguments=json.dumps({"q": found[2]}))
        )
        content = model_output[: found.start()] or None
        return protocol.ExtractedToolCallInformation(tools_called=True, tool_calls=[call], content=content)

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: Any,
    ) -> protocol.DeltaMessage | None:
        """What is new; vLLM closes the arguments at the end, by what `prev_tool_call_arr` says."""
        found = _CALL.search(current_text)
        if found is None:
            return protocol.DeltaMessage(content=delta_text) if delta_text else None
        message = protocol.DeltaMessage()
        if len(previous_text) < found.start():
            message.content = current_text[len(previous_text) : found.start()]
        if not self.prev_tool_call_arr:
            self.current_tool_id = 0
            self.prev_tool_call_arr, self.streamed_args_for_tool = [{"name": found[1]}], [""]
            message.tool_calls = [self._delta(id=f"call-{uuid4().hex}", function={"name": found[1]})]
        arguments = json.dumps({"q": found[2]})
        self.prev_tool_call_arr[0]["arguments"] = {"q": found[2]}
        new = arguments.removesuffix('"}')[len(self.streamed_args_for_tool[0]) :]
        self.streamed_args_for_tool[0] += new
        # Also where nothing is new: vLLM puts the end of the arguments into the last delta's call.
        message.tool_calls = [*message.tool_calls, self._delta(function={"arguments": new})]
        return message

    def _delta(self, function: dict[str, str], **entries: str) -> protocol.DeltaToolCall:
        return protocol.DeltaToolCall(index=0, function=protocol.DeltaFunctionCall(**function), **entries)
