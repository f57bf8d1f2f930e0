"""Metadata as that of an installed package, in a folder that processes are given on their path."""

from pathlib import Path

from arpo_entropy_recorder import __version__


def announce(folder, name, version, plugin=""):
    """A package of this name and version; `plugin`, "name = module:function", is one of vLLM's."""
    info = Path(folder) / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if plugin:
        (info / "entry_points.txt").write_text(f"[vllm.general_plugins]\n{plugin}\n")


def announce_recorder(folder):
    """This package, with its plug-in."""
    plugin = "arpo_entropy = arpo_entropy_recorder.live.plugin:register"
    announce(folder, "arpo-entropy-recorder", __version__, plugin)


def announce_vllm(folder):
    """The distribution that `vllm serve` asks for: the CPU build has another name."""
    import vllm

    announce(folder, "vllm", f"{vllm.__version__}+cpu")
