"""vTap's tests, in tiers: unit, kernel, netns, acceptance; conftest.py says what each needs."""
