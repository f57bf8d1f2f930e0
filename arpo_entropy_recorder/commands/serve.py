"""Serve a model with vLLM and record the entropies of the agents that talk to the server. EXPERIMENTAL.

Runs `vllm serve MODEL` with every option that is not listed here, and writes DIR/entropy_step_<n>.json while it
serves. Agents are ordinary clients of /v1/chat/completions; nothing that they get is changed. See docs/serve.md.

  POST /v1/entropy/flush?step=12   write what is there, as step 12
  GET  /v1/entropy/status          counters

examples:
  arpo-entropy serve Qwen/Qwen3-4B -o entropies --enable-auto-tool-choice --tool-call-parser hermes --port 8000
  arpo-entropy serve toy -o demo
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.commands.arguments import (
    TOY,
    add_recording_directory,
    check_writable,
    non_empty,
    positive,
    require,
    seconds,
    window_size,
)
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.recorder.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "arpo-entropy serve MODEL -o DIR [options of this command and of vllm serve]"
    parser.add_argument("model", type=non_empty, metavar="MODEL",
                        help="as vllm serve takes it; 'toy' builds a tiny agent on the spot")  # fmt: skip
    add_recording_directory(parser)
    parser.add_argument("--window", type=window_size, default=1, metavar="K",
                        help="record the first K tokens of each reply (default: %(default)s)")  # fmt: skip
    parser.add_argument("--record-tokens", action="store_true", help="keep each reply's token ids")
    parser.add_argument("--file-records", type=positive, default=1000, metavar="N",
                        help="write a file each N records (default: %(default)s)")  # fmt: skip
    parser.add_argument("--file-seconds", type=seconds, default=120.0, metavar="S",
                        help="or S seconds after the first of them (default: %(default)s)")  # fmt: skip
    parser.add_argument("--text-results", action="store_true",
                        help="a user's message behind a reply is a tool's result, as agents without tool calls "
                             "send it")  # fmt: skip
    parser.set_defaults(passes_on=True, rest=[])


def run(args: argparse.Namespace) -> int:
    if find_spec("vllm") is None:
        raise UserError("serve needs vllm: install it where this command is")
    from arpo_entropy_recorder.live.job import Job, new_local_address, new_token
    from arpo_entropy_recorder.live.serve.front import LIVE, TEXT_RESULTS
    from arpo_entropy_recorder.live.serve.recorder import Recorder
    from arpo_entropy_recorder.live.source import PLUGIN
    from arpo_entropy_recorder.rollout.model import check_model

    if not entry_points(group="vllm.general_plugins", name=PLUGIN):
        raise UserError("vLLM does not find this package's plug-in: install the package again with pip")
    options = _options(args.rest)
    if args.model != TOY:
        check_model(args.model, options)
    _check_port(options)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    # For the recorder's files and sockets alone; the server keeps its own.
    mask = os.umask(0o077)
    settings = Settings(save_dir=args.output.absolute(), window=args.window, record_tokens=args.record_tokens)
    check_writable(settings.save_dir)
    job = Job(new_token(), new_local_address(), settings.window)
    folder = Path(job.address.removeprefix("ipc://")).parent
    environment = {**os.environ, **job.environ(), LIVE: "1", TEXT_RESULTS: str(int(args.text_results))}
    if names := environment.get("VLLM_PLUGINS"):
        environment["VLLM_PLUGINS"] = f"{names},{PLUGIN}"
    try:
        recorder = Recorder(
            job,
            settings,
            records=args.file_records,
            seconds=args.file_seconds,
            text_results=args.text_results,
        )
        try:
            with tempfile.TemporaryDirectory(prefix="toy-agent-") as directory:
                command = [*_vllm_serve(), *_model(args.model, options, directory, environment), *args.rest]
                status = _serve(command, environment, mask)
        finally:
            said = recorder.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if status and not said["turns"]:
        _say(f"vLLM ended with status {status}, and its own lines say why; nothing was asked, or recorded")
        return status
    lost = said["records_unwritten"] + said["records_dropped"]
    written = (
        f"{said['records'] - lost:,} records in {settings.save_dir}, {said['nulls']:,} without an entropy"
    )
    for count, what in (
        (lost, "are lost, as they could not be written"),
        (said["turns_dropped"], "turns were dropped, as too many waited"),
        (said["too_late"], "records came too late for their step"),
        (said["without_version"], "were left out, as the version of their weights is not known"),
    ):
        written += f"; {count:,} {what}" if count else ""
    _say(written)
    return status


def _vllm_serve() -> list[str]:
    """The command that the model, and then the server's options, are put behind."""
    try:
        version("vllm")
    except PackageNotFoundError:
        # vLLM's own command asks for the version of a distribution of this name; the CPU build has another.
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model"]
    return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]


