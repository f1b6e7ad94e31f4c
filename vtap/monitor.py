"""Options and configuration -> a run: puts the pieces together, in the order in which they fail.

What is cheap and the user's own comes first; nothing is attached before all of it is known good.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vtap.codegen import generate_source, make_rule_tables
from vtap.config import Config, Display, load_config
from vtap.enlist import Enlisted
from vtap.errors import ConfigError, VtapError
from vtap.interfaces import choose_interfaces
from vtap.measurements import Block
from vtap.outputs.console import Console
from vtap.outputs.jsonlines import JsonLines
from vtap.outputs.logfile import LogFiles
from vtap.outputs.notices import Notices
from vtap.privileges import drop_capabilities, require_capabilities
from vtap.progress import progress
from vtap.session import Output, Session
from vtap.signals import StopSignals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vtap.enlist import Launch
    from vtap.options import Options
    from vtap.outputs.prometheus import Prometheus
    from vtap.program import Program
    from vtap.reports import Report
    from vtap.samples import Sample


def run(options: Options, launch: Launch) -> int:
    """Carry out what the options ask for; returns the exit status, raises VtapError."""
    if options.show_bpf:
        config = _load(options)
        names = options.interfaces or choose_interfaces(())
        _print(generate_source(config, len(names), options.direction))
        return 0
    config, interfaces = prepare(options)
    source = generate_source(config, len(interfaces), options.direction)
    if options.check:
        _check(options, config, source, interfaces)
    else:
        _measure(options, config, source, interfaces, launch)
    return 0


def prepare(options: Options) -> tuple[Config, tuple[str, ...]]:
    """Return configuration and interfaces of a run; VtapError says why it cannot be had."""
    config = _load(options)
    require_capabilities(attach=not options.check)
    return config, choose_interfaces(options.interfaces)


def _load(options: Options) -> Config:
    """Return the configuration, which must not switch off what -test_... asks for."""
    config = load_config(options.config)
    problems = [
        f"{options.config}: DISPLAY.{display.value}: is off, but {option} asks for it"
        for option, asked, display in (
            ("-test_throughput", options.test_throughput, Display.THROUGHPUT),
            ("-test_jitter", options.test_jitter, Display.JITTER),
        )
        if asked and display not in config.display
    ]
    if problems:
        raise ConfigError(problems)
    return config


def _warn(message: str) -> None:
    with suppress(OSError):  # the terminal may be gone: measuring goes on
        print(message, file=sys.stderr, flush=True)


def _print(text: str) -> None:
    """Write to standard output; a reader that has left, as head does, has what it wanted."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        reason = (error.strerror or str(error)).lower()
        message = f"cannot write to standard output: {reason}"
        raise VtapError(message) from None


def _discard_output() -> None:
    """Have what Python still holds for standard output not fail again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check(options: Options, config: Config, source: str, interfaces: tuple[str, ...]) -> None:
    _compile(options, config, source, interfaces, attach=False).close()
    text = f"{options.config}: good; the kernel accepts the program for {', '.join(interfaces)}\n"
    for number, rule in enumerate(config.rules):
        name = f" ({rule.name})" if rule.name else ""
        text += f"  RULES[{number}]{name}: {rule.text}\n"
    if not config.rules:
        text += "  no rules: every packet is counted\n"
    _print(text)


def _compile(
    options: Options,
    config: Config,
    source: str,
    interfaces: tuple[str, ...],
    *,
    attach: bool = True,
) -> Program:
    # It takes longest: what the user has to mend is known before LLVM is even loaded.
    with progress(f"compiling the program for {', '.join(interfaces)}"):
        from vtap.program import Program  # noqa: PLC0415

        return Program(
            source,
            interfaces,
            rule_tables=make_rule_tables(config),
            promiscuous=options.promiscuous,
            outgoing=options.direction != "in",
            attach=attach,
        )


def _measure(
    options: Options, config: Config, source: str, interfaces: tuple[str, ...], launch: Launch
) -> None:
    stop = StopSignals()
    enlisted = Enlisted(options, interfaces, launch, _warn, serve=config.monitor_server)
    try:
        outputs: list[Output] = [enlisted.server] if enlisted.server else []
        if config.log_data:
            outputs.append(LogFiles(Path(options.log_dir), interfaces, _warn))
        if launch.detach is None:
            outputs.append(_Pipe(_make_console(options), stop))
        outputs.append(Notices(_warn))
        with _compile(options, config, source, interfaces) as program:
            session = Session(
                program,
                outputs,
                config,
                interval_s=options.interval_s,
                jitter_interval_s=options.jitter_interval_s,
                duration_s=options.duration_s,
            )
            drop_capabilities()
            if enlisted.server is not None:
                enlisted.server.serve()
            if not stop.wait(0):
                enlisted.announce()
                _warn(_describe(options, interfaces, enlisted.server, launch))
            session.run(stop)
            session.close()
    finally:
        enlisted.close()


def _describe(
    options: Options, interfaces: tuple[str, ...], server: Prometheus | None, launch: Launch
) -> str:
    served = f", metrics at {server.url}" if server else ""
    how = "Ctrl-C" if launch.detach is None else f"controller.py stop {os.getpid()}"
    span = "" if options.duration_s is None else f" for {options.duration_s:g} s"
    return f"measuring on {', '.join(interfaces)}{span}{served}; {how} ends it"


def _make_console(options: Options) -> Output:
    if options.format == "json":
        return JsonLines(sys.stdout)
    asked = {Block.THROUGHPUT: options.test_throughput, Block.JITTER: options.test_jitter}
    only = {block for block, is_asked in asked.items() if is_asked}
    return Console(sys.stdout, interval_s=options.interval_s, bits=options.bits, only=only or None)


class _Pipe:
    """Ends the run when nobody reads the console any more; goes on when it cannot be written."""

    def __init__(self, console: Output, stop: StopSignals) -> None:
        self._console = console
        self._stop = stop
        self._failing = False

    def emit(self, reports: Sequence[Report], sample: Sample) -> None:
        try:
            self._console.emit(reports, sample)
        except BrokenPipeError:
            _discard_output()
            self._stop.set()
        except OSError as error:
            if not self._failing:
                reason = (error.strerror or str(error)).lower()
                _warn(f"cannot write to the console: {reason}; measuring goes on")
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        self._console.close()
        if self._failing:
            _discard_output()
