"""Packaging. Base dependencies are what reading and plotting need; torch and vLLM are the user's own."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="arpo-entropy-recorder",
    version="0.1.0",
    description="Exact first-token entropies of tool-calling vLLM rollouts (ARPO), recorded on the GPU, and figures",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["arpo_entropy_recorder", "arpo_entropy_recorder.*"]),
    package_data={"arpo_entropy_recorder.report": ["assets/*"]},
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.26",
        "matplotlib>=3.8",
        "msgspec>=0.18",
        "orjson>=3.9",
        "rich>=13",
        "scipy>=1.11",
    ],
    extras_require={
        "export": ["pyarrow>=15"],
        "record": ["vllm", "transformers", "pyarrow>=15"],
        "test": ["pytest>=8", "hypothesis>=6", "ruff", "mypy"],
    },
    entry_points={"console_scripts": ["arpo-entropy=arpo_entropy_recorder.cli:main"]},
)
