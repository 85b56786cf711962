"""Certified data that the tests judge by."""
