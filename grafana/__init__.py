"""Grafana's dashboards for vTap: written by generate.py, kept as JSON, provisioned by docker/."""
