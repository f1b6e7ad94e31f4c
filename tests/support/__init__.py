"""What the tests stand on: program runs, injected and sent frames, namespaces, bounded waits."""
