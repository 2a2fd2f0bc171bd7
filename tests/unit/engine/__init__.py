"""Tests of rr.engine that need no engine."""
