"""Tests of what brings the project onto a machine."""
