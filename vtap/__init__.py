"""vTap: measures throughput, goodput, jitter and sequence errors of packets in the kernel."""

from __future__ import annotations

__version__ = "0.1.0"
