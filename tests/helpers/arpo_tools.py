"""Tools as ARPO's loader wants them: built by their class path with the configuration's params, a tag, `execute`."""


class SearchTool:
    """Answers, fails and says nothing, by the query alone."""

    trigger_tag = "search"

    def __init__(self, **_):
        pass

    def execute(self, content, **_):
        if len(content) % 5 == 3:
            raise RuntimeError("the search engine is down")
        return "" if len(content) % 7 == 4 else f"found {content}"


class PythonTool:
    trigger_tag = "python"

    def __init__(self, **_):
        pass

    def execute(self, content, **_):
        return str(len(content))