def _check_port(options: dict[str, str]) -> None:
    """Raise UserError where vLLM would find, after half a minute, that it cannot listen."""
    host, port = options.get("host", ""), options.get("port", "8000")
    # With these vLLM may listen elsewhere. It takes the beginning of an option's name for it.
    unclear = ("uds", "config", "headless", "host", "port")
    begun = any(name.startswith(typed) for typed in options.keys() - {"host", "port"} for name in unclear)
    if begun or not port.isdecimal():
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # As several API servers listen. A port that others share so is left to vLLM.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            tried.bind((host, int(port)))
        except (OSError, OverflowError, TypeError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            where = f"port {port} of {host}" if host else f"port {port}"
            raise UserError(f"cannot listen on {where}: {reason}; give another --port or --host") from error


def _options(typed: list[str]) -> dict[str, str]:
    """{name of an option of vLLM's, with underscores: its value, or the word behind it}."""
    options = {}
    for word, following in itertools.zip_longest(typed, typed[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            options[name[2:].replace("-", "_")] = value if equals else following
    return options


def _model(model: str, given: Collection[str], directory: str, environment: dict[str, str]) -> list[str]:
    """The model, and for the toy the options that it needs and that are not `given`."""
    if model != TOY:
        return [model]
    require("the toy", "safetensors", "tokenizers")
    from arpo_entropy_recorder.rollout.toy_server import PARSER, build_toy_server

    environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    options = {
        "served-model-name": TOY,
        "dtype": "float32",
        "max-model-len": "2048",
        "max-num-seqs": "64",
        "tool-call-parser": "toy",
        "tool-parser-plugin": str(PARSER),
    }
    missing = {name: value for name, value in options.items() if name.replace("-", "_") not in given}
    words = [word for name, value in missing.items() for word in (f"--{name}", value)]
    return [str(build_toy_server(directory)), "--enforce-eager", "--enable-auto-tool-choice", *words]


def _serve(command: list[str], environment: dict[str, str], mask: int) -> int:
    """Run the server to its end, with the signals handed on that this process gets; its exit status."""
    server: subprocess.Popen[bytes] | None = None
    ended_by: list[int] = []

    def hand_on(number: int, frame: Any) -> None:
        ended_by.append(number)
        # A terminal's Ctrl-C has reached the server, too.
        from_terminal = number == signal.SIGINT and sys.stdin is not None and sys.stdin.isatty()
        if server is not None and not from_terminal:
            server.send_signal(number)

    signals = [signal.SIGINT, signal.SIGTERM]
    # Under nohup it is ignored, and vLLM inherits that.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = [signal.signal(number, hand_on) for number in signals]
    try:
        server = subprocess.Popen(command, env=environment, umask=mask)
        if ended_by:  # while it was being started
            server.terminate()
        status = server.wait()
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
    if ended_by:
        return 0
    return status if status >= 0 else 128 - status


def _say(line: str) -> None:
    print(printable(f"arpo-entropy serve: {line}"), file=sys.stderr, flush=True)
