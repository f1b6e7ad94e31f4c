"""Tests on real interfaces in network namespaces; root and iproute2 are needed."""
