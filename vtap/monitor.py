"""Options and configuration -> a run: puts the pieces together, in the order in which they fail.

What is cheap and the user's own comes first; nothing is attached before all of it is known good.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vtap.codegen import generate_source, make_rule_tables
from vtap.config import Config, Display, load_config
from vtap.errors import ConfigError, VtapError
from vtap.interfaces import choose_interfaces
from vtap.measurements import Block
from vtap.outputs.console import Console
from vtap.outputs.jsonlines import JsonLines
from vtap.outputs.logfile import LogFiles
from vtap.outputs.notices import Notices
from vtap.privileges import drop_capabilities, require_capabilities
from vtap.session import Output, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vtap.measurements import Report
    from vtap.options import Options
    from vtap.samples import Sample


def run(options: Options) -> int:
    """Carry out what the options ask for; returns the exit status, raises VtapError."""
    config = load_config(options.config)
    _require_shown(options, config)
    if options.show_bpf:
        names = options.interfaces or choose_interfaces(())
        _print(generate_source(config, len(names), options.direction))
        return 0
    require_capabilities(attach=not options.check, promiscuous=options.promiscuous)
    interfaces = choose_interfaces(options.interfaces)
    source = generate_source(config, len(interfaces), options.direction)
    if options.check:
        _check(options, config, source, interfaces)
    else:
        _measure(options, config, source, interfaces)
    return 0


def _require_shown(options: Options, config: Config) -> None:
    """Refuse -test_... of what the configuration switches off."""
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


def _warn(message: str) -> None:
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
    from vtap.program import Program  # noqa: PLC0415 - see _measure

    Program(source, interfaces, rule_tables=make_rule_tables(config)).close()
    text = f"{options.config}: good; the kernel accepts the program for {', '.join(interfaces)}\n"
    for number, rule in enumerate(config.rules):
        name = f" ({rule.name})" if rule.name else ""
        text += f"  RULES[{number}]{name}: {rule.text}\n"
    if not config.rules:
        text += "  no rules: every packet is counted\n"
    _print(text)


def _measure(options: Options, config: Config, source: str, interfaces: tuple[str, ...]) -> None:
    stop = _Signals()
    outputs: list[Output] = []
    server = None
    if config.monitor_server:
        from vtap.outputs.prometheus import Prometheus  # noqa: PLC0415 - only where it is on

        server = Prometheus(options.server_address, options.server_port)
        outputs.append(server)
    if config.log_data:
        outputs.append(LogFiles(Path(options.log_dir), interfaces, _warn))
    outputs.append(_Pipe(_make_console(options), stop))
    outputs.append(Notices(_warn))
    # Compiling takes longest: what the user has to mend is known before LLVM is even loaded.
    from vtap.program import Program  # noqa: PLC0415

    program = Program(
        source,
        interfaces,
        rule_tables=make_rule_tables(config),
        promiscuous=options.promiscuous,
    )
    with program:
        session = Session(
            program,
            outputs,
            config,
            interval_s=options.interval_s,
            jitter_interval_s=options.jitter_interval_s,
            duration_s=options.duration_s,
        )
        drop_capabilities(promiscuous=options.promiscuous)
        if server is not None:
            server.serve()
        served = f", metrics at {server.url}" if server else ""
        ends = "" if options.duration_s is None else f" or {options.duration_s:g} seconds"
        _warn(f"measuring on {', '.join(interfaces)}{served}; Ctrl-C{ends} ends")
        session.run(stop)
        session.close()


class _Signals:
    """SIGINT and SIGTERM, held back until waited for: nothing is ever interrupted half way.

    A second one, while the run ends, therefore does nothing; and no handler can meet a lock held.
    """

    _NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self._NUMBERS)  # of later threads too
        self._stopped = False

    def set(self) -> None:
        self._stopped = True

    def wait(self, timeout: float) -> bool:
        if not self._stopped:
            self._stopped = signal.sigtimedwait(self._NUMBERS, timeout) is not None
        return self._stopped


def _make_console(options: Options) -> Output:
    if options.format == "json":
        return JsonLines(sys.stdout)
    asked = {Block.THROUGHPUT: options.test_throughput, Block.JITTER: options.test_jitter}
    only = {block for block, is_asked in asked.items() if is_asked}
    return Console(sys.stdout, interval_s=options.interval_s, bits=options.bits, only=only or None)


class _Pipe:
    """Ends the run when nobody reads the console any more; goes on when it cannot be written."""

    def __init__(self, console: Output, stop: _Signals) -> None:
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
