"""What vTap costs, measured beside its peers; script/bench runs it."""
