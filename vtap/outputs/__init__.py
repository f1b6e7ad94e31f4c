"""Where reports go: one module an output, none knows another."""
