"""Acceptance: vTap beside the tools that users know."""
