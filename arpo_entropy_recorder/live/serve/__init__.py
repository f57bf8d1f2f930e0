"""Recording a server or an AsyncLLM: what requests and replies say of themselves, and the lineage that follows."""
