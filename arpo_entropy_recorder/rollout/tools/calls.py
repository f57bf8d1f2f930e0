"""Tool calls in a trajectory's text: found, answered, put into the words that the policy reads."""

from __future__ import annotations

from arpo_entropy_recorder.rollout.tools.tool import Tool


def called_content(text: str, tag: str) -> str | None:
    """What stands in the last `<tag>...</tag>` of `text`, stripped; None if its opening tag is missing."""
    before, _, _ = text.rpartition(f"</{tag}>")
    _, opening, content = before.rpartition(f"<{tag}>")
    return content.strip() if opening else None


def answer(tag: str, tool: Tool, content: str | None) -> tuple[str, bool]:
    """The tool's result and whether the call succeeded. A failure is a text too: the policy has to read on."""
    if content is None:
        return f"Tool({tag}) was not called: <{tag}> is missing.", False
    try:
        result = tool(content)
    except TimeoutError:
        return f"Tool({tag}) timed out.", False
    except Exception as error:
        return f"Tool({tag}) failed: {error}", False
    if not result.strip():
        return f"Tool({tag}) returned empty output.", False
    return result, True


def as_result(text: str) -> str:
    """`text` between result tags, as ARPO's prompt template has it."""
    return f" <result>\n{text}\n</result>"
