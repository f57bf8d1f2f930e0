"""The toy agent's tools, tool parser and loop for verl, which imports this file as its configuration says."""

from __future__ import annotations

import json
import re

from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop
from verl.experimental.agent_loop.tool_parser import FunctionCall, ToolParser

STOPS = ("</search>", "</python>")
RESULT = {"search": lambda query: f"found {query.lower()}", "python": lambda query: f"{len(query)}"}
CALL = re.compile(r"<(search|python)>(.*?)</\1>", re.DOTALL)


@ToolParser.register("toy")
class ToyToolParser(ToolParser):
    @property
    def stop_token_ids(self):
        return [self.tokenizer.convert_tokens_to_ids(stop) for stop in STOPS]

    async def extract_tool_calls(self, responses_ids, tools=None):
        text = self.tokenizer.decode(responses_ids)
        return text, [
            FunctionCall(name=name, arguments=json.dumps({"query": query}))
            for name, query in CALL.findall(text)
        ]


try:
    from verl.tools.function_tool import function_tool
except ImportError:  # before verl 0.8: tools are classes, named by a YAML file
    from verl.tools.base_tool import BaseTool
    from verl.tools.schemas import ToolResponse

    class ToyTool(BaseTool):
        async def execute(self, instance_id, parameters, **kwargs):
            return ToolResponse(text=RESULT[self.name](str(parameters["query"]))), 0.0, {}
else:

    @function_tool("search")
    def search(query: str) -> str:
        """Search.

        Args:
            query: what to look up.
        """
        return RESULT["search"](query)

    @function_tool("python")
    def python(query: str) -> str:
        """Run.

        Args:
            query: the code.
        """
        return RESULT["python"](query)


class ToyLoop(ToolAgentLoop):
    """For versions whose parsers name no stop tokens."""

    async def run(self, sampling_params, **kwargs):
        stops = [self.tokenizer.convert_tokens_to_ids(stop) for stop in STOPS]
        return await super().run({**sampling_params, "stop_token_ids": stops}, **kwargs)
