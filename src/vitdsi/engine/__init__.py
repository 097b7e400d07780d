"""Engines: where the work of a build runs, in this process or in several."""
