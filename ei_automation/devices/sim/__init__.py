"""Simulated boards, for those who have none, and for tests."""
