"""What vTap costs, measured beside its peers, an empty filter and a baseline; script/bench runs it.

programs and peers are what is measured; path, program and process measure; goals and report say
what it comes to.
"""
